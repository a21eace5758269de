//! `countermove-lab calibrate`: how often perception is right on labels that it was not tuned on, and how far its probabilities can be
//! believed, beside the model that knows words alone and with it.

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::path::PathBuf;

use countermove_dataset::{Example, Task, read_examples};
use countermove_incident::Tactic;
use countermove_model::Engine;
use countermove_planner::{Prompt, Reading, Wording};
use countermove_training::set_calibration;

use crate::args::CalibrateArgs;
use crate::reader;
use crate::readings::Readings;
use crate::wording::record;
use countermove::console::Console;
use countermove::failure::{Exit, Failure};
use countermove::interrupt::Interrupt;
use countermove::plan::write_out;

/// Bins of the reliability table.
const BINS: usize = 10;

/// What a row's label says: its source, and the tactics that are right; none for an ordinary day.
pub(crate) fn label(row: &Example) -> (&str, Vec<Tactic>) {
    let mut parts = row.scenario.splitn(3, ':');
    let source = parts.next().unwrap_or_default();
    let named = parts.next().unwrap_or_default();
    // A simulated row is labelled by its answer alone.
    let right = match row.scenario.contains(':') {
        true => named.split('|').filter_map(Tactic::parse).collect(),
        false => shown(&row.answer).into_iter().collect(),
    };
    (source, right)
}

/// What a reader says about a row, and what is right.
#[derive(Clone)]
pub(crate) struct Asked {
    source: String,
    /// Tactics of the label; none for an ordinary day.
    right: Vec<Tactic>,
    /// Each option with its probability; none stands for an ordinary day.
    options: Vec<(Option<Tactic>, f64)>,
}

impl Asked {
    pub(crate) fn of(row: &Example, reading: &Reading) -> Asked {
        let (source, right) = label(row);
        Asked { source: source.to_owned(), right, options: options(reading) }
    }

    /// As a reading has it.
    fn reading(&self) -> Reading {
        Reading::of_options(self.options.iter().map(|&(option, probability)| (option, probability as f32)))
    }

    /// The same row with another reading.
    fn read(&self, reading: &Reading) -> Asked {
        Asked { options: options(reading), ..self.clone() }
    }

    fn is_right(&self, option: Option<Tactic>) -> bool {
        option.map_or(self.right.is_empty(), |tactic| self.right.contains(&tactic))
    }

    /// The options at a temperature, the likeliest first.
    fn at(&self, temperature: f64) -> Vec<(Option<Tactic>, f64)> {
        let raised = |p: f64| p.max(1e-9).powf(1.0 / temperature);
        let total: f64 = self.options.iter().map(|(_, p)| raised(*p)).sum();
        let mut all: Vec<_> = self.options.iter().map(|(option, p)| (*option, raised(*p) / total)).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }

    /// How surprising the right answer is, in nats.
    fn loss(&self, temperature: f64) -> f64 {
        let right = self.at(temperature).into_iter().filter(|(option, _)| self.is_right(*option));
        -right.map(|(_, p)| p).sum::<f64>().max(1e-9).ln()
    }
}

/// The options of a reading with their probabilities.
fn options(reading: &Reading) -> Vec<(Option<Tactic>, f64)> {
    let tactics = reading.tactics.iter().map(|(tactic, p)| (Some(*tactic), f64::from(*p)));
    [(None, f64::from(reading.everyday))].into_iter().chain(tactics).collect()
}

pub(crate) async fn calibrate(
    arguments: CalibrateArgs,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let started = reader::start(&arguments.reader, console, interrupt).await?;
    let Some((engine, mut readings)) = started else { return Ok(Exit::Interrupted) };
    let (fit_rows, data) = (rows(&arguments.fit, arguments.most)?, rows(&arguments.data, arguments.most)?);
    let fit = tokio::select! {
        asked = ask(&engine, &mut readings, &fit_rows, console) => asked?,
        () = interrupt.wait() => return Ok(Exit::Interrupted),
    };
    let judged = tokio::select! {
        asked = ask(&engine, &mut readings, &data, console) => asked?,
        () = interrupt.wait() => return Ok(Exit::Interrupted),
    };
    let temperature = if fit.is_empty() { 1.0 } else { fitted(&fit) };
    let words = |rows: &[Example], asked: &[Asked]| -> Vec<Asked> {
        let shipped = Wording::shipped();
        rows.iter().zip(asked).map(|(row, asked)| asked.read(&shipped.read(&record(row)))).collect()
    };
    let read = words(&data, &judged);
    let both: Vec<Asked> = judged
        .iter()
        .zip(&read)
        .map(|(own, words)| own.read(&own.reading().pooled(&words.reading())))
        .collect();
    let mut text = format!(
        "Temperature {temperature:.2}.\n\nThe model:\n\n{}\nThe words alone:\n\n{}\nBoth, as perception pools them:\n\n{}",
        report(&judged, temperature),
        report(&read, 1.0),
        report(&both, 1.0)
    );
    if !fit.is_empty() {
        let (model, wording) = worth(&fit, &words(&fit_rows, &fit));
        text += &format!(
            "\nOn the rows of --fit a pool surprises least in which the model is worth {model:.1} and the words {wording:.1}.\n"
        );
    }
    write_out(text.as_bytes())?;
    if arguments.set
        && let Some(adapter) = &arguments.reader.which.adapter
    {
        set_calibration(adapter, temperature).map_err(|error| Failure::Failed(error.to_string()))?;
        console.line(&format!("the adapter in {} says so now", adapter.display()));
    }
    Ok(Exit::Success)
}

