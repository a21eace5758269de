//! The file with settings.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::mask::masked;

/// Largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// Why a file with settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("--config {file}: {problem}")]
    Unreadable {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// It is no TOML.
    #[error("--config {file} is not in TOML: {problem}")]
    Syntax {
        /// The file.
        file: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// A key that means nothing.
    #[error(
        "--config {file}: `{key}` is no setting of {program}; `{program} --print-config` prints all of them"
    )]
    Unknown {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// The program.
        program: String,
    },
    /// A value of a kind that no setting has.
    #[error("--config {file}: `{key}` has to be {wanted}")]
    Kind {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// What would do.
        wanted: &'static str,
    },
    /// Others may read a password in it.
    #[error("--config {0} holds a password and others may read it; `chmod o=` it")]
    Open(String),
}

/// What a file says, by key.
#[derive(Debug, Default)]
pub(crate) struct SettingsFile {
    pub(crate) path: PathBuf,
    table: Table,
}

impl SettingsFile {
    /// Reads it.
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        let name = path.display().to_string();
        let unreadable = |problem: String| FileError::Unreadable { file: name.clone(), problem };
        let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let mode = file.metadata().map_err(|error| unreadable(error.to_string()))?.permissions().mode();
        let mut text = String::new();
        file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
        if text.len() as u64 > LARGEST {
            return Err(unreadable("it is larger than 1 MiB".to_owned()));
        }
        let table: Table = text.parse().map_err(|error: toml::de::Error| FileError::Syntax {
            file: name.clone(),
            problem: error.to_string().trim_end().to_owned(),
        })?;
        let holds_password = table.values().any(|value| value.as_str().is_some_and(|text| masked(text).1));
        // A group may: services read what the administrator keeps, and systemd's credentials show an ACL as a group's right.
        if holds_password && mode & 0o007 != 0 {
            return Err(FileError::Open(name));
        }
        Ok(Self { path: path.to_owned(), table })
    }

    /// The keys in it.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.table.keys().map(String::as_str)
    }

    /// What a switch is set to.
    pub(crate) fn switch(&self, key: &str) -> Result<Option<bool>, FileError> {
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::Boolean(on)) => Ok(Some(*on)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// What a setting is set to, as it would be written behind its flag, each time that it would be given.
    pub(crate) fn values(&self, key: &str) -> Result<Option<Vec<String>>, FileError> {
        let one = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Boolean(on) => Some(on.to_string()),
            Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
        };
        let values = match self.table.get(key) {
            None => return Ok(None),
            Some(Value::Array(values)) => values.iter().map(one).collect::<Option<Vec<_>>>(),
            Some(value) => one(value).map(|value| vec![value]),
        };
        values.map(Some).ok_or_else(|| self.wrong(key, "a text, a number, or a list of these"))
    }

    pub(crate) fn unknown(&self, key: &str, program: &str) -> FileError {
        FileError::Unknown {
            file: self.path.display().to_string(),
            key: key.to_owned(),
            program: program.to_owned(),
        }
    }

    fn wrong(&self, key: &str, wanted: &'static str) -> FileError {
        FileError::Kind { file: self.path.display().to_string(), key: key.to_owned(), wanted }
    }
}
