//! Counts of right and wrong, and what is made of them.

use std::ops::AddAssign;

/// How often something was said that is so, said that is not so, and not said that is so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Said, and so.
    pub true_positives: u64,
    /// Said, and not so.
    pub false_positives: u64,
    /// Not said, and so.
    pub false_negatives: u64,
}

impl Confusion {
    /// One case.
    pub fn of(said: bool, so: bool) -> Self {
        Self {
            true_positives: u64::from(said && so),
            false_positives: u64::from(said && !so),
            false_negatives: u64::from(!said && so),
        }
    }

    /// Share of what was said that is so; absent if nothing was said.
    pub fn precision(&self) -> Option<f64> {
        share(self.true_positives, self.true_positives + self.false_positives)
    }

    /// Share of what is so that was said; absent if nothing is so.
    pub fn recall(&self) -> Option<f64> {
        share(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// Harmonic mean of both; absent if nothing was said and nothing is so.
    pub fn f1(&self) -> Option<f64> {
        let all = 2 * self.true_positives + self.false_positives + self.false_negatives;
        share(2 * self.true_positives, all)
    }
}

impl AddAssign for Confusion {
    fn add_assign(&mut self, other: Self) {
        self.true_positives += other.true_positives;
        self.false_positives += other.false_positives;
        self.false_negatives += other.false_negatives;
    }
}

/// Part of the whole; absent if there is no whole.
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_follow_from_the_counts() {
        let mut counts = Confusion::default();
        assert_eq!((counts.precision(), counts.recall(), counts.f1()), (None, None, None));
        for (said, so) in [(true, true), (true, true), (true, false), (false, true), (false, false)] {
            counts += Confusion::of(said, so);
        }
        assert_eq!(counts.precision(), Some(2.0 / 3.0));
        assert_eq!(counts.recall(), Some(2.0 / 3.0));
        assert_eq!(counts.f1(), Some(2.0 / 3.0));
        assert_eq!(Confusion::of(false, true).f1(), Some(0.0), "a miss is a zero, not an absence");
    }
}
