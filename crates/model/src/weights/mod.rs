//! Where weights come from: a GGUF file or a folder of safetensors, seen through one interface.
//!
//! A [`Checkpoint`] knows its header only. Weights are read as single-precision rows, a few at a time, so loading
//! never holds a whole tensor beside its packed copy.

mod gguf;

use std::ops::Range;
use std::path::Path;

pub use gguf::{Gguf, MetaValue};

use crate::config::DecoderConfig;
use crate::digest::sha256_file;
use crate::error::LoadError;

/// A model on disk, open, with its header read.
#[derive(Debug)]
pub(crate) enum Checkpoint {
    /// One GGUF file.
    Gguf(Gguf),
}

impl Checkpoint {
    /// Opens a GGUF file.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        Gguf::open(path).map(Self::Gguf)
    }

    /// Its weights.
    pub(crate) fn source(&self) -> &dyn Source {
        match self {
            Self::Gguf(gguf) => gguf,
        }
    }

    /// Its own name, or that of its file.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Gguf(gguf) => {
                let stem = || gguf.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
                gguf.text("general.name").map(str::to_owned).or_else(stem).unwrap_or_default()
            }
        }
    }

    /// Bytes of its weight files.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Gguf(gguf) => gguf.bytes(),
        }
    }

    /// SHA-256 of its weights.
    ///
    /// # Errors
    /// [`LoadError::Io`] if a file cannot be read.
    pub(crate) fn sha256(&self) -> Result<String, LoadError> {
        match self {
            Self::Gguf(gguf) => sha256_file(gguf.path()),
        }
    }
}

/// Role of a tensor in a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
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
pub(crate) enum Part {
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

    /// File that holds a tensor or, if it is absent, should hold it; and the tensor's name there.
    fn place(&self, role: Role) -> (&Path, String);

    /// Whether rows of the query and key projections alternate between the two halves of a rotated pair, as
    /// GGUF files of the Llama family have them.
    fn interleaved_rotation(&self) -> bool;
}
