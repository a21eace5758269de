//! One of several equal parts of the CPUs that a process may use. Two busy workers on one core cost each other more than
//! half of their speed, so the parts are disjoint as long as there are enough CPUs.

use std::str::FromStr;

/// Most parts that CPUs are divided into.
const MOST: usize = 4096;

/// `2/3`: the second of three parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuPart {
    /// Which one, from 0.
    index: usize,
    /// Of how many; 1 at least.
    parts: usize,
}

/// A text that names no part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("give K/N, the K-th of N equal parts, such as 1/2")]
pub struct ParsePartError;

impl FromStr for CpuPart {
    type Err = ParsePartError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (part, parts) = text.split_once('/').ok_or(ParsePartError)?;
        let number = |text: &str| text.parse::<usize>().map_err(|_| ParsePartError);
        let (part, parts) = (number(part)?, number(parts)?);
        if (1..=parts).contains(&part) && parts <= MOST {
            Ok(Self { index: part - 1, parts })
        } else {
            Err(ParsePartError)
        }
    }
}

impl CpuPart {
    /// The CPUs of this part. Each part is as large as any other, give or take one, and neighbouring CPUs stay together:
    /// they tend to share a cache. Where there are fewer CPUs than parts, each has one that others have as well.
    pub(crate) fn of(self, cpus: &[usize]) -> Vec<usize> {
        if cpus.len() < self.parts {
            return cpus.iter().cycle().skip(self.index).take(cpus.len().min(1)).copied().collect();
        }
        let edge = |part: usize| part * cpus.len() / self.parts;
        cpus[edge(self.index)..edge(self.index + 1)].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn divide(cpus: &[usize], parts: usize) -> Vec<Vec<usize>> {
        (1..=parts).map(|part| format!("{part}/{parts}").parse::<CpuPart>().unwrap().of(cpus)).collect()
    }

    #[test]
    fn neighbours_stay_together() {
        assert_eq!(divide(&[0, 1, 4, 5, 6], 2), [vec![0, 1], vec![4, 5, 6]]);
    }

    #[test]
    fn too_few_cpus_are_shared() {
        assert_eq!(divide(&[3], 2), [[3], [3]]);
        assert_eq!(divide(&[3, 4], 3), [[3], [4], [3]]);
        assert_eq!(divide(&[], 2), [[], []] as [[usize; 0]; 2]);
    }

    #[test]
    fn what_names_no_part_is_refused() {
        for text in ["", "1", "0/2", "3/2", "1/0", "-1/2", "a/b", "1/99999999"] {
            assert_eq!(text.parse::<CpuPart>(), Err(ParsePartError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_part_has_some_and_no_cpu_is_lost_or_given_twice(count in 1usize..64, workers in 1usize..64) {
            let cpus: Vec<_> = (0..count).map(|cpu| cpu * 2).collect();
            let parts = divide(&cpus, workers);
            prop_assert!(parts.iter().all(|part| !part.is_empty()));
            if count >= workers {
                let sizes: Vec<_> = parts.iter().map(Vec::len).collect();
                prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
                prop_assert_eq!(parts.concat(), cpus);
            }
        }
    }
}