/// The rows of perception in files, of each as many as are wanted.
pub(crate) fn rows(files: &[PathBuf], most: usize) -> Result<Vec<Example>, Failure> {
    let mut rows = Vec::new();
    for file in files {
        let read = read_examples(file).map_err(|error| Failure::Input(error.to_string()))?;
        rows.extend(read.into_iter().filter(|row| row.task == Task::Incident).take(most));
    }
    Ok(rows)
}

/// Asks about rows all at once, so that the engine batches them.
async fn ask(
    engine: &Engine,
    readings: &mut Readings,
    rows: &[Example],
    console: &Console,
) -> Result<Vec<Asked>, Failure> {
    let bar = console.progress();
    let mut asked = Vec::new();
    for (number, part) in rows.chunks(256).enumerate() {
        bar.set_message(format!("{} of {} rows", number * 256, rows.len()));
        let prompts =
            part.iter().map(|row| Prompt { system: row.system.clone(), segments: row.prompt.clone() });
        let read = readings.of(engine, prompts.collect()).await?;
        asked.extend(part.iter().zip(&read).map(|(row, reading)| Asked::of(row, reading)));
    }
    bar.finish_and_clear();
    Ok(asked)
}

/// The tactic that an answer names; none for an ordinary day.
pub(crate) fn shown(answer: &str) -> Option<Tactic> {
    let value: serde_json::Value = serde_json::from_str(answer).ok()?;
    Tactic::parse(value.get("Shows")?.as_str()?)
}

/// The temperature by which the right answers surprise least.
fn fitted(rows: &[Asked]) -> f64 {
    let loss = |log: f64| rows.iter().map(|row| row.loss(log.exp())).sum::<f64>();
    // The mean loss has one minimum over the temperature; golden sections enclose it.
    let (mut low, mut high) = (-2.3_f64, 2.3_f64);
    let ratio = (5_f64.sqrt() - 1.0) / 2.0;
    for _ in 0..40 {
        let (a, b) = (high - ratio * (high - low), low + ratio * (high - low));
        if loss(a) < loss(b) { high = b } else { low = a }
    }
    ((low + high) / 2.0).exp()
}

