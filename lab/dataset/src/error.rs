//! Why a training set cannot be written or read.

use std::path::{Path, PathBuf};

use countermove_planner::TemplateError;
use countermove_simulator::GeneratorError;

/// Why a training set cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file or a folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The folder to write to holds something.
    #[error("{}: it is not empty; name a new folder, so that no file of another set is left among these", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// An entry of a file is not what it must be.
    #[error("{}, {place}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in it, such as `line 3`.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// Rules cannot be read.
    #[error(transparent)]
    Data(#[from] countermove_simulator::DataError),
    /// Scenarios cannot be made.
    #[error(transparent)]
    Generator(#[from] GeneratorError),
    /// A prompt cannot be rendered.
    #[error("a prompt could not be made: {0}")]
    Template(#[from] TemplateError),
}

/// Names the file or folder of a fault.
pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> DatasetError {
    let path = path.to_owned();
    move |source| DatasetError::Io { path, source }
}
