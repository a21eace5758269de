//! Examples for perception from public labels: what detection rules, ATT&CK's examples and everyday lines say, as records in a small
//! network, with the tactic that their authors name.
//!
//! Invariants: nothing but what a record says decides its label (number, company and place in a log are not told); a rule belongs to
//! one part of every set with all its wordings, and a source that is held out belongs to the test part alone.

mod attack;
mod lines;
mod logs;
mod sources;
mod stage;
mod wording;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use countermove_incident::Tactic;
use countermove_planner::{Templates, derive_seed};

use crate::error::DatasetError;
use crate::example::{Example, Task};
use crate::split::Split;
use crate::thoughts;
use crate::writer::{Shards, Sink, new_folder};

pub use logs::{LabelledLog, labelled_logs, single_records};

/// What to make.
#[derive(Clone, Debug)]
pub struct LabelOptions {
    /// Folder with detection rules, IDS rules and classes.
    pub data: PathBuf,
    /// Folder with ATT&CK's lookup files (`relationships-lookup-*.json` and others), if its examples are wanted.
    pub attack: Option<PathBuf>,
    /// Sources that belong to the test part alone.
    pub held_out: Vec<String>,
    /// Examples of the train part.
    pub count: u64,
    /// Root of every random choice.
    pub seed: u64,
    /// Folder to write to; new or empty.
    pub out: PathBuf,
}

/// Something that a person labelled.
#[derive(Clone, Debug)]
struct Labelled {
    /// Who did.
    source: String,
    /// One identity for all wordings of the same rule.
    family: String,
    /// Ways to say it: a title, a sentence.
    texts: Vec<String>,
    /// How the text reaches a log.
    form: stage::Form,
    /// Class of the alert, if the source has classes.
    class: String,
    /// Severity that the source gives it, from 1 (high) to 4; none where it gives none.
    severity: Option<u8>,
    /// Tactics that it shows; none of them for an ordinary day.
    shows: Vec<Tactic>,
}

/// Shares of the train part, in percent: everyday records, the rest by tactic.
const EVERYDAY: u64 = 30;
/// Root of the division into parts: one for all sets, so that whoever learnt from any of them has not seen the test part of another.
const PARTS: u64 = 7;
/// Parts that are not trained on, and most examples of each: enough for a figure.
const HELD_OUT: [(Split, usize); 2] = [(Split::Validation, 600), (Split::Test, 2_000)];

/// Makes a set and gives the number of examples by part and source.
///
/// # Errors
/// If the data cannot be read, or the folder is not empty or cannot be written.
pub fn labels(
    templates: &Arc<Templates>,
    options: &LabelOptions,
) -> Result<BTreeMap<(Split, String), u64>, DatasetError> {
    let folder = &options.out;
    new_folder(folder)?;
    let pool = pool(options)?;
    let mut writer = Writer {
        templates,
        seed: options.seed,
        sink: Shards::new(folder),
        seen: HashSet::new(),
        counts: BTreeMap::new(),
    };
    let split = |one: &Labelled| split(one, options);
    for (part, most) in HELD_OUT {
        // Each rule once, so that frequent families count no more than others.
        let mut held: Vec<&Labelled> = pool.iter().filter(|one| split(one) == part).collect();
        held.sort_by_key(|one| derive_seed(options.seed, "order", &[crate::example::hash(&one.family)]));
        for one in held.into_iter().take(most) {
            writer.write(one, part, 0)?;
        }
    }
    // A source first, then a tactic of it: ten times as many rules are about web applications as about all that Windows logs, and
    // Stealth has twenty times as many as Exfiltration; all are met.
    let train: Vec<&Labelled> = pool.iter().filter(|one| split(one) == Split::Train).collect();
    let everyday = Shelves::of(train.iter().copied().filter(|one| one.shows.is_empty()));
    let attacks = Shelves::of(train.iter().copied().filter(|one| !one.shows.is_empty()));
    for number in 0..options.count {
        let draw = |what: &str| derive_seed(options.seed, what, &[number]);
        let shelves = if draw("everyday") % 100 < EVERYDAY { &everyday } else { &attacks };
        if let Some((one, tactic)) = shelves.pick(draw) {
            writer.write_as(one, Split::Train, number + 1, tactic)?;
        }
    }
    writer.sink.finish()?;
    Ok(writer.counts)
}

/// All that is labelled.
fn pool(options: &LabelOptions) -> Result<Vec<Labelled>, DatasetError> {
    let mut pool = sources::read(&options.data)?;
    pool.extend(lines::read());
    if let Some(attack) = &options.attack {
        pool.extend(attack::read(attack)?);
    }
    Ok(pool)
}

