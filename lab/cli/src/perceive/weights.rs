//! Fits the weights of the evidence on a group: a logistic model over the pieces that the planner's code weighs, by the groups of logs
//! whose truth is known.
//!
//! The weights that ship are the point that the fit starts from and is pulled to: a piece that the logs hardly show keeps its weight.

use std::fmt::Write as _;

use super::Seen;

/// How hard a weight is held where it is, in groups: as many as would have to say something else.
const HELD: f64 = 10.0;
/// Steps of Newton's method; it has ended long before.
const STEPS: usize = 25;
/// Pieces that a model which looks at severity and class alone may use, among noise as well.
const PLAIN: [&str; 7] = [
    "high severity",
    "medium severity",
    "low severity",
    "for information only",
    "a class of attacks",
    "a class of harmless traffic",
    "before any evidence",
];

fn is_plain(name: &str) -> bool {
    PLAIN.contains(&name.trim_end_matches(", among noise"))
}

/// A group: what is known of it, and whether it is part of an attack.
struct Row {
    values: Vec<f64>,
    is_attack: bool,
}

/// The weights, and how they do on groups that they were not fitted on, beside those that ship and a model that looks at severity and
/// class alone.
pub(super) fn report(fit: &[Seen], held_out: &[Seen]) -> String {
    let first = fit.iter().flat_map(|seen| &seen.groups).next();
    let Some(first) = first else { return "There are no groups to fit on.\n".to_owned() };
    let names: Vec<&str> = first.judgement.evidence.iter().map(|piece| piece.name.as_str()).collect();
    let shipped: Vec<f64> = first.judgement.evidence.iter().map(|piece| f64::from(piece.weight)).collect();
    let all: Vec<bool> = vec![true; names.len()];
    let plain: Vec<bool> = names.iter().copied().map(is_plain).collect();
    let rows = rows(fit);
    let fitted = fitted(&rows, &shipped, &all);
    let baseline = self::fitted(&rows, &vec![0.0; names.len()], &plain);
    let mut text = format!(
        "Fitted on {} groups of {} logs, {} of them part of an attack.\n\n| piece | ships | fitted |\n|---|---:|---:|\n",
        rows.len(),
        fit.len(),
        rows.iter().filter(|row| row.is_attack).count()
    );
    for ((name, shipped), fitted) in names.iter().zip(&shipped).zip(&fitted) {
        let _ = writeln!(text, "| {name} | {shipped:.2} | {fitted:.2} |");
    }
    text += "\n| held out | groups | weights | loss | right | attacks found | ordinary accused |\n|---|---:|---|---:|---:|---:|---:|\n";
    let parts: [(&str, Vec<&Seen>); 2] = [
        ("simulated", held_out.iter().filter(|seen| !is_labelled(seen)).collect()),
        ("labelled", held_out.iter().filter(|seen| is_labelled(seen)).collect()),
    ];
    for (part, logs) in parts {
        let rows = self::rows(logs);
        for (name, weights) in [("ship", &shipped), ("fitted", &fitted), ("severity and class", &baseline)] {
            let _ = writeln!(text, "| {part} | {} | {name} | {} |", rows.len(), figures(&rows, weights));
        }
    }
    text
}

/// The groups as a table: where each is from, whether it is part of an attack, and the pieces of evidence by name.
pub(super) fn table(logs: &[Seen]) -> String {
    let names = logs.iter().flat_map(|seen| &seen.groups).next().map(|group| &group.judgement.evidence);
    let names: Vec<&str> = names.into_iter().flatten().map(|piece| piece.name.as_str()).collect();
    let mut text = format!("log\tattack\t{}\n", names.join("\t"));
    for seen in logs {
        for group in &seen.groups {
            let values: Vec<String> =
                group.judgement.evidence.iter().map(|piece| format!("{:.3}", piece.value)).collect();
            let kind = if is_labelled(seen) { "labelled" } else { "simulated" };
            let _ = writeln!(text, "{kind}\t{}\t{}", u8::from(group.shows.is_some()), values.join("\t"));
        }
    }
    text.replace(".000", "")
}

