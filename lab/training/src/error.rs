//! What can go wrong in training.

use std::path::{Path, PathBuf};

use countermove_model::LoadError;

/// Why a model cannot be trained, or an adapter not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The base or its adapter cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A line of the data cannot be used.
    #[error("{}, line {line}: {reason}", path.display())]
    Row {
        /// File.
        path: PathBuf,
        /// Line, counted from one; of a JSON file that is one document, the number of the entry.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The data as a whole cannot be used.
    #[error("{}: {reason}", path.display())]
    Data {
        /// File or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The losses cannot be drawn.
    #[error(transparent)]
    Chart(#[from] countermove_chart::DrawError),
    /// A setting is out of range.
    #[error("{name} is {value}, but it has to be {expected}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// The run cannot go on from a checkpoint.
    #[error("{}: {reason}", path.display())]
    Checkpoint {
        /// File.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The loss is no number any more.
    #[error(
        "the loss at step {step} is {loss}; lower the learning rate, or start again from an earlier checkpoint"
    )]
    Diverged {
        /// Optimisation step.
        step: usize,
        /// Its loss.
        loss: f64,
    },
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
}

impl From<candle_core::Error> for TrainError {
    fn from(error: candle_core::Error) -> Self {
        // A captured backtrace follows the first line.
        let text = error.to_string();
        Self::Device(text.lines().next().unwrap_or_default().to_owned())
    }
}

impl TrainError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}
