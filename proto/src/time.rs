//! Times and durations between std and `google.protobuf`.

use std::time::{Duration, SystemTime};

/// The message of a duration; one beyond 10,000 years, the message's limit, is cut to that.
pub fn duration_to_message(duration: Duration) -> prost_types::Duration {
    const MAX_SECONDS: u64 = 315_576_000_000;
    prost_types::Duration {
        // The bound fits an i64, and so do nanoseconds below a second an i32.
        seconds: duration.as_secs().min(MAX_SECONDS) as i64,
        nanos: duration.subsec_nanos() as i32,
    }
}

/// The duration of a message; `None` if it is negative.
pub fn duration_from_message(message: prost_types::Duration) -> Option<Duration> {
    Duration::try_from(message).ok()
}

/// The message of a time.
pub fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    prost_types::Timestamp::from(time)
}

/// The time of a message; `None` if this system's clock cannot express it.
pub fn system_time(message: prost_types::Timestamp) -> Option<SystemTime> {
    SystemTime::try_from(message).ok()
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
    fn times_come_back() {
        let now = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        assert_eq!(system_time(timestamp(now)), Some(now));
    }
}
