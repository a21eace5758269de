//! The seam between scheduling and arithmetic: what a device does for the engine.
//!
//! The engine decides which tokens of which sequences go through the model next; a backend pushes them through and
//! owns the keys and values. The CPU implements it in [`crate::cpu`]; a GPU implements the same trait.

#[cfg(test)]
pub(crate) mod checks;
mod rows;

pub use rows::{HostMemory, LogitRows};

use crate::error::EngineError;
use crate::kv::{Scope, Sequence};

/// Numbers of a decoder that scheduling needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Entries of the vocabulary; the width of a logits row.
    pub vocab_size: usize,
    /// Longest sequence in tokens, prompt and answer together.
    pub context_length: usize,
    /// Bytes of keys and values for one token.
    pub kv_bytes_per_token: usize,
}

/// Memory of a device, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceMemory {
    /// What nobody uses.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// Tokens of one sequence that go through the model in one step.
#[derive(Debug)]
pub struct Feed<'a, S> {
    /// The sequence; its length grows by `tokens.len()`.
    pub sequence: &'a mut S,
    /// Tokens that follow what the sequence holds. Never empty.
    pub tokens: &'a [u32],
    /// After how many of `tokens`, the last ones, the logits are wanted.
    pub logits: usize,
}

/// Pushes tokens through a decoder and keeps their keys and values.
///
/// Invariant: the logits of a sequence depend on its tokens alone, bit for bit, not on what shares its batch, on how
/// its tokens were cut into feeds, or on which part of its prefix was found in the cache.
pub trait Backend: Send + 'static {
    /// One sequence: a path through the tree of keys and values. Dropping it releases what nobody else uses.
    type Sequence: Send;

    /// Numbers of the model.
    fn shape(&self) -> &Shape;

    /// Longest prefix of `tokens` whose keys and values are there already, and may be found from this scope.
    fn cached_prefix(&self, tokens: &[u32], scope: Scope) -> usize;

    /// Starts a sequence at the longest cached prefix of `tokens` that may be found from its scope, but at most
    /// `tokens.len() - 1`, so that the logits of the last token can still be asked for. Gives the sequence and the length of
    /// that prefix.
    fn begin(&mut self, tokens: &[u32], scope: Scope) -> (Self::Sequence, usize);

    /// Makes room for `tokens` more tokens, evicting idle prefixes, the least recently used first.
    ///
    /// # Errors
    /// [`EngineError::KvBudget`] if live sequences hold the whole budget; nothing has changed then.
    fn reserve(&mut self, sequence: &mut Self::Sequence, tokens: usize) -> Result<(), EngineError>;

    /// Pushes all feeds through the model in one pass. `logits` holds then the rows of `vocab_size` that the feeds want,
    /// in the order of the feeds and of their tokens, and nothing else.
    ///
    /// # Errors
    /// Only for faults of the device itself; a bad value in one sequence shows as a NaN in its own row.
    fn forward(
        &mut self,
        feeds: &mut [Feed<'_, Self::Sequence>],
        logits: &mut LogitRows,
    ) -> Result<(), EngineError>;

    /// Offers what the sequence holds so far as a prefix to sequences that begin later and may find it.
    fn publish(&mut self, sequence: &Self::Sequence);

    /// Bytes of keys and values in use, live and idle.
    fn kv_bytes(&self) -> usize;

    /// Tokens of kept prefixes that gave way to others so far.
    fn evicted_tokens(&self) -> u64;

    /// Memory of the device, where it has one of its own.
    fn device_memory(&self) -> Option<DeviceMemory> {
        None
    }

    /// Seconds that the products alone of a pass over so many rows take with the device's fastest algorithms, whatever
    /// their bits; where the backend has measured it. The last product counts for as many rows as give logits.
    fn product_seconds(&self, _rows: usize, _wanted: usize) -> Option<f64> {
        None
    }

    /// Whether a pass leaves this machine's CPUs to others, so that work beside it costs it nothing.
    fn leaves_cpus_free(&self) -> bool {
        false
    }
}

/// Checks feeds before a pass, and gets pages to those that were not given any.
///
/// # Errors
/// [`EngineError`] for a feed that cannot go through the model; nothing has gone through it then.
pub(crate) fn admit<B: Backend<Sequence = Sequence>>(
    backend: &mut B,
    feeds: &mut [Feed<'_, Sequence>],
) -> Result<(), EngineError> {
    let (limit, vocab_size) = (backend.shape().context_length, backend.shape().vocab_size);
    for feed in feeds.iter_mut() {
        let (held, fed) = (feed.sequence.len(), feed.tokens.len());
        if held + fed > limit {
            return Err(EngineError::ContextLength { prompt: held, answer: fed, limit });
        }
        if let Some(token) = feed.tokens.iter().find(|token| **token as usize >= vocab_size) {
            return Err(EngineError::Device(format!(
                "token {token} lies beyond the vocabulary of {vocab_size}"
            )));
        }
        if held + fed > feed.sequence.capacity() {
            backend.reserve(feed.sequence, fed)?;
        }
    }
    Ok(())
}
