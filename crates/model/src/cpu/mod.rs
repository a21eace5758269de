//! The decoder on CPUs.

use std::path::Path;

use crate::backend::{Backend, Feed, Shape};
use crate::error::{EngineError, LoadError};
use crate::kv::{KvTree, Sequence};
use crate::model::{LoadOptions, ModelInfo};

/// A decoder whose weights, keys and values are in memory and whose arithmetic runs on a pool of pinned threads.
#[derive(Debug)]
pub(crate) struct CpuBackend {
    info: ModelInfo,
    shape: Shape,
    tree: KvTree,
}

impl CpuBackend {
    /// Loads a GGUF file or a folder of safetensors.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub(crate) fn load(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let _ = options;
        Err(LoadError::Unsupported { path: path.to_path_buf(), reason: "not loaded yet".to_owned() })
    }

    /// What the model is. The tokenizer's digest is empty.
    pub(crate) fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl Backend for CpuBackend {
    type Sequence = Sequence;

    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn cached_prefix(&self, tokens: &[u32]) -> usize {
        self.tree.cached_prefix(tokens)
    }

    fn begin(&mut self, tokens: &[u32]) -> (Sequence, usize) {
        let sequence = self.tree.begin(&tokens[..tokens.len().saturating_sub(1)]);
        let cached = sequence.len();
        (sequence, cached)
    }

    fn reserve(&mut self, sequence: &mut Sequence, tokens: usize) -> Result<(), EngineError> {
        let page_bytes = self.tree.pool().page_bytes();
        let capacity = self.tree.pool().capacity();
        self.tree.reserve(sequence, tokens).map_err(|out| EngineError::KvBudget {
            needed: out.needed * page_bytes,
            budget: capacity * page_bytes,
        })
    }

    fn forward(
        &mut self,
        feeds: &mut [Feed<'_, Sequence>],
        logits: &mut Vec<f32>,
    ) -> Result<(), EngineError> {
        let _ = (feeds, logits);
        Err(EngineError::Stopped)
    }

    fn publish(&mut self, sequence: &Sequence) {
        self.tree.publish(sequence);
    }

    fn kv_bytes(&self) -> usize {
        self.tree.pool().in_use() * self.tree.pool().page_bytes()
    }
}
