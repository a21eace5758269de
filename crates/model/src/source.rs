//! Where a model comes from, and which file on this machine that is.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{env, fmt, fs};

use crate::error::LoadError;

/// File name of the default model, in the folder `models` under the home folder.
pub const DEFAULT_MODEL_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// SHA-256 of the default model, in hexadecimal.
pub const DEFAULT_MODEL_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
/// Length of the default model in bytes.
pub const DEFAULT_MODEL_BYTES: u64 = 98_362_432;

/// Where a model comes from. Parses from `default`, `hf:organisation/name[@revision]`, or a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ModelSource {
    /// The model that `countermove model fetch` puts under the home folder.
    #[default]
    Default,
    /// A GGUF file, or a folder with safetensors, `config.json` and `tokenizer.json`.
    Path(PathBuf),
    /// A model of the Hugging Face hub that its tools (`hf download`) have put into their cache on this machine.
    Hub {
        /// `organisation/name`.
        id: String,
        /// Branch, tag or commit; `None` means the main branch.
        revision: Option<String>,
    },
}

/// A model source that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing was given.
    #[error("the model is empty; give 'default', a path, or 'hf:organisation/name'")]
    Empty,
    /// The part after `hf:` is not an id.
    #[error("'{0}' is not a model id; write hf:organisation/name or hf:organisation/name@revision")]
    Id(String),
}

impl FromStr for ModelSource {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(SourceError::Empty);
        }
        if text == "default" {
            return Ok(Self::Default);
        }
        let Some(hub) = text.strip_prefix("hf:") else {
            return Ok(Self::Path(PathBuf::from(text)));
        };
        let (id, revision) = match hub.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (hub, None),
        };
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let id_fits = id.split_once('/').is_some_and(|(owner, name)| plain(owner) && plain(name));
        let revision_fits = revision.is_none_or(|r| r.split('/').all(plain));
        if !id_fits || !revision_fits {
            return Err(SourceError::Id(hub.to_owned()));
        }
        Ok(Self::Hub { id: id.to_owned(), revision: revision.map(str::to_owned) })
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Hub { id, revision: None } => write!(f, "hf:{id}"),
            Self::Hub { id, revision: Some(revision) } => write!(f, "hf:{id}@{revision}"),
        }
    }
}

impl From<PathBuf> for ModelSource {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl ModelSource {
    /// The file or folder of the model on this machine. `home` is Countermove's home folder.
    ///
    /// # Errors
    /// [`LoadError::Missing`] if it is not there.
    pub fn resolve(&self, home: &Path) -> Result<PathBuf, LoadError> {
        match self {
            Self::Default => {
                let path = home.join("models").join(DEFAULT_MODEL_FILE);
                if path.is_file() {
                    Ok(path)
                } else {
                    Err(LoadError::Missing {
                        path,
                        advice: "run 'countermove model fetch' to get the default model".to_owned(),
                    })
                }
            }
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
            Self::Hub { id, revision } => find_in_hub_cache(&hub_cache(), id, revision.as_deref()),
        }
    }
}

/// Where the Hugging Face tools keep what they fetched: `$HF_HUB_CACHE`, else `hub` in `$HF_HOME`, else
/// `huggingface/hub` in the user's cache folder.
fn hub_cache() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("HF_HUB_CACHE")
        .or_else(|| set("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("huggingface").join("hub")))
        .or_else(|| set("HOME").map(|user| user.join(".cache").join("huggingface").join("hub")))
        .unwrap_or_default()
}

/// Finds a model of the hub in the cache of the Hugging Face tools. Nothing is fetched.
fn find_in_hub_cache(cache: &Path, id: &str, revision: Option<&str>) -> Result<PathBuf, LoadError> {
    let model = cache.join(format!("models--{}", id.replace('/', "--")));
    let revision = revision.unwrap_or("main");
    let missing = |path: PathBuf| {
        let named = if revision == "main" { String::new() } else { format!(" --revision {revision}") };
        let advice =
            format!("fetch it with 'hf download {id}{named}', of the Python package huggingface_hub");
        LoadError::Missing { path, advice }
    };
    // A branch or tag is a file that holds the commit; a commit names its snapshot itself.
    let commit =
        fs::read_to_string(model.join("refs").join(revision)).unwrap_or_else(|_| revision.to_owned());
    let commit = commit.trim();
    let sound = !commit.is_empty() && commit.chars().all(|c| c.is_ascii_alphanumeric());
    let snapshot = model.join("snapshots").join(if sound { commit } else { "unknown" });
    let entries = match fs::read_dir(&snapshot) {
        Ok(entries) => entries,
        Err(_) => return Err(missing(snapshot)),
    };
    if snapshot.join("config.json").is_file() {
        return Ok(snapshot);
    }
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    files.sort();
    match files.as_slice() {
        [file] => Ok(file.clone()),
        [] => Err(missing(snapshot)),
        [first, ..] => {
            let advice =
                format!("it holds several GGUF files; give the path of one, such as {}", first.display());
            Err(LoadError::Missing { path: snapshot, advice })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_parse_and_print() {
        let hub = |id: &str, revision: Option<&str>| ModelSource::Hub {
            id: id.to_owned(),
            revision: revision.map(str::to_owned),
        };
        for (text, source) in [
            ("default", ModelSource::Default),
            ("models/x.gguf", ModelSource::Path("models/x.gguf".into())),
            ("hf:org/name", hub("org/name", None)),
            ("hf:org/name.v2@refs/pr-1", hub("org/name.v2", Some("refs/pr-1"))),
        ] {
            assert_eq!(text.parse(), Ok(source.clone()), "{text}");
            assert_eq!(source.to_string(), text);
        }
        for text in ["hf:", "hf:name", "hf:a/b/c", "hf:../x", "hf:org/..", "hf:org/name@", "hf:org/name@../x"]
        {
            assert!(matches!(text.parse::<ModelSource>(), Err(SourceError::Id(_))), "{text}");
        }
        assert_eq!("".parse::<ModelSource>(), Err(SourceError::Empty));
    }

    #[test]
    fn a_missing_default_model_names_the_command() {
        let home = std::env::temp_dir().join("countermove-no-such-home");
        let error = ModelSource::Default.resolve(&home).expect_err("nothing is there");
        assert!(error.to_string().contains("countermove model fetch"), "{error}");
        assert!(error.to_string().contains(DEFAULT_MODEL_FILE), "{error}");
    }

    #[test]
    fn a_hub_model_is_found_in_the_cache() {
        let cache = tempfile::tempdir().expect("a folder");
        let find = |id, revision| find_in_hub_cache(cache.path(), id, revision);
        let write = |path: &str, text: &str| {
            let path = cache.path().join("models--org--name").join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs::write(path, text).expect("written");
        };
        let error = find("org/name", Some("v1")).expect_err("nothing is there").to_string();
        assert!(error.contains("hf download org/name --revision v1"), "{error}");
        write("refs/main", "abc123\n");
        write("snapshots/abc123/model.Q8_0.gguf", "");
        let found = find("org/name", None).expect("one file");
        assert!(found.ends_with("snapshots/abc123/model.Q8_0.gguf"), "{}", found.display());
        assert_eq!(find("org/name", Some("abc123")).expect("the commit"), found);
        write("snapshots/abc123/model.Q4_1.gguf", "");
        assert!(find("org/name", None).expect_err("which one").to_string().contains("Q4_1"));
        write("snapshots/abc123/config.json", "{}");
        assert!(find("org/name", None).expect("a folder").ends_with("snapshots/abc123"));
        write("refs/evil", "../../..");
        assert!(find("org/name", Some("evil")).is_err());
    }
}
