//! The form of the published CSLE-IncidentResponse-V1 set: `{"instructions": ["…"], "answers": ["…"]}`.

use std::path::Path;

use serde::Deserialize;

use crate::error::{DatasetError, io};
use crate::example::Example;

/// An instruction and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The whole prompt as one text.
    pub instruction: String,
    /// The reasoning between `<think>` tags, and the answer.
    pub answer: String,
}

impl Pair {
    pub(crate) fn of(example: &Example) -> Pair {
        Pair {
            instruction: format!("{}\n\n{}", example.system, example.prompt.concat()),
            answer: format!("<think>\n{}</think>\n{}", example.think, example.answer),
        }
    }
}

#[derive(Deserialize)]
struct Columns {
    instructions: Vec<String>,
    answers: Vec<String>,
}

/// Reads a file of pairs. Other columns are ignored.
///
/// # Errors
/// If the file cannot be read, is not of this form, or a row has no instruction or no answer; the error names the row.
pub fn read_pairs(path: &Path) -> Result<Vec<Pair>, DatasetError> {
    let malformed =
        |place: String, reason: String| DatasetError::Malformed { path: path.to_owned(), place, reason };
    let text = std::fs::read_to_string(path).map_err(io(path))?;
    let Columns { instructions, answers } = serde_json::from_str(&text).map_err(|error| {
        malformed(
            format!("line {}", error.line()),
            format!("{error}; it must be {{\"instructions\": […], \"answers\": […]}}"),
        )
    })?;
    if instructions.len() != answers.len() {
        let reason = format!("{} instructions and {} answers", instructions.len(), answers.len());
        return Err(malformed("the columns".into(), format!("they differ in length: {reason}")));
    }
    let pairs = instructions.into_iter().zip(answers).enumerate();
    pairs
        .map(|(row, (instruction, answer))| match (instruction.trim(), answer.trim()) {
            ("", _) => Err(malformed(format!("row {}", row + 1), "its instruction is empty".into())),
            (_, "") => Err(malformed(format!("row {}", row + 1), "its answer is empty".into())),
            _ => Ok(Pair { instruction, answer }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Pair>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.json");
        std::fs::write(&path, text).unwrap();
        read_pairs(&path).map_err(|error| error.to_string().split_once(", ").unwrap().1.to_owned())
    }

    #[test]
    fn the_published_form_is_read() {
        let pairs = read(r#"{"instructions": ["a", "b"], "answers": ["<think>x</think>1", "2"], "more": 3}"#)
            .unwrap();
        assert_eq!(pairs[0], Pair { instruction: "a".into(), answer: "<think>x</think>1".into() });
        assert_eq!(pairs.len(), 2);
    }

    #[test]
    fn faults_are_named() {
        for (text, fault) in [
            (
                r#"{"instructions": ["a"], "answers": []}"#,
                "the columns: they differ in length: 1 instructions and 0 answers",
            ),
            (r#"{"instructions": ["a", " "], "answers": ["x", "y"]}"#, "row 2: its instruction is empty"),
            (r#"{"instructions": ["a"], "answers": [""]}"#, "row 1: its answer is empty"),
        ] {
            assert_eq!(read(text).unwrap_err(), fault);
        }
        assert!(read("[]").unwrap_err().contains("it must be {"));
        assert!(read(r#"{"instructions": [1], "answers": ["x"]}"#).unwrap_err().starts_with("line 1: "));
    }
}
