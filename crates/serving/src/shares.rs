//! Something bounded that many share: so much in all, and so much for each party, so that none leaves the others nothing.
//!
//! Invariant: what is held is given back when it is dropped.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bounds and who holds what. Clones are the same.
#[derive(Debug)]
pub struct Shares<K>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K> {
    most: u64,
    most_each: u64,
    taken: Mutex<Taken<K>>,
}

#[derive(Debug)]
struct Taken<K> {
    all: u64,
    each: HashMap<K, u64>,
}

/// Why there is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// So much is held by all together.
    All(u64),
    /// So much is held by this party, which is its share.
    Share(u64),
}

/// What a party holds.
#[derive(Debug)]
pub struct Held<K: Eq + Hash> {
    shares: Shares<K>,
    party: K,
    amount: u64,
}

impl<K> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// So much in all, and so much for each party.
    pub fn new(most: u64, most_each: u64) -> Self {
        let taken = Mutex::new(Taken { all: 0, each: HashMap::new() });
        Self(Arc::new(Inner { most, most_each, taken }))
    }

    /// Takes so much for a party, or nothing.
    ///
    /// # Errors
    /// [`Full`] if there is not as much, or not for this party.
    pub fn take(&self, party: K, amount: u64) -> Result<Held<K>, Full> {
        let mut held = Held { shares: self.clone(), party, amount: 0 };
        held.add(amount)?;
        Ok(held)
    }

    /// What all hold together.
    pub fn taken(&self) -> u64 {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Taken<K>> {
        // Nothing panics while it holds the lock.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> Held<K> {
    /// Takes so much more, or nothing.
    ///
    /// # Errors
    /// [`Full`], as [`Shares::take`].
    pub fn add(&mut self, amount: u64) -> Result<(), Full> {
        let mut taken = self.shares.lock();
        let own = taken.each.get(&self.party).copied().unwrap_or(0);
        if taken.all.saturating_add(amount) > self.shares.0.most {
            return Err(Full::All(taken.all));
        }
        if own.saturating_add(amount) > self.shares.0.most_each {
            return Err(Full::Share(own));
        }
        if amount > 0 {
            taken.all += amount;
            taken.each.insert(self.party.clone(), own + amount);
            self.amount += amount;
        }
        Ok(())
    }

    /// How much it is.
    pub fn amount(&self) -> u64 {
        self.amount
    }
}

impl<K: Eq + Hash> Drop for Held<K> {
    fn drop(&mut self) {
        let mut taken = self.shares.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(self.amount);
        if let Some(own) = taken.each.get_mut(&self.party) {
            *own = own.saturating_sub(self.amount);
            if *own == 0 {
                // Parties come and go; only those that hold something are remembered.
                taken.each.remove(&self.party);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_party_leaves_the_others_their_part() {
        let shares = Shares::new(10, 5);
        let mut first = shares.take("a", 3).unwrap();
        assert_eq!(first.add(3), Err(Full::Share(3)));
        first.add(2).unwrap();
        let second = shares.take("b", 5).unwrap();
        assert_eq!(shares.take("c", 1).map(drop), Err(Full::All(10)));
        drop(first);
        assert_eq!((shares.taken(), second.amount()), (5, 5));
        assert!(shares.take("c", 5).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_held_is_counted_and_given_back(steps in proptest::collection::vec((0_u8..4, 0_u64..9, any::<bool>()), 1..60)) {
            let shares = Shares::new(20, 8);
            let mut held: Vec<Held<u8>> = Vec::new();
            for (party, amount, gives_back) in steps {
                if gives_back && !held.is_empty() {
                    held.swap_remove(usize::from(party) % held.len());
                } else if let Ok(one) = shares.take(party, amount) {
                    held.push(one);
                }
                let of = |party| held.iter().filter(|held| held.party == party).map(Held::amount).sum::<u64>();
                prop_assert!((0..4).all(|party| of(party) <= 8));
                prop_assert_eq!(shares.taken(), (0..4).map(of).sum::<u64>());
                prop_assert!(shares.taken() <= 20);
            }
            held.clear();
            prop_assert!(shares.taken() == 0 && shares.lock().each.is_empty());
        }
    }
}
