//! `countermove baseline`: learns from logs of ordinary days what is usual.

use std::path::Path;

use countermove_incident::{AlertLog, BaselineLearner, LastDay, Learnt};

use super::find;
use crate::args::BaselineArgs;
use crate::failure::{Exit, Failure};
use crate::plan::write_out;
use crate::render::{count, thousands};

/// Most kinds of severe alerts that are told.
const MOST_TOLD: usize = 20;

/// Learns, writes what was learnt, and says on standard error what it is worth.
pub(crate) fn baseline(arguments: &BaselineArgs) -> Result<Exit, Failure> {
    let (inputs, mut notes) = find(&arguments.files)?;
    let mut learner = BaselineLearner::default();
    for input in &inputs {
        let name = input.name();
        let read = AlertLog::each(input.open()?, |record| learner.add(&record, &name));
        input.usable(read, &mut notes)?;
    }
    let learnt = learner.learn().map_err(|error| Failure::Input(error.to_string()))?;
    let text = learnt.baseline.to_text();
    match &arguments.out {
        Some(path) => write(path, &text)?,
        None => write_out(text.as_bytes())?,
    }
    notes.extend(told(&learnt));
    for note in notes {
        eprintln!("{note}");
    }
    Ok(Exit::Success)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::Failed(format!("{} cannot be written: {error}", super::show(path))))
}

/// What was learnt, a sentence a line.
fn told(learnt: &Learnt) -> Vec<String> {
    let Learnt { baseline, records, of_no_kind, seldom, severe, dropped, last_day, last } = learnt;
    let mut told = vec![format!(
        "{} of {}: {} usual, {} seen on too few days and left out.",
        count(*records, "record"),
        count(u64::from(baseline.days()), "day"),
        count(baseline.kinds() as u64, "kind"),
        thousands(*seldom as u64),
    )];
    if *of_no_kind > 0 {
        told.push(format!("{} of no kind: in no known form, or very long.", count(*of_no_kind, "record"),));
    }
    if !severe.is_empty() {
        told.push(format!(
            "{} that count as usual are alerts of the highest severity, which came on most days. Look at them, and strike out what should not count:",
            count(severe.len() as u64, "kind"),
        ));
        told.extend(severe.iter().take(MOST_TOLD).map(|says| format!("  {says}")));
        if let Some(more) = severe.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
            told.push(format!("  and {} more", thousands(more as u64)));
        }
    }
    if *dropped > 0 {
        told.push(format!(
            "{} left out that did not fit, those of the fewest days.",
            count(*dropped as u64, "usual kind")
        ));
    }
    if let Some(LastDay { records, usual, of_others }) = last
        && *records > 0
    {
        let share = |part: u64| 100.0 * part as f64 / *records as f64;
        told.push(format!(
            "Of the last day ({last_day}) the days before knew {:.0} % as usual and {:.0} % as usual of others: so much of a further day is known.",
            share(*usual),
            share(*of_others),
        ));
    }
    told
}
