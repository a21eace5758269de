//! What the model read in records, kept in a file, so that it is asked about nothing twice.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use countermove_incident::Tactic;
use countermove_model::Engine;
use countermove_planner::{Prompt, Reading, TemplateError, Templates, about_nothing};
use serde::{Deserialize, Serialize};

use crate::args::Which;
use crate::calibrate::shown;
use crate::reader;
use countermove::failure::Failure;

/// Answers by what was asked, and of which model.
pub(crate) struct Readings {
    model: u64,
    known: HashMap<u64, Vec<(Option<String>, f32)>>,
    file: Option<File>,
    /// What a model without an adapter is asked about nothing with, as perception does.
    nothing: Option<Templates>,
}

/// A line of the file.
#[derive(Deserialize, Serialize)]
struct Kept {
    key: u64,
    options: Vec<(Option<String>, f32)>,
}

impl Readings {
    /// Those of a file, if one is named, which is made where it is missing.
    pub(crate) fn open(path: Option<&Path>, which: &Which) -> Result<Readings, Failure> {
        let mut hasher = DefaultHasher::new();
        which.model.hash(&mut hasher);
        if let Some(adapter) = &which.adapter {
            let weights = std::fs::read(adapter.join("adapter_model.safetensors"));
            let weights = weights
                .map_err(|error| Failure::Input(format!("--adapter {}: {error}", adapter.display())))?;
            weights.hash(&mut hasher);
        }
        let untuned = which.adapter.is_none().then(|| Templates::load(None)).transpose();
        let nothing = untuned.map_err(|error| Failure::Failed(error.to_string()))?;
        let mut readings = Readings { model: hasher.finish(), known: HashMap::new(), file: None, nothing };
        let Some(path) = path else { return Ok(readings) };
        let failed =
            |error: std::io::Error| Failure::Input(format!("--readings {}: {error}", path.display()));
        let file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(failed)?;
        for line in BufReader::new(&file).lines() {
            // A line that a break left half written is asked for again.
            if let Ok(kept) = serde_json::from_str::<Kept>(&line.map_err(failed)?) {
                readings.known.insert(kept.key, kept.options);
            }
        }
        readings.file = Some(file);
        Ok(readings)
    }

    /// What the model reads in records: as it stands, or beside what it reads in one that says nothing, if nobody tuned it.
    pub(crate) async fn of(
        &mut self,
        engine: &Engine,
        prompts: Vec<Prompt>,
    ) -> Result<Vec<Reading>, Failure> {
        let about = |templates| prompts.iter().map(|prompt| about_nothing(templates, prompt)).collect();
        let nothing: Option<Vec<Prompt>> = self
            .nothing
            .as_ref()
            .map(about)
            .transpose()
            .map_err(|error: TemplateError| Failure::Failed(error.to_string()))?;
        let read = self.all(engine, prompts).await?;
        let Some(nothing) = nothing else { return Ok(read) };
        let nothing = self.all(engine, nothing).await?;
        Ok(read.iter().zip(&nothing).map(|(reading, nothing)| reading.beside(nothing)).collect())
    }

    /// What the model answers, asked all at once, so that the engine batches them.
    async fn all(&mut self, engine: &Engine, prompts: Vec<Prompt>) -> Result<Vec<Reading>, Failure> {
        let (mut waiting, mut asked) = (Vec::new(), HashSet::new());
        for prompt in prompts {
            let mut hasher = DefaultHasher::new();
            (self.model, &prompt.system, &prompt.segments).hash(&mut hasher);
            let key = hasher.finish();
            let running = (!self.known.contains_key(&key) && asked.insert(key))
                .then(|| engine.submit(reader::request(prompt.system, prompt.segments)));
            waiting.push((key, running));
        }
        let mut read = Vec::new();
        for (key, running) in waiting {
            if let Some(generation) = running {
                let completion = generation.completion().await;
                let completion = completion.map_err(|error| Failure::Failed(error.to_string()))?;
                let options = completion.options.iter();
                let options: Vec<_> = options
                    .map(|one| (shown(&one.value).map(|tactic| tactic.name().to_owned()), one.probability))
                    .collect();
                self.keep(key, options)?;
            }
            let options = self.known.get(&key).into_iter().flatten();
            read.push(Reading::of_options(
                options.map(|(name, probability)| (name.as_deref().and_then(Tactic::parse), *probability)),
            ));
        }
        Ok(read)
    }

    fn keep(&mut self, key: u64, options: Vec<(Option<String>, f32)>) -> Result<(), Failure> {
        let kept = Kept { key, options };
        if let Some(file) = &mut self.file {
            let line = serde_json::to_string(&kept).map_err(|error| Failure::Failed(error.to_string()))?;
            writeln!(file, "{line}").map_err(|error| Failure::Failed(error.to_string()))?;
        }
        self.known.insert(kept.key, kept.options);
        Ok(())
    }
}
