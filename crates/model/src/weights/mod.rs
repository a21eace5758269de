//! Where weights come from: a GGUF file or a folder of safetensors, seen through one interface.
//!
//! A [`Checkpoint`] knows its header only. Weights are read as single-precision rows, a few at a time, so loading
//! never holds a whole tensor beside its packed copy.

mod gguf;
mod lora;
mod safetensors;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::Path;

use half::f16;

pub use gguf::{Gguf, MetaValue};
use lora::Adapter;
pub(crate) use lora::{PARTS, factor_names, read_adapter};
pub(crate) use safetensors::{SafetensorsFolder, shard_names, tensor_name};

use crate::config::DecoderConfig;
use crate::digest::{sha256_file, sha256_files};
use crate::error::LoadError;

/// Largest magnitude of a weight: 127 times the largest half-precision scale, far above any model's.
const LARGEST_WEIGHT: f32 = 8.3e6;

/// A model on disk, open, with its headers read.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    files: Files,
    adapter: Option<Adapter>,
}

/// The files of a model.
#[derive(Debug)]
pub(crate) enum Files {
    /// One GGUF file.
    Gguf(Gguf),
    /// A folder of safetensors.
    Safetensors(SafetensorsFolder),
}

impl Checkpoint {
    /// Opens a GGUF file, or a folder of safetensors.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let files = if path.is_dir() {
            Files::Safetensors(SafetensorsFolder::open(path)?)
        } else {
            Files::Gguf(Gguf::open(path)?)
        };
        Ok(Self { files, adapter: None })
    }

    /// Merges a LoRA adapter's folder into the weights.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub(crate) fn with_adapter(mut self, folder: &Path) -> Result<Self, LoadError> {
        self.adapter = Some(Adapter::open(folder, self.base())?);
        Ok(self)
    }

    /// Its weights.
    pub(crate) fn source(&self) -> &dyn Source {
        self
    }

    /// Its files.
    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// Whether the adapter, if there is one, changes a tensor.
    pub(crate) fn changes(&self, role: Role) -> bool {
        self.adapter.as_ref().is_some_and(|adapter| adapter.changes(role))
    }

    /// The GGUF file, if it is one.
    pub(crate) fn gguf(&self) -> Option<&Gguf> {
        match &self.files {
            Files::Gguf(gguf) => Some(gguf),
            Files::Safetensors(_) => None,
        }
    }

    /// The GGUF file or the folder.
    pub(crate) fn path(&self) -> &Path {
        match &self.files {
            Files::Gguf(gguf) => gguf.path(),
            Files::Safetensors(folder) => folder.folder(),
        }
    }

    /// Its own name, or that of its file or folder.
    pub(crate) fn name(&self) -> String {
        let own = self.gguf().and_then(|gguf| gguf.text("general.name")).map(str::to_owned);
        let of_file = || self.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
        own.or_else(of_file).unwrap_or_default()
    }

    /// Bytes of its weight files.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.files {
            Files::Gguf(gguf) => gguf.bytes(),
            Files::Safetensors(folder) => folder.bytes(),
        }
    }

    /// SHA-256 of its file; of a folder, of all files that answers follow from. The adapter is no part of it.
    ///
    /// # Errors
    /// [`LoadError::Io`] if a file cannot be read.
    pub(crate) fn sha256(&self) -> Result<String, LoadError> {
        match &self.files {
            Files::Gguf(gguf) => sha256_file(gguf.path()),
            Files::Safetensors(folder) => sha256_files(&folder.paths()),
        }
    }

    /// SHA-256 of the adapter, if there is one.
    ///
    /// # Errors
    /// [`LoadError::Io`] if the file cannot be read.
    pub(crate) fn adapter_sha256(&self) -> Result<Option<String>, LoadError> {
        self.adapter.as_ref().map(Adapter::sha256).transpose()
    }

    /// Temperature of the probabilities of options: that of the adapter, or 1.
    pub(crate) fn calibration(&self) -> f32 {
        self.adapter.as_ref().map_or(1.0, Adapter::calibration)
    }

    fn base(&self) -> &dyn Source {
        match &self.files {
            Files::Gguf(gguf) => gguf,
            Files::Safetensors(folder) => folder,
        }
    }

    /// One weight that is no number would make every answer noise, so the file is refused instead.
    fn check_numbers(&self, role: Role, are_sound: bool) -> Result<(), LoadError> {
        if are_sound {
            return Ok(());
        }
        let (path, name) = self.place(role);
        let from = if self.changes(role) { " with the adapter's change" } else { "" };
        let reason = format!(
            "tensor {name}{from} holds a NaN, an infinity or a number beyond {LARGEST_WEIGHT:e}; the file is damaged, \
             fetch it again"
        );
        Err(LoadError::Malformed { path: path.to_path_buf(), reason })
    }
}