/// What two readers are worth in a pool by which the right answers surprise least, to a tenth.
fn worth(model: &[Asked], words: &[Asked]) -> (f32, f32) {
    let worths = || (0..=15_u8).map(|tenths| f32::from(tenths) / 10.0);
    let pairs = worths().flat_map(|model| worths().map(move |words| (model, words)));
    let loss = |worth| {
        let pooled =
            |(own, words): (&Asked, &Asked)| own.read(&own.reading().pooled_by(&words.reading(), worth));
        model.iter().zip(words).map(|pair| pooled(pair).loss(1.0)).sum::<f64>()
    };
    pairs
        .map(|worth| (worth, loss(worth)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map_or((1.0, 0.0), |(worth, _)| worth)
}

/// Counts over rows.
#[derive(Default)]
struct Counts {
    rows: usize,
    attacks: usize,
    first: usize,
    first_three: usize,
    missed: usize,
    everyday: usize,
    everyday_right: usize,
}

/// Rows by how sure the first answer of each is.
#[derive(Default)]
struct Bins([Bin; BINS]);

#[derive(Clone, Copy, Default)]
struct Bin {
    rows: usize,
    /// Sum of the probabilities said.
    sure: f64,
    /// How far `right` varies around that sum if all of them are true: the variance.
    luck: f64,
    right: usize,
}

impl Bins {
    fn add(&mut self, sure: f64, right: bool) {
        // A probability of one belongs to the last bin.
        if let Some(bin) = self.0.get_mut(((sure * BINS as f64) as usize).min(BINS - 1)) {
            bin.rows += 1;
            bin.sure += sure;
            bin.luck += sure * (1.0 - sure);
            bin.right += usize::from(right);
        }
    }

    fn rows(&self) -> usize {
        self.0.iter().map(|bin| bin.rows).sum()
    }

    /// The expected calibration error: how far what is said lies from how often it is right, on average over the rows.
    fn error(&self) -> f64 {
        let apart = self.0.iter().map(|bin| (bin.sure - bin.right as f64).abs());
        apart.sum::<f64>() / self.rows().max(1) as f64
    }

    /// What that error is on average where all that is said is true: the mean distance of a normal law from its middle.
    fn by_luck(&self) -> f64 {
        let apart = self.0.iter().map(|bin| (bin.luck * 2.0 / PI).sqrt());
        apart.sum::<f64>() / self.rows().max(1) as f64
    }

    /// Both, as a clause.
    fn told(&self) -> String {
        format!("{:.3} ({:.3} by luck alone)", self.error(), self.by_luck())
    }
}

/// Tables of how often the first answers are right, by source, and how far the probabilities can be believed. Where a label has several
/// tactics, any of them is right and each has but a part of the probability, so the error is told apart for those that have one.
pub(crate) fn report(rows: &[Asked], temperature: f64) -> String {
    let mut by_source: BTreeMap<&str, Counts> = BTreeMap::new();
    let (mut bins, mut unambiguous) = (Bins::default(), Bins::default());
    for row in rows {
        let options = row.at(temperature);
        let Some((first, sure)) = options.first().copied() else { continue };
        let right = row.is_right(first);
        bins.add(sure, right);
        if row.right.len() <= 1 {
            unambiguous.add(sure, right);
        }
        for key in [row.source.as_str(), "all"] {
            let counts = by_source.entry(key).or_default();
            counts.rows += 1;
            match row.right.is_empty() {
                true => {
                    counts.everyday += 1;
                    counts.everyday_right += usize::from(right);
                }
                false => {
                    counts.attacks += 1;
                    counts.first += usize::from(right);
                    counts.first_three +=
                        usize::from(options.iter().take(3).any(|(option, _)| row.is_right(*option)));
                    counts.missed += usize::from(first.is_none());
                }
            }
        }
    }
    let share = |part: usize, whole: usize| match whole {
        0 => "-".to_owned(),
        whole => format!("{:.1} %", 100.0 * part as f64 / whole as f64),
    };
    let mut out =
        "| source | rows | tactic right | in the first three | called everyday | everyday right |\n\
                   |---|---:|---:|---:|---:|---:|\n"
            .to_owned();
    for (source, counts) in &by_source {
        out += &format!(
            "| {source} | {} | {} | {} | {} | {} |\n",
            counts.rows,
            share(counts.first, counts.attacks),
            share(counts.first_three, counts.attacks),
            share(counts.missed, counts.attacks),
            share(counts.everyday_right, counts.everyday)
        );
    }
    out += &format!("\nExpected calibration error {}", bins.told());
    if unambiguous.rows() < bins.rows() {
        let (told, rows) = (unambiguous.told(), unambiguous.rows());
        out += &format!("; {told} over the {rows} rows whose label has one tactic at most");
    }
    out += ".\n\n| said | rows | mean | right |\n|---|---:|---:|---:|\n";
    for (at, bin) in bins.0.iter().enumerate().filter(|(_, bin)| bin.rows > 0) {
        let of = |sum: f64| sum / bin.rows as f64;
        out += &format!(
            "| {:.1} to {:.1} | {} | {:.2} | {:.2} |\n",
            at as f64 / BINS as f64,
            (at + 1) as f64 / BINS as f64,
            bin.rows,
            of(bin.sure),
            of(bin.right as f64)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(right: &[Tactic], sure: f64) -> Asked {
        let options = vec![(Some(Tactic::Impact), sure), (None, 1.0 - sure)];
        Asked { source: "x".into(), right: right.to_vec(), options }
    }

    #[test]
    fn a_model_that_is_too_sure_gets_a_higher_temperature() {
        // Says 0.99 and is right in three of four.
        let rows: Vec<Asked> =
            (0..40).map(|at| asked(if at % 4 == 0 { &[] } else { &[Tactic::Impact] }, 0.99)).collect();
        let temperature = fitted(&rows);
        let said = rows[0].at(temperature)[0].1;
        assert!(temperature > 2.0 && (said - 0.75).abs() < 0.01, "{temperature} {said}");
        let text = report(&rows, temperature);
        assert!(text.contains("Expected calibration error 0.00"), "{text}");
        assert!(
            report(&rows, 1.0).contains("Expected calibration error 0.240 (0.013 by luck alone)."),
            "{}",
            report(&rows, 1.0)
        );
    }

    #[test]
    fn probability_that_several_right_tactics_share_is_no_doubt() {
        // Half sure and right half of the time; of two right ones it has always named one.
        let one = |at: usize| asked(if at.is_multiple_of(2) { &[] } else { &[Tactic::Impact] }, 0.501);
        let rows: Vec<Asked> = (0..20)
            .map(one)
            .chain((0..20).map(|_| asked(&[Tactic::Impact, Tactic::Execution], 0.501)))
            .collect();
        let text = report(&rows, 1.0);
        let expected = "Expected calibration error 0.249 (0.063 by luck alone); 0.001 (0.089 by luck alone) over the \
                        20 rows whose label has one tactic at most.";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn answers_are_read() {
        assert_eq!(shown("{\"Shows\": \"Lateral Movement\"}"), Some(Tactic::LateralMovement));
        assert_eq!(shown("{\"Shows\": \"Everyday Traffic\"}"), None);
    }
}
