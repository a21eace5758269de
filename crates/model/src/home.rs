//! Countermove's home folder, and loading a model by its name, with the digest of known models checked.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::LoadError;
use crate::family::FAMILY;
use crate::hub::OnFetch;
use crate::model::{LoadOptions, Model, ModelInfo, inspect};
use crate::source::ModelSource;

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
    /// Finds the model and loads it. A known model has to be the very file that the project names.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(
        &self,
        home: &Path,
        options: &LoadOptions,
        on_fetch: &mut OnFetch<'_>,
    ) -> Result<Model, LoadError> {
        let path = self.resolve(home, on_fetch)?;
        self.check_length(&path)?;
        let mut model = Model::load(&path, options)?;
        self.check_and_name(&path, &mut model.info)?;
        Ok(model)
    }

    /// Finds the model and says where it is, what it is and what it will take, before any of that is taken.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn inspect(
        &self,
        home: &Path,
        options: &LoadOptions,
        on_fetch: &mut OnFetch<'_>,
    ) -> Result<(PathBuf, ModelInfo), LoadError> {
        let path = self.resolve(home, on_fetch)?;
        self.check_length(&path)?;
        let mut info = inspect(&path, options)?;
        self.check_and_name(&path, &mut info)?;
        Ok((path, info))
    }

    /// What a broken transfer of a known model leaves is told before anything is read.
    fn check_length(&self, path: &Path) -> Result<(), LoadError> {
        let Self::Known(known) = self else { return Ok(()) };
        let io = |source| LoadError::Io { path: path.to_path_buf(), source };
        let found = std::fs::metadata(path).map_err(io)?.len();
        if found == known.bytes {
            return Ok(());
        }
        Err(LoadError::Malformed {
            path: path.to_path_buf(),
            reason: format!(
                "{} has {} bytes and this file has {found}; run '{}' to get it again",
                known.title,
                known.bytes,
                known.fetch()
            ),
        })
    }

    /// Refuses a known model with another digest, and gives models their public names: headers of converted files
    /// often say what a script called an intermediate step.
    fn check_and_name(&self, path: &Path, info: &mut ModelInfo) -> Result<(), LoadError> {
        if let Some(same) = FAMILY.iter().find(|known| known.sha256 == info.weights_sha256) {
            same.title.clone_into(&mut info.name);
        }
        match self {
            Self::Known(known) => known.check(path, &info.weights_sha256),
            Self::Hub { id, .. } => {
                info.name.clone_from(id);
                Ok(())
            }
            Self::Path(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::KnownModel;

    #[test]
    fn the_given_folder_goes_first() {
        assert_eq!(home(Some("somewhere".into())), PathBuf::from("somewhere"));
    }

    #[test]
    fn a_default_model_of_another_length_is_refused_before_it_is_read() {
        let folder = env::temp_dir().join(format!("countermove-home-{}", std::process::id()));
        let models = folder.join("models");
        std::fs::create_dir_all(&models).expect("a temporary folder");
        std::fs::write(models.join(KnownModel::DEFAULT.file), b"GGUF").expect("a temporary file");
        let options = LoadOptions::default();
        let error =
            ModelSource::default().load(&folder, &options, &mut |_| {}).expect_err("it is 4 bytes long");
        std::fs::remove_dir_all(&folder).expect("the folder is ours");
        assert!(error.to_string().contains("this file has 4"), "{error}");
        assert!(error.to_string().contains("countermove-worker model fetch"), "{error}");
    }

    #[test]
    fn models_go_by_their_public_names() {
        let named = |source: &ModelSource, weights: &str| {
            let mut info = ModelInfo {
                name: "step 8k".to_owned(),
                weights_sha256: weights.to_owned(),
                ..ModelInfo::default()
            };
            source.check_and_name(Path::new("m.gguf"), &mut info).map(|()| info.name)
        };
        let path = ModelSource::Path("m.gguf".into());
        for known in &FAMILY {
            assert_eq!(named(&ModelSource::Known(known), known.sha256).expect("known"), known.title);
            assert_eq!(named(&path, known.sha256).expect("the same file"), known.title);
            assert!(matches!(named(&ModelSource::Known(known), "00"), Err(LoadError::Digest { .. })));
        }
        assert_eq!(named(&path, "00").expect("another"), "step 8k");
        let hub = "hf:org/name@main".parse().expect("an id");
        assert_eq!(named(&hub, "00").expect("another"), "org/name");
    }
}
