//! The time at which things happen in a scenario.

use countermove_incident::Timestamp;

use crate::rng::Rng;

/// A clock that goes on for a few days within one month, so that a log without years passes no New Year.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    year: Option<u16>,
    month: u8,
    day: u8,
    /// Microseconds since the first day began.
    now: u64,
}

const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;
/// Last moment that the clock reaches: seven days.
const END: u64 = 7 * DAY - 1;

impl Clock {
    /// A clock at some time of some day. Without a year its times are those of Snort's default form.
    pub(super) fn new(with_year: bool, rng: &mut Rng) -> Clock {
        let number = |rng: &mut Rng, low, high| u8::try_from(rng.between(low, high)).unwrap_or(1);
        let year = u16::try_from(rng.between(2023, 2026)).ok().filter(|_| with_year);
        let (month, day) = (number(rng, 1, 12), number(rng, 1, 21));
        Clock { year, month, day, now: rng.below(DAY as usize) as u64 }
    }

    /// Goes on by this many seconds, spread a little.
    pub(super) fn pass(&mut self, low: usize, high: usize, rng: &mut Rng) {
        let micros = rng.between(low * SECOND as usize, high * SECOND as usize) as u64;
        self.now = (self.now + micros).min(END);
    }

    /// A clock that stands somewhere between this one and a later one.
    pub(super) fn between(&self, later: &Clock, rng: &mut Rng) -> Clock {
        let span = later.now.saturating_sub(self.now);
        Clock { now: self.now + rng.below(span as usize + 1) as u64, ..self.clone() }
    }

    /// The time as an alert has it.
    pub(super) fn time(&self) -> Option<Timestamp> {
        self.at(u32::try_from(self.now % SECOND).unwrap_or_default())
    }

    /// The time as a system log has it, to the second.
    pub(super) fn whole_second(&self) -> Option<Timestamp> {
        self.at(0)
    }

    fn at(&self, micro: u32) -> Option<Timestamp> {
        let seconds = self.now % DAY / SECOND;
        let part = |value: u64| u8::try_from(value).unwrap_or_default();
        let day = self.day + part(self.now / DAY);
        Timestamp::new(
            self.year,
            self.month,
            day,
            (part(seconds / 3600), part(seconds / 60 % 60), part(seconds % 60)),
            micro,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_stays_a_date() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut clock = Clock::new(seed % 2 == 0, &mut rng);
            let mut last = clock.time().expect("a date");
            for _ in 0..100 {
                clock.pass(0, 20_000, &mut rng);
                let time = clock.time().expect("a date");
                assert!(time >= last, "seed {seed}");
                assert_eq!(clock.whole_second().map(|time| time.clock()), Some(time.clock()));
                last = time;
            }
            assert_eq!(last.year().is_some(), seed % 2 == 0);
        }
    }
}
