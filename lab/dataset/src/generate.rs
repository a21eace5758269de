//! Makes a training set: incidents one after the other, their examples into files, a card beside them.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use countermove_planner::{Templates, derive_seed};
use countermove_simulator::{Generator, GeneratorOptions, Vocabulary};

use crate::card::Card;
use crate::error::{DatasetError, io};
use crate::lessons::lessons;
use crate::split::{Split, parts};
use crate::writer::{Pairs, Shards, Sink, new_folder};

/// How examples are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Shards of JSON lines, one example a line.
    #[default]
    JsonLines,
    /// The published form: `{"instructions": […], "answers": […]}`.
    Csle,
}

/// What to make.
#[derive(Clone, Debug)]
pub struct DatasetOptions {
    /// Incidents.
    pub count: u64,
    /// Root of every random choice.
    pub seed: u64,
    /// Folder to write to; new or empty.
    pub out: PathBuf,
    /// How examples are stored.
    pub form: Form,
    /// Where rules and flows come from, in words, for the card.
    pub source: String,
}

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Incidents that are done.
    pub incidents: u64,
    /// Examples that were written.
    pub examples: u64,
}

/// Makes a set, and tells of each incident that is done. If `go_on` says no, what was made by then is closed and stays.
///
/// # Errors
/// If the folder is not empty or cannot be written, or the vocabulary is too small.
pub fn generate(
    vocabulary: &Vocabulary,
    templates: &Arc<Templates>,
    options: &DatasetOptions,
    mut go_on: impl FnMut(Written) -> bool,
) -> Result<Card, DatasetError> {
    let folder = &options.out;
    new_folder(folder)?;
    let parts = parts(vocabulary);
    let generators = parts
        .iter()
        .map(|part| {
            let options =
                GeneratorOptions { topologies: part.families.clone(), ..GeneratorOptions::default() };
            Generator::new(&part.vocabulary, options)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut card = Card {
        seed: options.seed,
        templates: templates.digest(),
        source: options.source.clone(),
        ..Card::default()
    };
    card.describe(&parts);
    let mut sink: Box<dyn Sink> = match options.form {
        Form::JsonLines => Box::new(Shards::new(folder)),
        Form::Csle => Box::new(Pairs::new(folder)),
    };
    let mut seen: HashSet<u64> = HashSet::new();
    for number in 0..options.count {
        let split = Split::of_incident(number);
        let place = Split::ALL.iter().position(|own| *own == split);
        let Some(generator) = place.and_then(|place| generators.get(place)) else { continue };
        let scenario = generator.scenario(derive_seed(options.seed, "dataset", &[number]));
        let made = lessons(&scenario, split, templates)?;
        card.tally += made.tally;
        for example in &made.examples {
            // One set for all splits: what is in one is in no other.
            if seen.insert(example.print()) {
                card.add(example);
                sink.take(example)?;
            } else {
                card.repeated += 1;
            }
        }
        card.incidents += 1;
        if !go_on(Written { incidents: card.incidents, examples: card.examples() }) {
            break;
        }
    }
    sink.finish()?;
    let path = folder.join("card.md");
    fs::write(&path, card.markdown()).map_err(io(&path))?;
    Ok(card)
}
