//! Which examples each step sees: a function of the data, the seed and the step's number alone.

use std::collections::HashMap;

use crate::data::Example;
use crate::random::Random;

/// The order of one epoch: batches of indices.
///
/// Examples with a common prefix are put together in runs of at most `together`, so that a batch computes the prefix
/// once; the runs are shuffled as wholes, and so is the order within a group from epoch to epoch.
pub(crate) fn epoch(
    examples: &[Example],
    batch: usize,
    together: usize,
    seed: u64,
    epoch: u64,
) -> Vec<Vec<usize>> {
    let mut random = Random::of(&[seed, 2, epoch]);
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, example) in examples.iter().enumerate() {
        let place = *places.entry(example.group).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(index);
    }
    let mut runs = Vec::new();
    for group in &mut groups {
        random.shuffle(group);
        runs.extend(group.chunks(together).map(<[usize]>::to_vec));
    }
    random.shuffle(&mut runs);
    let order: Vec<usize> = runs.into_iter().flatten().collect();
    order.chunks(batch).map(<[usize]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_holds_every_example_once_and_keeps_runs_together() {
        let examples: Vec<_> =
            (0..50).map(|n| Example { tokens: vec![n], prompt: 1, group: u64::from(n / 10) }).collect();
        let batches = epoch(&examples, 5, 5, 1, 0);
        assert_eq!(batches.len(), 10);
        for batch in &batches {
            assert!(batch.iter().all(|index| index / 10 == batch[0] / 10), "{batch:?}");
        }
        let mut all: Vec<usize> = batches.concat();
        assert_eq!(batches, epoch(&examples, 5, 5, 1, 0));
        assert_ne!(batches, epoch(&examples, 5, 5, 1, 1));
        assert_ne!(batches, epoch(&examples, 5, 5, 2, 0));
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<_>>());
    }
}
