//! Where a model comes from, and which file on this machine that is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::LoadError;
use crate::family::KnownModel;
use crate::hub::{Hub, OnFetch, Wanted};

/// Where a model comes from. Parses from a known model's name, `default`, `hf:organisation/name[@revision][/file.gguf]`, or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// A model that the project knows: under the home folder, or fetched from the hub as one of the hub is.
    Known(&'static KnownModel),
    /// A GGUF file, or a folder with safetensors, `config.json` and `tokenizer.json`.
    Path(PathBuf),
    /// A model of the Hugging Face hub: fetched into the cache that its own tools share, and found there later.
    Hub {
        /// `organisation/name`.
        id: String,
        /// Branch, tag or commit; `None` means the main branch.
        revision: Option<String>,
        /// Which GGUF file, where there are several.
        file: Option<String>,
    },
}

/// A model source that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing was given.
    #[error("the model is empty; give 'default', a path, or 'hf:organisation/name'")]
    Empty,
    /// The part after `hf:` is not an id.
    #[error(
        "'{0}' is not a model id; write hf:organisation/name, hf:organisation/name@revision or hf:organisation/name@revision/file.gguf"
    )]
    Id(String),
}

impl Default for ModelSource {
    fn default() -> Self {
        Self::Known(KnownModel::DEFAULT)
    }
}

impl FromStr for ModelSource {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(SourceError::Empty);
        }
        if let Some(known) = KnownModel::named(text) {
            return Ok(Self::Known(known));
        }
        let Some(hub) = text.strip_prefix("hf:") else {
            return Ok(Self::Path(PathBuf::from(text)));
        };
        let (id, revision, file) = split_hub(hub);
        let id_fits = is_plain(&id) && id.split('/').count() == 2;
        if !id_fits || !revision.into_iter().chain(file).all(is_plain) {
            return Err(SourceError::Id(hub.to_owned()));
        }
        let [revision, file] = [revision, file].map(|part| part.map(str::to_owned));
        Ok(Self::Hub { id, revision, file })
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(known) => f.write_str(known.name),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Hub { id, revision, file } => {
                write!(f, "hf:{id}")?;
                revision.iter().try_for_each(|revision| write!(f, "@{revision}"))?;
                file.iter().try_for_each(|file| write!(f, "/{file}"))
            }
        }
    }
}

impl From<PathBuf> for ModelSource {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl ModelSource {
    /// The file or folder of the model on this machine. `home` is Countermove's home folder. What the hub has and is
    /// not here is fetched, which may take long; `on_fetch` hears how it goes.
    ///
    /// # Errors
    /// [`LoadError::Missing`] if it is not there, [`LoadError::Hub`] if the hub does not give it.
    pub fn resolve(&self, home: &Path, on_fetch: &mut OnFetch<'_>) -> Result<PathBuf, LoadError> {
        match self {
            Self::Known(known) => known.find(home, on_fetch),
            Self::Path(path) => {
                if path.exists() {
                    Ok(path.clone())
                } else {
                    Err(LoadError::Missing {
                        path: path.clone(),
                        advice: "give a GGUF file or a folder with safetensors".to_owned(),
                    })
                }
            }
            Self::Hub { id, revision, file } => {
                let wanted = Wanted { id, revision: revision.as_deref(), file: file.as_deref() };
                Hub::from_env().find(&wanted, on_fetch)
            }
        }
    }

