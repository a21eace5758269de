//! Lists of CPUs: how they are written, and which ones this process may use.

use std::thread::available_parallelism;

/// Highest CPU number that a list may name.
const MAX_CPU: usize = 4095;

/// Why a text is no list of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuListError {
    /// A part is neither a number nor a range.
    #[error("'{0}' is neither a CPU number nor a range such as 0-3; write a list such as 0,2-3")]
    Part(String),
    /// A CPU is named that this process may not use.
    #[error("CPU {cpu} is not among those that this process may use ({allowed})")]
    NotAllowed {
        /// The CPU.
        cpu: usize,
        /// What may be used, as a list.
        allowed: String,
    },
}

/// Reads a list such as `0,2-3`. Gives sorted numbers, each once.
///
/// # Errors
/// [`CpuListError::Part`] for anything else.
pub fn parse_cpu_list(text: &str) -> Result<Vec<usize>, CpuListError> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let wrong = || CpuListError::Part(part.escape_default().to_string());
        let number = |digits: &str| {
            digits.trim().parse::<usize>().ok().filter(|&cpu| cpu <= MAX_CPU).ok_or_else(wrong)
        };
        match part.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(wrong());
                }
                cpus.extend(first..=last);
            }
            None => cpus.push(number(part)?),
        }
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

/// CPUs that this process may use, by the kernel's word; where it gives none, as many as there are.
pub fn allowed_cpus() -> Vec<usize> {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            parse_cpu_list(list.trim()).ok()
        })
        .unwrap_or_else(|| (0..available_parallelism().map_or(1, |count| count.get())).collect())
}

/// Checks that every CPU of a list may be used.
///
/// # Errors
/// [`CpuListError::NotAllowed`] for the first that may not.
pub fn check_allowed_cpus(cpus: &[usize]) -> Result<(), CpuListError> {
    let allowed = allowed_cpus();
    match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        None => Ok(()),
        Some(&cpu) => {
            let allowed = allowed.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            Err(CpuListError::NotAllowed { cpu, allowed })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_read_and_sorted() {
        assert_eq!(parse_cpu_list("0"), Ok(vec![0]));
        assert_eq!(parse_cpu_list("3,0-1, 1 - 2"), Ok(vec![0, 1, 2, 3]));
    }

    #[test]
    fn what_is_no_list_is_named() {
        for text in ["", "a", "0,", "3-1", "-1", "1-", "0-99999999999", "1;2"] {
            assert!(matches!(parse_cpu_list(text), Err(CpuListError::Part(_))), "{text}");
        }
    }

    #[test]
    fn only_allowed_cpus_pass() {
        let allowed = allowed_cpus();
        assert!(!allowed.is_empty(), "something has to run this test");
        assert_eq!(check_allowed_cpus(&allowed), Ok(()));
        assert!(matches!(check_allowed_cpus(&[MAX_CPU]), Err(CpuListError::NotAllowed { cpu: MAX_CPU, .. })));
    }

    proptest! {
        #[test]
        fn any_set_comes_back(mut cpus in proptest::collection::vec(0..=MAX_CPU, 1..20)) {
            let text = cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            cpus.sort_unstable();
            cpus.dedup();
            prop_assert_eq!(parse_cpu_list(&text), Ok(cpus));
        }

        #[test]
        fn no_text_panics(text in ".{0,20}") {
            let _ = parse_cpu_list(&text);
        }
    }
}
