//! One example, and the form in which it is stored: a JSON object on a line.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::Path;

use countermove_incident::approximate_tokens;
use countermove_planner::Rendered;
use serde::{Deserialize, Serialize};

use crate::error::{DatasetError, io};
use crate::split::Split;

/// What a model is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// What a group of the log shows.
    Incident,
    /// The next action.
    Action,
    /// The state after an action.
    State,
    /// The alerts that come next.
    Alerts,
}

impl Task {
    /// All of them.
    pub const ALL: [Task; 4] = [Task::Incident, Task::Action, Task::State, Task::Alerts];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Task::Incident => "incident",
            Task::Action => "action",
            Task::State => "state",
            Task::Alerts => "alerts",
        }
    }
}

/// A question, the reasoning that answers it, and the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// What is asked.
    pub task: Task,
    /// The part of the set that it belongs to.
    pub split: Split,
    /// The incident that it is from.
    pub scenario: String,
    /// The system text.
    pub system: String,
    /// The segments of the user's turn, in order; each is encoded alone.
    pub prompt: Vec<String>,
    /// Reasoning, one to three short sentences.
    pub think: String,
    /// The JSON value, as the engine's grammar writes it.
    pub answer: String,
}

impl Example {
    pub(crate) fn new(
        task: Task,
        split: Split,
        scenario: &str,
        rendered: Rendered,
        think: String,
    ) -> Example {
        let Rendered { prompt, answer } = rendered;
        Example {
            task,
            split,
            scenario: scenario.to_owned(),
            system: prompt.system,
            prompt: prompt.segments,
            think,
            answer,
        }
    }

    /// Equal for equal questions with equal answers, whatever incident they are from. The same on every machine.
    pub(crate) fn print(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.task, &self.prompt, &self.answer).hash(&mut hasher);
        hasher.finish()
    }

    /// Tokens of the fixed part, the moving part and the answer, as estimated.
    pub(crate) fn tokens(&self) -> [usize; 3] {
        let (turn, fixed) = match self.prompt.split_last() {
            Some((turn, fixed)) => (turn.as_str(), fixed),
            None => ("", &[][..]),
        };
        let fixed = fixed.iter().chain([&self.system]).map(|part| approximate_tokens(part)).sum();
        [fixed, approximate_tokens(turn), approximate_tokens(&self.answer)]
    }
}

/// The same number for the same text, on every machine.
pub(crate) fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Reads a file of examples, one a line. Empty lines are skipped.
///
/// # Errors
/// If the file cannot be read, or a line is no example; the error names the line.
pub fn read_examples(path: &Path) -> Result<Vec<Example>, DatasetError> {
    let file = BufReader::new(File::open(path).map_err(io(path))?);
    let mut examples = Vec::new();
    for (number, line) in (1..).zip(file.lines()) {
        let line = line.map_err(io(path))?;
        if line.trim().is_empty() {
            continue;
        }
        let example = serde_json::from_str(&line).map_err(|error| DatasetError::Malformed {
            path: path.to_owned(),
            place: format!("line {number}"),
            reason: error.to_string(),
        })?;
        examples.push(example);
    }
    Ok(examples)
}
