//! How fast a model runs on this machine: prefill of one prefix, then greedy decode of sequences forked from it.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, Feed};
use crate::error::EngineError;
use crate::kv::Scope;
use crate::model::Model;
use crate::sampling::{likeliest, uniform};

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchOptions {
    /// Tokens of the shared prefix.
    pub prefix: usize,
    /// Sequences forked from it.
    pub sequences: usize,
    /// Tokens that each decodes.
    pub decode: usize,
    /// Most prefix tokens in one pass.
    pub prefill_chunk: usize,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { prefix: 1024, sequences: 27, decode: 64, prefill_chunk: 256 }
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// Tokens of the shared prefix.
    pub prefix: usize,
    /// Sequences forked from it.
    pub sequences: usize,
    /// Tokens that each decoded.
    pub decode: usize,
    /// Seconds of prefill.
    pub prefill_seconds: f64,
    /// Prefix tokens a second; 0 with an empty prefix.
    pub prefill_tokens_per_s: f64,
    /// Seconds of decode.
    pub decode_seconds: f64,
    /// Decoded tokens a second, all sequences together.
    pub decode_tokens_per_s: f64,
    /// Bytes of keys and values at the end.
    pub kv_bytes: usize,
    /// Most memory that the process has held, in bytes; 0 where the system does not tell.
    pub peak_rss_bytes: u64,
}

/// Measures. The model is used up.
///
/// # Errors
/// If prefix and decode do not fit the context or the budget, or the device fails.
pub fn bench(model: Model, options: &BenchOptions) -> Result<BenchReport, EngineError> {
    measure(model.backend, options)
}

/// [`bench()`] over any backend.
pub(crate) fn measure<B: Backend>(
    mut backend: B,
    options: &BenchOptions,
) -> Result<BenchReport, EngineError> {
    let BenchOptions { prefix, sequences, decode, .. } = *options;
    let shape = backend.shape().clone();
    if prefix + 1 + decode > shape.context_length {
        return Err(EngineError::ContextLength {
            prompt: prefix + 1,
            answer: decode,
            limit: shape.context_length,
        });
    }
    let chunk = options.prefill_chunk.max(1);
    // Any tokens do: the work does not depend on which.
    let any = |place: usize| (uniform(1, place as u64) * shape.vocab_size as f64) as u32;
    let tokens: Vec<u32> = (0..prefix).map(any).collect();
    let mut logits = Vec::new();
    // A first pass pins threads and sizes buffers; it is no part of what is measured.
    let (mut warm, _) = backend.begin(&[any(prefix)], Scope::default());
    push(&mut backend, &mut warm, &[any(prefix)], &mut logits)?;
    drop(warm);

    let began = Instant::now();
    let (mut root, _) = backend.begin(&[tokens.as_slice(), &[0]].concat(), Scope::default());
    for part in tokens.chunks(chunk) {
        push(&mut backend, &mut root, part, &mut logits)?;
    }
    let prefill = began.elapsed();
    backend.publish(&root);
    let mut forks = Vec::with_capacity(sequences);
    for sequence in 0..sequences {
        let first = any(prefix + 1 + sequence);
        let (fork, _) = backend.begin(&[tokens.as_slice(), &[first]].concat(), Scope::default());
        forks.push((fork, first));
    }
    drop(root);

    let began = Instant::now();
    for _ in 0..decode {
        for (fork, _) in &mut forks {
            backend.reserve(fork, 1)?;
        }
        let mut feeds: Vec<Feed<'_, B::Sequence>> = forks
            .iter_mut()
            .map(|(fork, token)| Feed { sequence: fork, tokens: std::slice::from_ref(token), logits: 1 })
            .collect();
        backend.forward(&mut feeds, &mut logits)?;
        drop(feeds);
        for ((_, token), row) in forks.iter_mut().zip(logits.chunks(shape.vocab_size)) {
            *token = likeliest(row).map_err(|_| EngineError::NotANumber { position: prefix })?;
        }
    }
    let decoded = began.elapsed();
    let speed = |tokens: usize, time: f64| if tokens > 0 && time > 0.0 { tokens as f64 / time } else { 0.0 };
    Ok(BenchReport {
        prefix,
        sequences,
        decode,
        prefill_seconds: prefill.as_secs_f64(),
        prefill_tokens_per_s: speed(prefix, prefill.as_secs_f64()),
        decode_seconds: decoded.as_secs_f64(),
        decode_tokens_per_s: speed(sequences * decode, decoded.as_secs_f64()),
        kv_bytes: backend.kv_bytes(),
        peak_rss_bytes: peak_rss_bytes(),
    })
}

fn push<B: Backend>(
    backend: &mut B,
    sequence: &mut B::Sequence,
    tokens: &[u32],
    logits: &mut Vec<f32>,
) -> Result<(), EngineError> {
    backend.reserve(sequence, tokens.len())?;
    backend.forward(&mut [Feed { sequence, tokens, logits: 1 }], logits)
}

/// Most memory that the process has held, as Linux tells it.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::Fake;

    #[test]
    fn every_fork_starts_at_the_prefix() {
        let options = BenchOptions { prefix: 100, sequences: 3, decode: 5, prefill_chunk: 32 };
        let fake = Fake::new(50, 200);
        let log = fake.log();
        let report = measure(fake, &options).expect("it fits");
        assert!(report.prefill_tokens_per_s > 0.0 && report.decode_tokens_per_s > 0.0);
        let fed: usize = log.lock().expect("whole").iter().flatten().map(|(_, tokens)| tokens).sum();
        assert_eq!(fed, 1 + 100 + 3 * 5);
        let too_long = BenchOptions { decode: 100, ..options };
        assert!(matches!(measure(Fake::new(50, 200), &too_long), Err(EngineError::ContextLength { .. })));
    }
}