fn is_labelled(seen: &Seen) -> bool {
    seen.case.name.starts_with("labelled")
}

fn rows<'a>(logs: impl IntoIterator<Item = &'a Seen>) -> Vec<Row> {
    let groups = logs.into_iter().flat_map(|seen| &seen.groups);
    groups
        .map(|group| Row {
            values: group.judgement.evidence.iter().map(|piece| f64::from(piece.value)).collect(),
            is_attack: group.shows.is_some(),
        })
        .collect()
}

/// Mean loss in nats, share judged rightly, share of attacks found, share of ordinary groups accused.
fn figures(rows: &[Row], weights: &[f64]) -> String {
    let loss: f64 = rows.iter().map(|row| row.loss(weights)).sum();
    let share = |of: Option<bool>, is: fn(f64, bool) -> bool| {
        let own: Vec<&Row> =
            rows.iter().filter(|row| of.is_none_or(|attack| attack == row.is_attack)).collect();
        let count = own.iter().filter(|row| is(row.chance(weights), row.is_attack)).count();
        100.0 * count as f64 / own.len().max(1) as f64
    };
    format!(
        "{:.3} | {:.1} % | {:.1} % | {:.1} %",
        loss / rows.len().max(1) as f64,
        share(None, |chance, attack| (chance >= 0.5) == attack),
        share(Some(true), |chance, _| chance >= 0.5),
        share(Some(false), |chance, _| chance >= 0.5)
    )
}

impl Row {
    fn chance(&self, weights: &[f64]) -> f64 {
        let sum: f64 = self.values.iter().zip(weights).map(|(value, weight)| value * weight).sum();
        1.0 / (1.0 + (-sum).exp())
    }

    fn loss(&self, weights: &[f64]) -> f64 {
        let chance = self.chance(weights);
        -(if self.is_attack { chance } else { 1.0 - chance }).max(1e-9).ln()
    }
}

/// The weights by which what is true surprises least, pulled to `start`; those that are not free stay as they are.
fn fitted(rows: &[Row], start: &[f64], free: &[bool]) -> Vec<f64> {
    let count = start.len();
    let mut weights = start.to_vec();
    for _ in 0..STEPS {
        let mut slope = vec![0.0; count];
        let mut bend = vec![vec![0.0; count]; count];
        for at in 0..count {
            slope[at] = HELD * (weights[at] - start[at]);
            bend[at][at] = HELD;
        }
        for row in rows {
            let chance = row.chance(&weights);
            let off = chance - f64::from(u8::from(row.is_attack));
            let certain = chance * (1.0 - chance);
            for (at, value) in row.values.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                slope[at] += off * value;
                for (other, known) in row.values.iter().enumerate() {
                    bend[at][other] += certain * value * known;
                }
            }
        }
        for at in (0..count).filter(|at| !free[*at]) {
            slope[at] = 0.0;
            bend[at].fill(0.0);
            bend.iter_mut().for_each(|row| row[at] = 0.0);
            bend[at][at] = 1.0;
        }
        let step = solved(bend, slope);
        weights.iter_mut().zip(&step).for_each(|(weight, step)| *weight -= step);
        if step.iter().all(|step| step.abs() < 1e-9) {
            break;
        }
    }
    weights
}

