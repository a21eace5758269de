//! `countermove-lab wording`: fits the linear model over the words of records that perception has beside the language model.
//!
//! A softmax regression, fitted by AdaGrad with a pull of its weights to zero. A label often names several tactics and a record shows one
//! of them at a time, so half of what is right goes to the label's tactics alike and half to those that the model holds likelier already.

use std::path::Path;

use countermove_dataset::Example;
use countermove_planner::{Scores, Wording, places, softmax};
use sha2::{Digest, Sha256};

use crate::args::WordingArgs;
use crate::calibrate::{Asked, label, report, rows};
use countermove::console::Console;
use countermove::failure::{Exit, Failure};
use countermove::plan::write_out;

/// Times that the rows are gone through.
const EPOCHS: u64 = 4;
const LEARNING_RATE: f32 = 0.5;
/// What pulls a weight to zero each time its place is seen, times the weight.
const PULL: f32 = 1e-4;
/// What keeps the first steps small.
const EASE: f32 = 1e-3;

/// A row as the fit sees it.
struct Row {
    places: Vec<usize>,
    /// Which options are right.
    right: Vec<usize>,
    order: [u8; 32],
}

pub(crate) fn wording(arguments: &WordingArgs, console: &Console) -> Result<Exit, Failure> {
    let (rows, judged) = (rows(&arguments.data, usize::MAX)?, rows(&arguments.judge, usize::MAX)?);
    if rows.is_empty() {
        return Err(Failure::Input("--data: there are no rows of the task incident in these files".into()));
    }
    let fitted = fit(&rows);
    write(&arguments.out, &fitted)?;
    if !judged.is_empty() {
        let read: Vec<Asked> = judged.iter().map(|row| Asked::of(row, &fitted.read(&record(row)))).collect();
        write_out(report(&read, 1.0).as_bytes())?;
    }
    console.line(&format!("what {} rows say is in {}", rows.len(), arguments.out.display()));
    Ok(Exit::Success)
}

fn write(path: &Path, wording: &Wording) -> Result<(), Failure> {
    std::fs::write(path, wording.to_bytes())
        .map_err(|error| Failure::Failed(format!("--out {}: {error}", path.display())))
}

/// What a record says: the lines of the question's last segment without the fences, and without who has to do with it.
pub(crate) fn record(row: &Example) -> String {
    let segment = row.prompt.last().map_or("", String::as_str);
    let is_said = |line: &&str| {
        !["=== RECORD ===", "=== END ===", ""].contains(line)
            && !line.starts_with("From: ")
            && !line.starts_with("To: ")
    };
    segment.lines().filter(is_said).collect::<Vec<_>>().join("\n")
}

/// The model by which the labels of the rows surprise least, whatever order they have.
fn fit(rows: &[Example]) -> Wording {
    let options: Vec<_> = Wording::options().collect();
    let of = |row: &Example| {
        let text = record(row);
        let (_, tactics) = label(row);
        let is_right = |option: &_| match option {
            None => tactics.is_empty(),
            Some(tactic) => tactics.contains(tactic),
        };
        let right: Vec<usize> = (0..options.len()).filter(|at| is_right(&options[*at])).collect();
        Row { places: places(&text), right, order: Sha256::digest(format!("{}\n{text}", row.answer)).into() }
    };
    // A label that names only what no log can show teaches nothing.
    let mut rows: Vec<Row> = rows.iter().map(of).filter(|row| !row.right.is_empty()).collect();
    let many = rows.iter().flat_map(|row| &row.places).max().map_or(0, |last| last + 1);
    let mut model = Fit { always: Weight::default(), weights: vec![Weight::default(); many] };
    for epoch in 0..EPOCHS {
        rows.sort_by_cached_key(|row| {
            <[u8; 32]>::from(Sha256::digest([&row.order[..], &epoch.to_le_bytes()].concat()))
        });
        rows.iter().for_each(|row| model.step(row));
    }
    let weights: Vec<Scores> = model.weights.iter().map(|weight| weight.value).collect();
    Wording::new(model.always.value, &weights)
}

/// A weight for each option, and the squares of the slopes that moved it.
#[derive(Clone, Default)]
struct Weight {
    value: Scores,
    squares: Scores,
}

impl Weight {
    fn step(&mut self, slope: Scores, rate: f32, pull: f32) {
        for ((value, square), slope) in self.value.iter_mut().zip(&mut self.squares).zip(slope) {
            let slope = slope + pull * *value;
            *square += slope * slope;
            *value -= rate * slope / (square.sqrt() + EASE);
        }
    }
}

struct Fit {
    always: Weight,
    weights: Vec<Weight>,
}

impl Fit {
    fn step(&mut self, row: &Row) {
        let scale = 1.0 / (row.places.len().max(1) as f32).sqrt();
        let mut scores = self.always.value;
        for place in &row.places {
            scores
                .iter_mut()
                .zip(self.weights[*place].value)
                .for_each(|(score, weight)| *score += weight * scale);
        }
        let said = softmax(scores);
        let held: f32 = row.right.iter().map(|at| said[*at]).sum::<f32>().max(f32::MIN_POSITIVE);
        let mut slope = said;
        for at in &row.right {
            slope[*at] -= 0.5 * said[*at] / held + 0.5 / row.right.len() as f32;
        }
        for place in &row.places {
            self.weights[*place].step(slope.map(|slope| slope * scale), LEARNING_RATE, PULL);
        }
        self.always.step(slope, 0.1 * LEARNING_RATE, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use countermove_dataset::{Split, Task};
    use countermove_incident::Tactic;

    use super::*;

    fn row(text: &str, label: &str, answer: &str) -> Example {
        Example {
            task: Task::Incident,
            split: Split::Train,
            scenario: format!("sigma:{label}:a rule"),
            system: String::new(),
            prompt: vec![
                "What does the record show?".into(),
                format!("=== RECORD ===\n{text}\nFrom: outside address\nTo: own host\n=== END ==="),
            ],
            think: String::new(),
            answer: format!("{{\"Shows\": \"{answer}\"}}"),
        }
    }

    #[test]
    fn words_that_stood_under_a_label_speak_for_it() {
        let rows = [
            row("mimikatz dumped the memory of lsass", "TA0006", "Credential Access"),
            row("lsass was read by a program", "TA0006|TA0002", "Execution"),
            row("files encrypted, ransom note left", "TA0040", "Impact"),
            row("many files encrypted on the share", "TA0040", "Impact"),
            row("a user opened the calendar", "", "Everyday Traffic"),
            row("the calendar was opened on the share", "", "Everyday Traffic"),
        ];
        let wording = fit(&rows);
        let first = |text: &str| {
            let reading = wording.read(text);
            let tactic = reading.tactics.first().filter(|(_, chance)| *chance > reading.everyday);
            tactic.map(|(tactic, _)| *tactic)
        };
        assert_eq!(first("memory of lsass dumped"), Some(Tactic::CredentialAccess));
        assert_eq!(first("all files encrypted"), Some(Tactic::Impact));
        assert_eq!(first("calendar opened"), None);
        assert_eq!(
            record(&rows[0]),
            "mimikatz dumped the memory of lsass",
            "who has to do with it says nothing"
        );
        let mut other = rows.clone();
        other.reverse();
        assert_eq!(wording, fit(&other), "the order does not matter");
    }
}
