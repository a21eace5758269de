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
    #[error("{}: {reason}", path.display())]
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
    #[error("{}: {reason}", path.display())]
    Unsupported {
        /// File.
        path: PathBuf,
        /// What is not supported, and what is.
        reason: String,
    },
    /// The adapter does not fit the model.
    #[error("{}: the adapter was made for another model than {}: {reason}", path.display(), base.display())]
    AdapterBase {
        /// File of the adapter.
        path: PathBuf,
        /// File or folder of the model.
        base: PathBuf,
        /// Where they differ.
        reason: String,
    },
    /// The hub does not give the model.
    #[error("hf:{id}: {reason}")]
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