    /// The same model, bound to the very commit that [`resolve`](Self::resolve) found: whoever resolves it again on this
    /// machine gets the same files and asks nobody.
    #[must_use]
    pub fn pinned(&self, resolved: &Path) -> Self {
        let mut parts = resolved.components().map(|part| part.as_os_str().to_string_lossy());
        let commit = parts.find(|part| part == "snapshots").and_then(|_| parts.next());
        match (self, commit) {
            (Self::Hub { id, file, .. }, Some(commit)) => {
                Self::Hub { id: id.clone(), revision: Some(commit.into_owned()), file: file.clone() }
            }
            _ => self.clone(),
        }
    }
}

/// Splits what follows `hf:` into id, revision and file. A file ends with `.gguf`; before one, a revision has no `/`.
fn split_hub(text: &str) -> (String, Option<&str>, Option<&str>) {
    let is_file = |path: &str| path.ends_with(".gguf");
    match text.split_once('@') {
        Some((id, rest)) => match rest.split_once('/') {
            Some((revision, file)) if is_file(file) => (id.to_owned(), Some(revision), Some(file)),
            _ => (id.to_owned(), Some(rest), None),
        },
        None => {
            let mut parts = text.splitn(3, '/');
            let id: Vec<&str> = parts.by_ref().take(2).collect();
            match parts.next() {
                Some(file) if is_file(file) => (id.join("/"), None, Some(file)),
                _ => (text.to_owned(), None, None),
            }
        }
    }
}

/// Whether all parts of a path can be taken as they are: none leads anywhere else.
pub(crate) fn is_plain(path: &str) -> bool {
    path.split('/').all(|part| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::FAMILY;

    #[test]
    fn sources_parse_and_print() {
        let hub = |id: &str, revision: Option<&str>, file: Option<&str>| ModelSource::Hub {
            id: id.to_owned(),
            revision: revision.map(str::to_owned),
            file: file.map(str::to_owned),
        };
        for (text, source) in [
            ("smollm2-135m", ModelSource::default()),
            ("qwen2.5-coder-0.5b", ModelSource::Known(&FAMILY[1])),
            ("./smollm2-135m", ModelSource::Path("./smollm2-135m".into())),
            ("models/x.gguf", ModelSource::Path("models/x.gguf".into())),
            ("hf:org/name", hub("org/name", None, None)),
            ("hf:org/name.v2@refs/pr-1", hub("org/name.v2", Some("refs/pr-1"), None)),
            ("hf:org/name/q8/m.gguf", hub("org/name", None, Some("q8/m.gguf"))),
            ("hf:org/name@v1/q8/m.gguf", hub("org/name", Some("v1"), Some("q8/m.gguf"))),
        ] {
            assert_eq!(text.parse(), Ok(source.clone()), "{text}");
            assert_eq!(source.to_string(), text);
        }
        assert_eq!("default".parse(), Ok(ModelSource::default()));
        for text in [
            "hf:",
            "hf:name",
            "hf:a/b/c",
            "hf:../x",
            "hf:org/..",
            "hf:org/name@",
            "hf:org/name@../x",
            "hf:org/name@v1/../x.gguf",
            "hf:org/name//x.gguf",
        ] {
            assert!(matches!(text.parse::<ModelSource>(), Err(SourceError::Id(_))), "{text}");
        }
        assert_eq!("".parse::<ModelSource>(), Err(SourceError::Empty));
    }

    #[test]
    fn a_missing_default_model_names_the_command() {
        let home = std::env::temp_dir().join("countermove-no-such-home");
        let error = ModelSource::default().resolve(&home, &mut |_| {}).expect_err("nothing is there");
        assert!(error.to_string().contains("countermove-worker model fetch"), "{error}");
        assert!(error.to_string().contains(KnownModel::DEFAULT.file), "{error}");
    }

    #[test]
    fn a_source_is_pinned_to_the_commit_that_was_found() {
        let source: ModelSource = "hf:org/name/sub/x.gguf".parse().expect("an id");
        let path = Path::new("/cache/models--org--name/snapshots/abc123/sub/x.gguf");
        let pinned = source.pinned(path);
        assert_eq!(pinned.to_string(), "hf:org/name@abc123/sub/x.gguf");
        assert_eq!(pinned.to_string().parse(), Ok(pinned));
        assert_eq!(ModelSource::default().pinned(path), ModelSource::default());
    }
}
