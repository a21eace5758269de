//! The tasks that the model does: what its answers look like, and how they are read.
//!
//! Invariant: an answer is checked here whether or not a grammar shaped it. What breaks the contract is a
//! [`TaskError`]; what keeps the contract and names things that do not exist is removed by the caller and reported.

mod action;
mod alerts;
mod incident;
mod state;

pub(crate) use action::{ActionAnswer, action_schema, parse_action};
pub(crate) use alerts::{alert_choices, alerts_answer, alerts_schema, parse_alerts};
pub use incident::incident_schema;
pub(crate) use incident::{incident_answer, read_incident, read_options};
pub(crate) use state::{parse_state, state_answer, state_schema};

use serde_json::{Map, Value};

use crate::language_model::Answer;
use crate::words::one_line;

/// Why an answer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The token limit cut the answer.
    #[error("the {task} answer was cut off by its token limit")]
    CutOff {
        /// The task.
        task: &'static str,
    },
    /// The answer is not a JSON object.
    #[error("the {task} answer is not a JSON object: {reason}")]
    NotAnObject {
        /// The task.
        task: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A property is missing or is not what it must be.
    #[error("in the {task} answer, {property} must be {expected}")]
    Property {
        /// The task.
        task: &'static str,
        /// The property.
        property: String,
        /// What it must be.
        expected: &'static str,
    },
}

/// An answer's properties, with errors that name the task.
struct Properties {
    task: &'static str,
    map: Map<String, Value>,
}

impl Properties {
    fn of(task: &'static str, answer: &Answer) -> Result<Self, TaskError> {
        if !answer.complete {
            return Err(TaskError::CutOff { task });
        }
        Self::read(task, &answer.json)
    }

    fn read(task: &'static str, json: &str) -> Result<Self, TaskError> {
        match serde_json::from_str(json) {
            Ok(Value::Object(map)) => Ok(Self { task, map }),
            Ok(_) => Err(TaskError::NotAnObject { task, reason: "it is another JSON value".into() }),
            Err(error) => Err(TaskError::NotAnObject { task, reason: error.to_string() }),
        }
    }

    fn wrong(&self, property: &str, expected: &'static str) -> TaskError {
        TaskError::Property { task: self.task, property: property.into(), expected }
    }

    fn boolean(&self, property: &str) -> Result<bool, TaskError> {
        self.map.get(property).and_then(Value::as_bool).ok_or_else(|| self.wrong(property, "true or false"))
    }

    fn text(&self, property: &str) -> Result<String, TaskError> {
        let text = self.map.get(property).and_then(Value::as_str);
        text.map(one_line).ok_or_else(|| self.wrong(property, "a string"))
    }

    /// Entries of an array of strings, each once; none if the property is absent.
    fn texts(&self, property: &str) -> Result<Vec<String>, TaskError> {
        let Some(value) = self.map.get(property) else { return Ok(Vec::new()) };
        let expected = "an array of strings";
        let mut texts = Vec::new();
        for entry in value.as_array().ok_or_else(|| self.wrong(property, expected))? {
            let text = one_line(entry.as_str().ok_or_else(|| self.wrong(property, expected))?);
            if !text.is_empty() && !texts.contains(&text) {
                texts.push(text);
            }
        }
        Ok(texts)
    }
}