/// The part that a rule belongs to.
fn split(one: &Labelled, options: &LabelOptions) -> Split {
    match options.held_out.contains(&one.source) {
        true => Split::Test,
        false => match derive_seed(PARTS, &one.family, &[]) % 20 {
            18 => Split::Validation,
            19 => Split::Test,
            _ => Split::Train,
        },
    }
}

/// What is labelled by source and by what it shows.
struct Shelves<'a>(BTreeMap<&'static str, BTreeMap<Option<Tactic>, Vec<&'a Labelled>>>);

impl<'a> Shelves<'a> {
    fn of(all: impl Iterator<Item = &'a Labelled>) -> Shelves<'a> {
        let mut shelves = Shelves(BTreeMap::new());
        for one in all {
            let source = shelves.0.entry(kind(&one.source)).or_default();
            let everyday = one.shows.is_empty().then_some(None);
            let keys = one.shows.iter().copied().map(Some).chain(everyday);
            keys.for_each(|key| source.entry(key).or_default().push(one));
        }
        shelves
    }

    /// One by lot: sources by [`SHARES`], tactics by the root of how much there is of each.
    fn pick(&self, draw: impl Fn(&str) -> u64) -> Option<(&'a Labelled, Option<Tactic>)> {
        let share = |kind: &str| SHARES.iter().find(|(own, _)| *own == kind).map_or(0.0, |(_, share)| *share);
        let sources: Vec<_> = self.0.iter().map(|(kind, shelves)| (share(kind), shelves)).collect();
        let shelves = by_weight(&sources, draw("source"))?;
        let tactics: Vec<_> =
            shelves.iter().map(|(tactic, shelf)| ((shelf.len() as f64).sqrt(), (*tactic, shelf))).collect();
        let (tactic, shelf) = by_weight(&tactics, draw("tactic"))?;
        let at = usize::try_from(draw("rule") % shelf.len().max(1) as u64).ok()?;
        shelf.get(at).map(|one| (*one, tactic))
    }
}

/// The kind of a source, of which [`SHARES`] says how much is wanted.
fn kind(source: &str) -> &'static str {
    match source {
        "lines" | "records" => "lines",
        "emerging" => "network rules",
        attack::CHANNELS => "channels",
        source if source.starts_with("attack-") => "examples",
        _ => "detections",
    }
}

/// Shares of the kinds of sources.
const SHARES: [(&str, f64); 5] =
    [("lines", 0.2), ("network rules", 0.15), ("examples", 0.35), ("channels", 0.15), ("detections", 0.35)];

fn by_weight<T: Copy>(all: &[(f64, T)], draw: u64) -> Option<T> {
    let total: f64 = all.iter().map(|(weight, _)| weight).sum();
    let mut left = draw as f64 / u64::MAX as f64 * total;
    let found = all.iter().find(|(weight, _)| {
        left -= weight;
        left < 0.0
    });
    found.or(all.last()).map(|(_, one)| *one)
}

struct Writer<'a> {
    templates: &'a Arc<Templates>,
    seed: u64,
    sink: Shards,
    seen: HashSet<u64>,
    counts: BTreeMap<(Split, String), u64>,
}

impl Writer<'_> {
    /// Writes an example with the first tactic that the label names, and all of them as its name.
    fn write(&mut self, one: &Labelled, split: Split, wording: u64) -> Result<(), DatasetError> {
        self.write_as(one, split, wording, one.shows.first().copied())
    }

    fn write_as(
        &mut self,
        one: &Labelled,
        split: Split,
        wording: u64,
        shows: Option<Tactic>,
    ) -> Result<(), DatasetError> {
        let seed = derive_seed(self.seed, &one.family, &[wording]);
        let text = wording::worded(one, seed, wording > 0);
        let Some(rendered) = stage::rendered(self.templates, one, &text, seed, shows)? else {
            return Ok(());
        };
        let turn = rendered.prompt.segments.last().map_or("", String::as_str);
        let think = thoughts::incident(turn, shows);
        // All tactics of the label, for whoever counts any of them as right.
        let all: Vec<&str> = one.shows.iter().map(|tactic| tactic.id()).collect();
        let name = format!("{}:{}:{}", one.source, all.join("|"), one.family);
        let example = Example::new(Task::Incident, split, &name, rendered, think);
        if self.seen.insert(example.print()) {
            *self.counts.entry((split, one.source.clone())).or_default() += 1;
            self.sink.take(&example)?;
        }
        Ok(())
    }
}
