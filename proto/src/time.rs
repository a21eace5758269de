//! Times and durations between std and `google.protobuf`.

use std::time::{Duration, SystemTime};

/// Most seconds of a duration's message: 10,000 years.
const MOST_SECONDS: u64 = 315_576_000_000;

/// The message of a duration; one beyond 10,000 years, the message's limit, is cut to that.
pub fn duration_to_message(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        // The bound fits an i64, and so do nanoseconds below a second an i32.
        seconds: duration.as_secs().min(MOST_SECONDS) as i64,
        nanos: duration.subsec_nanos() as i32,
    }
}

/// The duration of a message; `None` if it is negative, beyond the message's limit or none at all. By hand, since
/// prost's own conversion panics on some of these.
pub fn duration_from_message(message: prost_types::Duration) -> Option<Duration> {
    let seconds = u64::try_from(message.seconds).ok().filter(|&seconds| seconds <= MOST_SECONDS)?;
    let nanos = u32::try_from(message.nanos).ok().filter(|&nanos| nanos < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}

/// The message of a time.
pub fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    prost_types::Timestamp::from(time)
}

/// The time of a message; `None` if it is none, or this system's clock cannot express it.
pub fn system_time(message: prost_types::Timestamp) -> Option<SystemTime> {
    let nanos = u32::try_from(message.nanos).ok().filter(|&nanos| nanos < 1_000_000_000)?;
    let seconds = Duration::from_secs(message.seconds.unsigned_abs());
    let whole = match message.seconds {
        0.. => SystemTime::UNIX_EPOCH.checked_add(seconds),
        _ => SystemTime::UNIX_EPOCH.checked_sub(seconds),
    };
    whole?.checked_add(Duration::from_nanos(nanos.into()))
}

/// The time of a message as RFC 3339 writes it; `None` if it is none of the years 1 to 9999.
pub fn time_text(message: prost_types::Timestamp) -> Option<String> {
    let in_years = (-62_135_596_800..=253_402_300_799).contains(&message.seconds);
    (in_years && (0..1_000_000_000).contains(&message.nanos)).then(|| message.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_come_back_and_negative_ones_are_none() {
        for duration in [Duration::ZERO, Duration::from_nanos(1), Duration::new(86_400, 999_999_999)] {
            assert_eq!(duration_from_message(duration_to_message(duration)), Some(duration));
        }
        assert_eq!(duration_from_message(prost_types::Duration { seconds: -1, nanos: 0 }), None);
        assert_eq!(duration_from_message(prost_types::Duration { seconds: 0, nanos: -5 }), None);
        assert!(duration_to_message(Duration::MAX).seconds > 0);
    }

    #[test]
    fn what_is_no_time_is_none_and_nothing_panics() {
        let extremes = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX];
        for seconds in extremes {
            for nanos in [i32::MIN, -1, 0, 1, 999_999_999, 1_000_000_000, i32::MAX] {
                let duration = duration_from_message(prost_types::Duration { seconds, nanos });
                let fits = (0..=1).contains(&seconds) && (0..=999_999_999).contains(&nanos);
                assert_eq!(duration.is_some(), fits, "{seconds} s and {nanos} ns");
                let time = prost_types::Timestamp { seconds, nanos };
                let _ = system_time(time);
                let fits = (-1..=1).contains(&seconds) && (0..=999_999_999).contains(&nanos);
                assert_eq!(time_text(time).is_some(), fits, "{seconds} s and {nanos} ns");
            }
        }
        let before = SystemTime::UNIX_EPOCH - Duration::from_millis(1500);
        assert_eq!(system_time(timestamp(before)), Some(before));
    }

    #[test]
    fn times_come_back() {
        let now = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        assert_eq!(system_time(timestamp(now)), Some(now));
    }
}
