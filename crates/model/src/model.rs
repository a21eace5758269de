//! A loaded model: weights on their device, tokenizer and chat frame.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::LoadError;

/// How weights are held in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WeightFormat {
    /// Eight bits and a scale for each 32 weights: fast, and close to full precision.
    #[default]
    #[serde(rename = "Q8_0")]
    Q8_0,
    /// 32-bit floating point: the reference.
    F32,
}

/// How to load a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// How weights are held in memory.
    pub weights: WeightFormat,
    /// CPUs to compute on, one thread pinned to each; empty means all that the process may use.
    pub threads: Vec<usize>,
    /// Most bytes of keys and values.
    pub kv_budget: usize,
    /// Longest sequence; `None` means the model's own limit.
    pub context_length: Option<usize>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            weights: WeightFormat::default(),
            threads: Vec::new(),
            kv_budget: 1 << 30,
            context_length: None,
        }
    }
}

/// What a model is, and what it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Name in the file, or the file's name.
    pub name: String,
    /// Architecture: `llama`, `qwen2` or `qwen3`.
    pub architecture: String,
    /// Weights, counted.
    pub parameters: u64,
    /// SHA-256 of the weight file; for sharded weights of the shards' digests in order. Empty from [`inspect`].
    pub weights_sha256: String,
    /// SHA-256 over vocabulary and merges.
    pub tokenizer_sha256: String,
    /// SHA-256 of the adapter, if there is one.
    pub adapter_sha256: Option<String>,
    /// Longest sequence in tokens.
    pub context_length: usize,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Bytes of the files.
    pub file_bytes: u64,
    /// Bytes of the weights in memory.
    pub weight_bytes: u64,
    /// Bytes of keys and values for one token.
    pub kv_bytes_per_token: usize,
}

/// A loaded model.
#[derive(Debug)]
pub struct Model {
    info: ModelInfo,
}

impl Model {
    /// Loads a GGUF file.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let _ = options;
        Err(LoadError::Unsupported {
            path: PathBuf::from(path),
            reason: "loading is not wired up yet".to_owned(),
        })
    }

    /// What it is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }
}

/// Reads the header alone: what the model is and what it will take, before any of it is taken.
///
/// # Errors
/// See [`LoadError`].
pub fn inspect(path: &Path) -> Result<ModelInfo, LoadError> {
    Err(LoadError::Unsupported {
        path: PathBuf::from(path),
        reason: "loading is not wired up yet".to_owned(),
    })
}
