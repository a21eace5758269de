//! How fast a worker is: tokens in the time that sequences of this coordinator were there. Pure; the caller has the clock.

use std::time::Duration;

/// Sequence-seconds that count in full. What lies further back fades, so that a worker that has become slower or faster
/// is seen as it is.
const MEMORY: f64 = 300.0;
/// Tokens before the first word on a worker: fewer say more about its first prompt than about its speed.
const ENOUGH: f64 = 500.0;

/// Measures one worker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    tokens: f64,
    seconds: f64,
}

impl Meter {
    /// Counts the time for which `sequences` were decoded; a part of one if it took turns.
    pub(super) fn pass(&mut self, sequences: f64, time: Duration) {
        self.seconds += sequences * time.as_secs_f64();
        if self.seconds > MEMORY {
            // Both parts, so that the ratio stays.
            self.tokens *= MEMORY / self.seconds;
            self.seconds = MEMORY;
        }
    }

    /// Counts tokens of sequences that were there.
    pub(super) fn count(&mut self, tokens: u64) {
        self.tokens += tokens as f64;
    }

    /// Tokens a second and sequence; `None` until enough was seen.
    pub(super) fn rate(&self) -> Option<f64> {
        (self.tokens >= ENOUGH && self.seconds > 0.0).then(|| self.tokens / self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_said_before_enough_was_seen() {
        let mut meter = Meter::default();
        assert_eq!(meter.rate(), None);
        meter.pass(4.0, Duration::from_secs(10));
        meter.count(499);
        assert_eq!(meter.rate(), None);
        meter.count(1);
        assert_eq!(meter.rate(), Some(12.5), "a slower worker would be busy for longer with as much");
    }

    #[test]
    fn what_lies_far_back_fades() {
        let mut meter = Meter::default();
        let run = |meter: &mut Meter, tokens: u64, seconds: u64| {
            for _ in 0..seconds {
                meter.pass(10.0, Duration::from_secs(1));
                meter.count(10 * tokens);
            }
        };
        run(&mut meter, 50, 100);
        assert!((meter.rate().unwrap() - 50.0).abs() < 2.0, "{meter:?}");
        run(&mut meter, 5, 150);
        assert!((meter.rate().unwrap() - 5.0).abs() < 1.0, "{meter:?}");
    }

    proptest! {
        #[test]
        fn a_steady_worker_is_measured_as_it_is(rate in 1_u64..500, sequences in 1_u32..64, steps in 20_usize..400) {
            let mut meter = Meter::default();
            for _ in 0..steps {
                meter.pass(sequences.into(), Duration::from_secs(2));
                meter.count(2 * u64::from(sequences) * rate);
            }
            if let Some(measured) = meter.rate() {
                // A step that was counted last has not faded with the time that goes with it.
                let step = 2.0 * f64::from(sequences) / MEMORY;
                let wanted = rate as f64;
                prop_assert!((measured - wanted).abs() <= wanted * step + 1e-6, "{measured} for {wanted}");
            }
        }
    }
}
