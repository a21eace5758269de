//! Training data: the generator's JSON lines and the published document, checked row by row and encoded.
//!
//! A generator's row has `system`, `prompt` (segments of the user's turn), `think` and `answer`, and maybe `task`. The
//! published document (CSLE-IncidentResponse-V1) is one object with the lists `instructions` and `answers`, whose
//! answers hold their reasoning before `</think>`. Whether reasoning is trained is the run's choice.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use countermove_model::BaseModel;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::settings::TaskShare;

/// Longest line, and longest document, that is read, in bytes.
const LONGEST_LINE: usize = 4 << 20;
const LONGEST_DOCUMENT: u64 = 4 << 30;
/// Rows that are encoded together.
const CHUNK: usize = 4096;

/// A row of the data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Row {
    #[serde(default)]
    task: String,
    #[serde(default)]
    system: String,
    prompt: Vec<String>,
    #[serde(default)]
    think: String,
    answer: String,
}

/// The published document.
#[derive(Debug, Deserialize)]
struct Document {
    instructions: Vec<String>,
    answers: Vec<String>,
}

/// An encoded example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Example {
    /// Prompt and answer.
    pub(crate) tokens: Vec<u32>,
    /// How many of them are the prompt; never 0, never all.
    pub(crate) prompt: usize,
    /// Examples of one group share all but the last segment of their prompts.
    pub(crate) group: u64,
}

/// What is read.
#[derive(Clone, Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) base: &'a BaseModel,
    /// Whether the reasoning before answers is trained.
    pub(crate) thinking: bool,
    /// Longest example in tokens.
    pub(crate) length: usize,
    /// Tasks to keep, and how often; empty keeps all.
    pub(crate) tasks: &'a [TaskShare],
    /// Most examples, the first ones.
    pub(crate) limit: Option<usize>,
}

/// Counts of a data set, known before training starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataReport {
    /// Examples.
    pub examples: usize,
    /// Examples of each task.
    pub tasks: BTreeMap<String, usize>,
    /// Tokens of all examples.
    pub tokens: u64,
    /// Of these, tokens of answers: those that the loss counts.
    pub answer_tokens: u64,
    /// Tokens of the longest example.
    pub longest: usize,
    /// Examples whose answer was cut to the longest length.
    pub truncated: usize,
    /// Examples left out because their prompt alone is too long.
    pub left_out: usize,
}