impl Source for Checkpoint {
    fn config(&self) -> &DecoderConfig {
        self.base().config()
    }

    fn shape(&self, role: Role) -> Option<(usize, usize)> {
        self.base().shape(role)
    }

    fn rows(&self, role: Role, rows: Range<usize>, out: &mut Vec<f32>) -> Result<(), LoadError> {
        self.base().rows(role, rows.clone(), out)?;
        if let Some(adapter) = &self.adapter {
            adapter.add(self.base(), role, rows, out);
        }
        self.check_numbers(role, out.iter().all(|value| value.abs() <= LARGEST_WEIGHT))
    }

    fn has_levels(&self, role: Role) -> bool {
        !self.changes(role) && self.base().has_levels(role)
    }

    fn levels(&self, role: Role, rows: Range<usize>, out: &mut Vec<Levels>) -> Result<(), LoadError> {
        self.base().levels(role, rows, out)?;
        let is_finite = |block: &Levels| block.scale.is_finite() && block.minimum.is_finite();
        self.check_numbers(role, out.iter().all(is_finite))
    }

    fn place(&self, role: Role) -> (&Path, String) {
        self.base().place(role)
    }

    fn interleaved_rotation(&self) -> bool {
        self.base().interleaved_rotation()
    }
}

/// A block of 32 four-bit weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Levels {
    /// Distance of two levels.
    pub(crate) scale: f16,
    /// The lowest level.
    pub(crate) minimum: f16,
    /// Levels, from 0 to 15.
    pub(crate) levels: [u8; 32],
}

impl Levels {
    /// 32 zeros.
    pub(crate) const ZERO: Self = Self { scale: f16::ZERO, minimum: f16::ZERO, levels: [0; 32] };
}

/// Role of a tensor in a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// One row for each entry of the vocabulary.
    Embedding,
    /// Last normalisation.
    FinalNorm,
    /// Output projection; absent where it is tied to the embedding.
    Head,
    /// Divisors of the rotation frequencies (Llama 3.1 as GGUF); usually absent.
    RopeFactors,
    /// Part of a layer.
    Layer(usize, Part),
}

/// Part of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Normalisation before attention.
    AttentionNorm,
    /// Query projection.
    Query,
    /// Key projection.
    Key,
    /// Value projection.
    Value,
    /// Bias of the query projection.
    QueryBias,
    /// Bias of the key projection.
    KeyBias,
    /// Bias of the value projection.
    ValueBias,
    /// Normalisation of each query head.
    QueryNorm,
    /// Normalisation of each key head.
    KeyNorm,
    /// Projection of the attention's output.
    AttentionOutput,
    /// Normalisation before the feed-forward network.
    FeedForwardNorm,
    /// Gate projection.
    Gate,
    /// Up projection.
    Up,
    /// Down projection.
    Down,
}

/// A source of named weights.
pub(crate) trait Source: Send + Sync {
    /// Shape of the decoder.
    fn config(&self) -> &DecoderConfig;

    /// Rows and columns of a tensor, or `None` if it is absent. A vector is one row.
    fn shape(&self, role: Role) -> Option<(usize, usize)>;

    /// Replaces `out` by rows of a tensor, one after another.
    fn rows(&self, role: Role, rows: Range<usize>, out: &mut Vec<f32>) -> Result<(), LoadError>;

    /// Whether a tensor consists of four-bit blocks that [`Source::levels`] gives.
    fn has_levels(&self, _role: Role) -> bool {
        false
    }

    /// Replaces `out` by the blocks of rows of such a tensor, one after another.
    fn levels(&self, role: Role, _rows: Range<usize>, _out: &mut Vec<Levels>) -> Result<(), LoadError> {
        let (path, name) = self.place(role);
        let reason = format!("tensor {name} has no four-bit blocks");
        Err(LoadError::Malformed { path: path.to_path_buf(), reason })
    }

    /// File that holds a tensor or, if it is absent, should hold it; and the tensor's name there.
    fn place(&self, role: Role) -> (&Path, String);

    /// Whether matrices are to be drawn on the device instead of read: what is measured is a shape.
    fn is_made_up(&self) -> bool {
        false
    }

    /// Whether rows of the query and key projections alternate between the two halves of a rotated pair, as
    /// GGUF files of the Llama family have them.
    fn interleaved_rotation(&self) -> bool;
}
