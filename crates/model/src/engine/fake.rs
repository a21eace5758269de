//! A backend without a model: logits are a hash of the tokens so far, and every pass is written down.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::backend::{Backend, Feed, LogitRows, Shape};
use crate::error::EngineError;
use crate::kv::Scope;

/// Sequence length before each feed and number of tokens of each feed, pass by pass.
pub(crate) type Log = Arc<Mutex<Vec<Vec<(usize, usize)>>>>;

/// Bytes of a token in the fake's accounts.
pub(crate) const TOKEN_BYTES: usize = 10;

pub(crate) struct Fake {
    shape: Shape,
    /// Tokens that live sequences may hold beyond what they share.
    pub(crate) budget: usize,
    /// Rows of sequences that hold this token are NaN.
    pub(crate) poison: Option<u32>,
    /// The pass with this number fails.
    pub(crate) breaks_at: Option<usize>,
    /// The pass with this number panics.
    pub(crate) panics_at: Option<usize>,
    /// Whether masks are computed beside the passes.
    pub(crate) leaves_cpus_free: bool,
    /// Time that a pass takes.
    pub(crate) delay: Duration,
    /// No pass begins while a test holds this.
    pub(crate) gate: Arc<Mutex<()>>,
    held: Arc<AtomicUsize>,
    published: Vec<(Scope, Vec<u32>)>,
    log: Log,
}

pub(crate) struct FakeSequence {
    scope: Scope,
    tokens: Vec<u32>,
    shared: usize,
    reserved: usize,
    held: Arc<AtomicUsize>,
}

impl Drop for FakeSequence {
    fn drop(&mut self) {
        self.held.fetch_sub(self.reserved, Ordering::Relaxed);
    }
}

impl Fake {
    pub(crate) fn new(vocab_size: usize, context_length: usize) -> Self {
        Self {
            shape: Shape { vocab_size, context_length, kv_bytes_per_token: TOKEN_BYTES },
            budget: usize::MAX,
            poison: None,
            breaks_at: None,
            panics_at: None,
            leaves_cpus_free: false,
            delay: Duration::ZERO,
            gate: Arc::default(),
            held: Arc::default(),
            published: Vec::new(),
            log: Log::default(),
        }
    }

    pub(crate) fn log(&self) -> Log {
        Arc::clone(&self.log)
    }

    /// Tokens that live sequences have reserved.
    pub(crate) fn held(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.held)
    }

    /// Adds the logits after some tokens.
    pub(crate) fn row(&self, tokens: &[u32], logits: &mut Vec<f32>) {
        let mut state = 0xcbf2_9ce4_8422_2325_u64;
        for &token in tokens {
            state = (state ^ u64::from(token)).wrapping_mul(0x0100_0000_01b3);
        }
        let poisoned = self.poison.is_some_and(|token| tokens.contains(&token));
        logits.extend((0..self.shape.vocab_size as u64).map(|id| {
            let mut z = state ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            if poisoned { f32::NAN } else { (z >> 40) as f32 / (1 << 21) as f32 }
        }));
    }
}

impl Backend for Fake {
    type Sequence = FakeSequence;

    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn cached_prefix(&self, tokens: &[u32], scope: Scope) -> usize {
        let common = |(owner, other): &(Scope, Vec<u32>)| {
            let common = tokens.iter().zip(other).take_while(|(a, b)| a == b).count();
            common.min(scope.shared_with(*owner))
        };
        self.published.iter().map(common).max().unwrap_or(0)
    }

    fn begin(&mut self, tokens: &[u32], scope: Scope) -> (FakeSequence, usize) {
        let shared = self.cached_prefix(&tokens[..tokens.len() - 1], scope);
        let sequence = FakeSequence {
            scope,
            tokens: tokens[..shared].to_vec(),
            shared,
            reserved: 0,
            held: Arc::clone(&self.held),
        };
        (sequence, shared)
    }

    fn reserve(&mut self, sequence: &mut FakeSequence, tokens: usize) -> Result<(), EngineError> {
        let wanted = sequence.tokens.len() + tokens - sequence.shared;
        let more = wanted.saturating_sub(sequence.reserved);
        if self.held.load(Ordering::Relaxed) + more > self.budget {
            let budget = self.budget * TOKEN_BYTES;
            return Err(EngineError::KvBudget { needed: wanted * TOKEN_BYTES, budget });
        }
        self.held.fetch_add(more, Ordering::Relaxed);
        sequence.reserved += more;
        Ok(())
    }

    fn forward(
        &mut self,
        feeds: &mut [Feed<'_, FakeSequence>],
        logits: &mut LogitRows,
    ) -> Result<(), EngineError> {
        drop(self.gate.lock().expect("whole"));
        std::thread::sleep(self.delay);
        let mut log = self.log.lock().expect("whole");
        assert!(self.panics_at != Some(log.len()), "a kernel panicked");
        if self.breaks_at == Some(log.len()) {
            log.push(Vec::new());
            return Err(EngineError::Device("it broke".to_owned()));
        }
        log.push(feeds.iter().map(|feed| (feed.sequence.tokens.len(), feed.tokens.len())).collect());
        let logits = logits.plain();
        for feed in feeds {
            assert!(!feed.tokens.is_empty(), "an empty feed");
            feed.sequence.tokens.extend(feed.tokens);
            let held = feed.sequence.tokens.len();
            assert!(held - feed.sequence.shared <= feed.sequence.reserved, "not reserved");
            for length in held - feed.logits + 1..=held {
                self.row(&feed.sequence.tokens[..length], logits);
            }
        }
        Ok(())
    }

    fn publish(&mut self, sequence: &FakeSequence) {
        self.published.push((sequence.scope, sequence.tokens.clone()));
    }

    fn evicted_tokens(&self) -> u64 {
        0
    }

    fn kv_bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed) * TOKEN_BYTES
    }

    fn leaves_cpus_free(&self) -> bool {
        self.leaves_cpus_free
    }
}
