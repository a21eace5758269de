//! Divides CPUs between workers. Two busy workers on one core cost each other more than half of their speed, so the
//! parts are disjoint as long as there are enough CPUs.

/// CPUs of each worker, and whether some of them had to be shared. Each part is as large as any other, give or take
/// one, and neighbouring CPUs stay together: they tend to share a cache.
pub(super) fn divide(cpus: &[usize], workers: usize) -> (Vec<Vec<usize>>, bool) {
    if cpus.is_empty() || workers == 0 {
        return (vec![Vec::new(); workers], workers > 1);
    }
    if cpus.len() < workers {
        let parts = (0..workers).map(|worker| vec![cpus[worker % cpus.len()]]).collect();
        return (parts, true);
    }
    let parts = (0..workers)
        .map(|worker| cpus[worker * cpus.len() / workers..(worker + 1) * cpus.len() / workers].to_vec())
        .collect();
    (parts, false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_stay_together() {
        assert_eq!(divide(&[0, 1, 4, 5, 6], 2), (vec![vec![0, 1], vec![4, 5, 6]], false));
    }

    #[test]
    fn too_few_cpus_are_shared() {
        assert_eq!(divide(&[3], 2), (vec![vec![3], vec![3]], true));
        assert_eq!(divide(&[], 2), (vec![vec![], vec![]], true));
    }

    proptest! {
        #[test]
        fn every_worker_has_some_and_no_cpu_is_lost_or_given_twice(count in 1usize..64, workers in 1usize..64) {
            let cpus: Vec<_> = (0..count).map(|cpu| cpu * 2).collect();
            let (parts, shared) = divide(&cpus, workers);
            prop_assert_eq!(parts.len(), workers);
            prop_assert!(parts.iter().all(|part| !part.is_empty()));
            prop_assert_eq!(shared, count < workers);
            if !shared {
                let sizes: Vec<_> = parts.iter().map(Vec::len).collect();
                prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
                prop_assert_eq!(parts.concat(), cpus);
            }
        }
    }
}
