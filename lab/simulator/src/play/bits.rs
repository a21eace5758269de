//! A set of small numbers.

/// A set of numbers below a bound that all sets of one incident share, so that equal sets are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// The empty set of numbers below `bound`.
    pub(super) fn new(bound: usize) -> Bits {
        Bits(vec![0; bound.div_ceil(64)])
    }

    /// Those of the numbers below `bound` that fit.
    pub(super) fn of(bound: usize, fits: impl Fn(usize) -> bool) -> Bits {
        let mut bits = Bits::new(bound);
        for number in (0..bound).filter(|&number| fits(number)) {
            if let Some(word) = bits.0.get_mut(number / 64) {
                *word |= 1 << (number % 64);
            }
        }
        bits
    }

    pub(super) fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    pub(super) fn add(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    pub(super) fn remove(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= !other);
    }

    pub(super) fn holds_all(&self, other: &Bits) -> bool {
        self.0.iter().zip(&other.0).all(|(word, other)| word & other == *other)
    }

    pub(super) fn holds_any(&self, other: &Bits) -> bool {
        self.0.iter().zip(&other.0).any(|(word, other)| word & other != 0)
    }
}
