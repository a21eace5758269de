//! What can go wrong in the engine.

use std::path::PathBuf;

/// Why a model cannot be loaded. Each names the file and what in it is wrong.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The file is not what its kind should be: cut short, or not of that format at all.
    #[error("{}: {}", path.display(), shown(reason))]
    Malformed {
        /// File.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// There is nothing at that path.
    #[error("there is no model at {}; {advice}", path.display())]
    Missing {
        /// File or folder.
        path: PathBuf,
        /// What to do.
        advice: String,
    },
    /// The file is well formed and holds a model that this engine does not run.
    #[error("{}: {}", path.display(), shown(reason))]
    Unsupported {
        /// File.
        path: PathBuf,
        /// What is not supported, and what is.
        reason: String,
    },
    /// The adapter does not fit the model.
    #[error("{}: the adapter was made for another model than {}: {}", path.display(), base.display(), shown(reason))]
    AdapterBase {
        /// File of the adapter.
        path: PathBuf,
        /// File or folder of the model.
        base: PathBuf,
        /// Where they differ.
        reason: String,
    },
    /// The hub does not give the model.
    #[error("hf:{id}: {}", shown(reason))]
    Hub {
        /// `organisation/name`.
        id: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The digest is not the expected one.
    #[error("{}: SHA-256 is {found}, expected {expected}; delete the file and fetch it again", path.display())]
    Digest {
        /// File.
        path: PathBuf,
        /// Digest of the file.
        found: String,
        /// Digest that was asked for.
        expected: String,
    },
}

/// A reason as it is shown. It may hold names out of a file that somebody made to act on a terminal or to fill a log.
fn shown(reason: &str) -> String {
    const ENDS: usize = 240;
    let printable = |text: &str| -> String {
        let parts =
            text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.into() });
        parts.collect()
    };
    let length = reason.chars().count();
    if length <= 2 * ENDS {
        return printable(reason);
    }
    let start: String = reason.chars().take(ENDS).collect();
    let end: String = reason.chars().skip(length - ENDS).collect();
    format!("{} ... {}", printable(&start), printable(&end))
}

/// Why the engine does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Prompt and answer do not fit the model's context.
    #[error(
        "the prompt has {prompt} tokens and the answer may take {answer}, but the model's context holds {limit}"
    )]
    ContextLength {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens that the answer may take.
        answer: usize,
        /// Tokens of the context.
        limit: usize,
    },
    /// The request can never be served within the memory for keys and values.
    #[error("keys and values of the sequence need {needed} bytes, but the budget is {budget}")]
    KvBudget {
        /// Bytes needed.
        needed: usize,
        /// Bytes allowed.
        budget: usize,
    },
    /// The answer's format cannot be compiled to a grammar.
    #[error("the answer format cannot be used: {0}")]
    Grammar(String),
    /// The logits of this sequence hold a NaN.
    #[error("the model produced a NaN at token {position}")]
    NotANumber {
        /// Position in the sequence.
        position: usize,
    },
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
    /// Too many requests wait already. The same request may be answered later.
    #[error("{waiting} requests wait for the model already; try again later")]
    Overloaded {
        /// Requests that wait.
        waiting: usize,
    },
    /// The engine is shutting down.
    #[error("the engine has stopped")]
    Stopped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_neither_acts_nor_fills_a_message() {
        let error = |name: &str| {
            let reason = format!("tensor {name} is missing");
            LoadError::Malformed { path: "m.gguf".into(), reason }.to_string()
        };
        assert_eq!(error("blk.0 \u{e9}"), "m.gguf: tensor blk.0 \u{e9} is missing");
        assert_eq!(error("a\u{1b}[2J\nb"), "m.gguf: tensor a\\u{1b}[2J\\nb is missing");
        let long = error(&"\u{e9}".repeat(100_000));
        assert!(long.len() < 1200 && long.ends_with(" is missing"), "{long}");
    }
}
