//! Countermove's home folder, and loading from it with the default model's digest checked.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::LoadError;
use crate::model::{LoadOptions, Model};
use crate::source::{DEFAULT_MODEL_BYTES, DEFAULT_MODEL_SHA256, ModelSource};

/// The folder that holds `models/`: the given one, else `$COUNTERMOVE_HOME`, else `countermove` in the user's cache
/// folder (`$XDG_CACHE_HOME`, else `~/.cache`).
pub fn home(explicit: Option<PathBuf>) -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    explicit
        .or_else(|| set("COUNTERMOVE_HOME"))
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("countermove")))
        .or_else(|| set("HOME").map(|user| user.join(".cache").join("countermove")))
        .unwrap_or_else(|| PathBuf::from(".countermove"))
}

impl ModelSource {
    /// Finds the model and loads it. The default model has to be the very file that the project names.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(&self, home: &Path, options: &LoadOptions) -> Result<Model, LoadError> {
        let path = self.resolve(home)?;
        let is_default = *self == Self::Default;
        if is_default {
            check_length(&path)?;
        }
        let model = Model::load(&path, options)?;
        if is_default && model.info().weights_sha256 != DEFAULT_MODEL_SHA256 {
            return Err(LoadError::Digest {
                path,
                found: model.info().weights_sha256.clone(),
                expected: DEFAULT_MODEL_SHA256.to_owned(),
            });
        }
        Ok(model)
    }
}

/// What a broken transfer leaves is told before anything is read.
fn check_length(path: &Path) -> Result<(), LoadError> {
    let found =
        std::fs::metadata(path).map_err(|source| LoadError::Io { path: path.to_path_buf(), source })?.len();
    if found == DEFAULT_MODEL_BYTES {
        return Ok(());
    }
    Err(LoadError::Malformed {
        path: path.to_path_buf(),
        reason: format!(
            "the default model has {DEFAULT_MODEL_BYTES} bytes and this file has {found}; run \
             'countermove model fetch' to get it again"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::DEFAULT_MODEL_FILE;

    #[test]
    fn the_given_folder_goes_first() {
        assert_eq!(home(Some("somewhere".into())), PathBuf::from("somewhere"));
    }

    #[test]
    fn a_default_model_of_another_length_is_refused_before_it_is_read() {
        let folder = env::temp_dir().join(format!("countermove-home-{}", std::process::id()));
        let models = folder.join("models");
        std::fs::create_dir_all(&models).expect("a temporary folder");
        std::fs::write(models.join(DEFAULT_MODEL_FILE), b"GGUF").expect("a temporary file");
        let error =
            ModelSource::Default.load(&folder, &LoadOptions::default()).expect_err("it is 4 bytes long");
        std::fs::remove_dir_all(&folder).expect("the folder is ours");
        assert!(error.to_string().contains("this file has 4"), "{error}");
        assert!(error.to_string().contains("countermove model fetch"), "{error}");
    }
}
