//! Logs of a single record: how often the verdict follows from how often the record comes, which says nothing of what it shows.

use std::collections::BTreeMap;

use countermove_incident::Tactic;

use super::Seen;

/// How often each record comes, in logs that stand together.
pub(super) const TIMES: [u64; 3] = [1, 2, 25];

/// A table by what the record shows and how severe its source calls it.
pub(super) fn report(seen: &[Seen]) -> String {
    let mut rows: BTreeMap<String, Vec<[bool; 3]>> = BTreeMap::new();
    for alike in seen.chunks_exact(TIMES.len()) {
        let [once, twice, often] = alike else { continue };
        let taken = [once, twice, often].map(|seen| seen.assessment.is_incident);
        let severity = once.case.evidence.log.records.first().and_then(|record| record.priority);
        let severity =
            severity.map_or_else(|| "without a severity".to_owned(), |own| format!("of severity {own}"));
        let what = if once.case.is_incident { "attack" } else { "ordinary" };
        let mut keys = vec![what.to_owned(), format!("{what}, {severity}")];
        let control = once.case.tactics.contains(&Tactic::CommandAndControl);
        keys.extend(control.then(|| format!("{what}, {severity}, of command and control")));
        for key in keys {
            rows.entry(key).or_default().push(taken);
        }
    }
    let mut text = "| a single record | logs | taken for an incident: once | twice | 25 times | another verdict twice than once |\n\
                    |---|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for (key, taken) in &rows {
        let share = |count: usize| format!("{:.1} %", 100.0 * count as f64 / taken.len().max(1) as f64);
        let of = |at: usize| share(taken.iter().filter(|taken| taken[at]).count());
        let flips = taken.iter().filter(|[once, twice, _]| once != twice).count();
        text +=
            &format!("| {key} | {} | {} | {} | {} | {} |\n", taken.len(), of(0), of(1), of(2), share(flips));
    }
    text
}