/// The files of a split in a folder that the generator wrote: `train-00000.jsonl` and so on.
///
/// # Errors
/// [`TrainError::Io`] if the folder cannot be read.
pub fn split_files(folder: &Path, split: &str) -> Result<Vec<PathBuf>, TrainError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(TrainError::io(folder))? {
        let path = entry.map_err(TrainError::io(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_split = name.strip_prefix(split).is_some_and(|rest| rest.starts_with(['-', '.']));
        if is_split && (name.ends_with(".jsonl") || name.ends_with(".json")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads and encodes files.
pub(crate) fn read(
    files: &[PathBuf],
    reading: &Reading<'_>,
) -> Result<(Vec<Example>, DataReport), TrainError> {
    let mut set = Set {
        reading,
        examples: Vec::new(),
        report: DataReport::default(),
        waiting: Vec::new(),
        met: BTreeMap::new(),
    };
    for path in files {
        let file = File::open(path).map_err(TrainError::io(path))?;
        if path.extension().is_some_and(|extension| extension == "json") {
            set.document(path, file)?;
        } else {
            set.lines(path, file)?;
        }
        set.encode();
    }
    Ok((set.examples, set.report))
}

/// A data set as it is read.
struct Set<'a> {
    reading: &'a Reading<'a>,
    examples: Vec<Example>,
    report: DataReport,
    waiting: Vec<Row>,
    /// Rows met so far, by the position of their task.
    met: BTreeMap<usize, usize>,
}

impl Set<'_> {
    fn lines(&mut self, path: &Path, file: File) -> Result<(), TrainError> {
        let mut reader = BufReader::new(file);
        let mut text = Vec::new();
        for line in 1.. {
            let bad = |reason: String| TrainError::Row { path: path.to_path_buf(), line, reason };
            text.clear();
            let mut limited = std::io::Read::take(&mut reader, LONGEST_LINE as u64 + 1);
            let count = limited.read_until(b'\n', &mut text).map_err(TrainError::io(path))?;
            if count == 0 || self.is_full() {
                break;
            }
            if count > LONGEST_LINE {
                return Err(bad(format!("the line is longer than {LONGEST_LINE} bytes")));
            }
            let text = text.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let row: Row = serde_json::from_slice(text).map_err(|error| bad(plain(&error)))?;
            row.check().map_err(bad)?;
            self.push(row);
        }
        Ok(())
    }

    fn document(&mut self, path: &Path, file: File) -> Result<(), TrainError> {
        let data = |reason: String| TrainError::Data { path: path.to_path_buf(), reason };
        if file.metadata().map_err(TrainError::io(path))?.len() > LONGEST_DOCUMENT {
            return Err(data(format!("the document is longer than {LONGEST_DOCUMENT} bytes")));
        }
        let document: Document = serde_json::from_reader(BufReader::new(file))
            .map_err(|error| data(format!("it is not the published form: {}", plain(&error))))?;
        let (questions, answers) = (document.instructions.len(), document.answers.len());
        if questions != answers {
            return Err(data(format!("it has {questions} instructions and {answers} answers")));
        }
        for (index, (question, answer)) in document.instructions.into_iter().zip(document.answers).enumerate()
        {
            if self.is_full() {
                break;
            }
            let row = Row::published(question, &answer);
            row.check().map_err(|reason| TrainError::Row {
                path: path.to_path_buf(),
                line: index + 1,
                reason,
            })?;
            self.push(row);
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        let here = self.examples.len() + self.waiting.len();
        self.reading.limit.is_some_and(|limit| here >= limit)
    }

    fn push(&mut self, row: Row) {
        let copies = match self.reading.tasks {
            [] => 1,
            tasks => {
                let Some(task) = tasks.iter().position(|task| task.name == row.task) else { return };
                let number = self.met.entry(task).or_default();
                *number += 1;
                tasks.get(task).map_or(0, |task| task.copies(*number - 1))
            }
        };
        self.waiting.extend(std::iter::repeat_n(row, copies));
        if self.waiting.len() >= CHUNK {
            self.encode();
        }
    }

    fn encode(&mut self) {
        let rows = std::mem::take(&mut self.waiting);
        let encoded: Vec<Example> = rows.par_iter().map(|row| self.reading.encode(row)).collect();
        for (row, mut example) in rows.into_iter().zip(encoded) {
            let report = &mut self.report;
            if example.prompt >= self.reading.length {
                report.left_out += 1;
                continue;
            }
            if example.tokens.len() > self.reading.length {
                example.tokens.truncate(self.reading.length);
                report.truncated += 1;
            }
            report.examples += 1;
            *report.tasks.entry(row.task).or_default() += 1;
            report.tokens += example.tokens.len() as u64;
            report.answer_tokens += (example.tokens.len() - example.prompt) as u64;
            report.longest = report.longest.max(example.tokens.len());
            self.examples.push(example);
        }
    }
}

impl Reading<'_> {
    fn encode(&self, row: &Row) -> Example {
        let thinking = self.thinking && !row.think.is_empty();
        let mut tokens = self.base.prompt(&row.system, &row.prompt, thinking);
        let prompt = tokens.len();
        tokens.extend(self.base.answer(thinking.then_some(row.think.as_str()), &row.answer));
        let mut hash = DefaultHasher::new();
        row.system.hash(&mut hash);
        row.prompt[..row.prompt.len().saturating_sub(1)].hash(&mut hash);
        Example { tokens, prompt, group: hash.finish() }
    }
}

impl Row {
    /// A row of the published form.
    fn published(question: String, answer: &str) -> Self {
        let (think, value) = answer.split_once("</think>").unwrap_or(("", answer));
        let think = think.trim_start().strip_prefix("<think>").unwrap_or(think).trim();
        Self {
            prompt: vec![question],
            think: think.to_owned(),
            answer: value.trim().to_owned(),
            ..Self::default()
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.prompt.iter().all(|segment| segment.trim().is_empty()) {
            return Err("the prompt is empty".to_owned());
        }
        if self.answer.trim().is_empty() {
            return Err("the answer is empty".to_owned());
        }
        Ok(())
    }
}

/// What is wrong with JSON, without the place in the one line that it is.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}