/// Solves a system of equations whose matrix is symmetric and positive, by elimination.
fn solved(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let count = right.len();
    for at in 0..count {
        let pivot = matrix[at].clone();
        for below in at + 1..count {
            let factor = matrix[below][at] / pivot[at];
            matrix[below].iter_mut().zip(&pivot).skip(at).for_each(|(value, own)| *value -= factor * own);
            right[below] -= factor * right[at];
        }
    }
    for at in (0..count).rev() {
        let known: f64 = (at + 1..count).map(|column| matrix[at][column] * right[column]).sum();
        right[at] = (right[at] - known) / matrix[at][at];
    }
    right
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use countermove_incident::AlertLog;
    use countermove_planner::{Evidence, Reading, Rendering, Templates};

    use super::*;

    fn row(values: &[f64], is_attack: bool) -> Row {
        Row { values: values.to_vec(), is_attack }
    }

    #[test]
    fn what_tells_attacks_gets_weight_and_what_is_never_seen_keeps_its_own() {
        // The first piece tells, the second says nothing, the third is never seen, the fourth holds always.
        let rows: Vec<Row> = (0..400)
            .map(|at| {
                let tells = at % 2 == 0;
                let is_attack = if at % 10 == 0 { !tells } else { tells };
                row(&[f64::from(u8::from(tells)), f64::from(u8::from(at % 3 == 0)), 0.0, 1.0], is_attack)
            })
            .collect();
        let start = [0.0, 0.0, 2.5, 0.0];
        let weights = fitted(&rows, &start, &[true; 4]);
        assert!(weights[0] > 2.0 && weights[1].abs() < 0.3 && weights[2] == 2.5, "{weights:?}");
        let loss = |weights: &[f64]| rows.iter().map(|row| row.loss(weights)).sum::<f64>();
        assert!(loss(&weights) < loss(&start));
        let kept = fitted(&rows, &start, &[false, true, true, true]);
        assert_eq!(kept[0], 0.0);
    }

    /// Groups that no adapter and no weight was fitted on, as `--rows` wrote them; docs/perception.md has the command.
    const HELD_OUT: &str = include_str!("../../data/held-out.tsv");

    #[test]
    fn the_weights_that_ship_are_never_worse_than_severity_and_class() {
        let alert =
            "06/10-13:10:51.405000 [**] [1:1:2] x [**] [Priority: 1] {TCP} 203.0.113.7:1 -> 10.0.2.13:80\n";
        let evidence = Evidence { log: AlertLog::parse(alert.as_bytes()).unwrap(), ..Evidence::default() };
        let templates = Arc::new(Templates::load(None).unwrap());
        let judged =
            Rendering::new(templates, &evidence, 1_600).unwrap().judge(0, &Reading::sure(None)).unwrap();
        let names: Vec<&str> = judged.evidence.iter().map(|piece| piece.name.as_str()).collect();
        let shipped: Vec<f64> = judged.evidence.iter().map(|piece| f64::from(piece.weight)).collect();
        let (head, lines) = HELD_OUT.split_once('\n').unwrap();
        assert_eq!(
            head,
            format!("log\tattack\t{}", names.join("\t")),
            "write the rows anew: the pieces have changed"
        );
        let plain: Vec<bool> = names.iter().copied().map(is_plain).collect();
        for kind in ["simulated", "labelled"] {
            let rows: Vec<Row> = lines
                .lines()
                .filter_map(|line| line.strip_prefix(kind))
                .map(|line| {
                    let mut values = line.split('\t').skip(1).map(|value| value.parse::<f64>().unwrap());
                    let is_attack = values.next() == Some(1.0);
                    Row { values: values.collect(), is_attack }
                })
                .collect();
            assert!(rows.len() > 200, "{kind}: {}", rows.len());
            // Fitted on the very rows that it is judged by, which only helps it.
            let baseline = fitted(&rows, &vec![0.0; names.len()], &plain);
            let loss = |weights: &[f64]| rows.iter().map(|row| row.loss(weights)).sum::<f64>();
            let wrong = |weights: &[f64]| {
                rows.iter().filter(|row| (row.chance(weights) >= 0.5) != row.is_attack).count()
            };
            assert!(loss(&shipped) < loss(&baseline), "{kind}: {} {}", loss(&shipped), loss(&baseline));
            assert!(wrong(&shipped) < wrong(&baseline), "{kind}: {} {}", wrong(&shipped), wrong(&baseline));
        }
    }

    #[test]
    fn equations_are_solved() {
        let solution = solved(vec![vec![4.0, 1.0], vec![1.0, 3.0]], vec![1.0, 2.0]);
        assert!((solution[0] - 1.0 / 11.0).abs() < 1e-12 && (solution[1] - 7.0 / 11.0).abs() < 1e-12);
    }
}
