//! What is usual at the organisation, for incidents that do not say it themselves: a file, which may be learnt anew every night.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A file with a baseline. What it says when an incident comes holds for that incident. Clones are the same.
#[derive(Clone, Debug)]
pub struct BaselineFile {
    path: Arc<Path>,
    /// What it said when it could last be used.
    last: Arc<Mutex<Arc<str>>>,
}

impl BaselineFile {
    /// Reads the file.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(path: PathBuf) -> Result<Self, String> {
        let text = read(&path)?;
        Ok(Self { path: path.into(), last: Arc::new(Mutex::new(text)) })
    }

    /// What it says now; of a file that cannot be used what it said before, which is told. Blocks while it is read.
    pub(crate) fn now(&self) -> Arc<str> {
        let read = read(&self.path);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(text) => *last = text,
            Err(error) => {
                tracing::error!(file = %self.path.display(), error, "the baseline cannot be used; the last one stays in use");
            }
        }
        Arc::clone(&last)
    }
}

fn read(path: &Path) -> Result<Arc<str>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    countermove_wire::baseline(&text).map_err(|error| error.to_string())?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_usable_text_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.json");
        assert!(BaselineFile::open(path.clone()).is_err(), "there is no such file");
        std::fs::write(&path, r#"{"days": 3, "kinds": []}"#).unwrap();
        let file = BaselineFile::open(path.clone()).unwrap();
        std::fs::write(&path, r#"{"days": 4, "kinds": []}"#).unwrap();
        assert!(file.now().contains('4'), "a new text holds at once");
        std::fs::write(&path, r#"{"days": "#).unwrap();
        assert!(file.now().contains('4'));
        std::fs::remove_file(&path).unwrap();
        assert!(file.now().contains('4'));
    }
}
