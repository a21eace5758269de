//! Names for series where there may be any number of somebodies, such as tenants: the largest have one of their own, all
//! others are [`OTHER`]. Pure.
//!
//! Who comes first gets a name as long as there are some. After that, somebody who has done more than the smallest of those
//! with a name takes its place. Weights are halved now and then, so that it is what was done lately that counts. What is known of those
//! without a name is bounded as well: a newcomer takes the place, and the weight, of the smallest of them (Metwally, Agrawal
//! and El Abbadi, "Efficient computation of frequent and top-k elements in data streams", 2005).

use std::collections::HashMap;

/// Name of all that have none of their own.
pub const OTHER: &str = "other";
/// How many are watched for each that has a name.
const WATCHED: usize = 4;
/// Sum of the weights with which they are halved.
const FULL: u64 = 1 << 40;

/// The largest of many.
#[derive(Clone, Debug)]
pub struct Largest {
    most: usize,
    named: HashMap<String, u64>,
    watched: HashMap<String, u64>,
    sum: u64,
}

/// What follows from what somebody did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name of its series.
    pub name: String,
    /// Whose series are over.
    pub over: Option<String>,
}

impl Largest {
    /// So many have a name of their own.
    pub fn new(most: usize) -> Self {
        Self { most, named: HashMap::new(), watched: HashMap::new(), sum: 0 }
    }

    /// The name under which somebody's series are kept now.
    pub fn name<'a>(&self, who: &'a str) -> &'a str {
        if self.named.contains_key(who) { who } else { OTHER }
    }

    /// Those that have a name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// Notes that somebody did so much.
    pub fn did(&mut self, who: &str, weight: u64) -> Named {
        self.sum = self.sum.saturating_add(weight);
        if self.sum > FULL {
            let halve =
                |weights: &mut HashMap<String, u64>| weights.values_mut().for_each(|weight| *weight /= 2);
            halve(&mut self.named);
            halve(&mut self.watched);
            self.sum /= 2;
        }
        let has = |name: &str| Named { name: name.to_owned(), over: None };
        if let Some(known) = self.named.get_mut(who) {
            *known = known.saturating_add(weight);
            return has(who);
        }
        // It would be taken for all the others.
        if who == OTHER {
            return has(OTHER);
        }
        if self.named.len() < self.most {
            self.named.insert(who.to_owned(), weight);
            return has(who);
        }
        let own = self.watch(who, weight);
        let Some((smallest, least)) = smallest(&self.named) else { return has(OTHER) };
        if own <= least {
            return has(OTHER);
        }
        self.named.remove(&smallest);
        self.watched.remove(who);
        self.watched.insert(smallest.clone(), least);
        self.named.insert(who.to_owned(), own);
        Named { name: who.to_owned(), over: Some(smallest) }
    }

    /// The weight of somebody without a name.
    fn watch(&mut self, who: &str, weight: u64) -> u64 {
        if let Some(known) = self.watched.get_mut(who) {
            *known = known.saturating_add(weight);
            return *known;
        }
        let mut own = weight;
        if self.watched.len() >= self.most.saturating_mul(WATCHED) {
            let Some((place, least)) = smallest(&self.watched) else { return own };
            self.watched.remove(&place);
            own = own.saturating_add(least);
        }
        self.watched.insert(who.to_owned(), own);
        own
    }
}

/// Of equal ones the last by name, so that it is always the same one.
fn smallest(weights: &HashMap<String, u64>) -> Option<(String, u64)> {
    let found = weights.iter().min_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
    found.map(|(name, weight)| (name.clone(), *weight))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_have_a_name_and_a_larger_one_takes_the_smallest_ones_place() {
        let mut largest = Largest::new(2);
        assert_eq!(largest.did("a", 10).name, "a");
        assert_eq!(largest.did("b", 5).name, "b");
        assert_eq!(largest.did("c", 4), Named { name: OTHER.to_owned(), over: None });
        assert_eq!(largest.did("c", 4), Named { name: "c".to_owned(), over: Some("b".to_owned()) });
        assert_eq!((largest.name("b"), largest.name("c")), (OTHER, "c"));
        assert_eq!(largest.did("b", 4), Named { name: "b".to_owned(), over: Some("c".to_owned()) });
    }

    #[test]
    fn somebody_who_is_called_other_has_no_series_of_its_own() {
        let mut largest = Largest::new(2);
        assert_eq!(largest.did(OTHER, 1_000).name, OTHER);
        assert_eq!(largest.names().count(), 0);
    }

    proptest! {
        #[test]
        fn what_is_known_is_bounded_and_a_giant_always_has_a_name(work in prop::collection::vec((0_u32..500, 0_u64..100), 1..2000)) {
            let mut largest = Largest::new(3);
            let mut sum = 0;
            for (who, weight) in work {
                let named = largest.did(&format!("t{who}"), weight);
                sum += weight;
                prop_assert!(named.name == OTHER || largest.named.contains_key(&named.name));
                prop_assert!(largest.named.len() <= 3 && largest.watched.len() <= 3 * WATCHED + 1);
            }
            // No count is above the sum of all, so one that did more than everybody together has to have a name.
            prop_assert_eq!(largest.did("giant", sum + 1).name, "giant");
        }

        #[test]
        fn no_weight_overflows(weights in prop::collection::vec(any::<u64>(), 1..50)) {
            let mut largest = Largest::new(2);
            for (who, weight) in weights.into_iter().enumerate() {
                largest.did(&format!("t{who}"), weight);
            }
        }
    }
}
