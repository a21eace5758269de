//! How fast a model runs on this machine: prefill of one prefix, then steps of sequences forked from it, each of one
//! token that was chosen greedily and as many forced ones as are asked for.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, Feed, LogitRows};
use crate::candle::CandleBackend;
use crate::device::Device;
use crate::error::{EngineError, LoadError};
use crate::kv::Scope;
use crate::model::{LoadOptions, Model};
use crate::sampling::{likeliest, uniform};
use crate::shapes::MadeUp;
use crate::weights::{Role, Source};

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchOptions {
    /// Tokens of the shared prefix.
    pub prefix: usize,
    /// Sequences forked from it.
    pub sequences: usize,
    /// Tokens that each decodes, and steps.
    pub decode: usize,
    /// Tokens that each brings to a step: the one chosen before, and forced ones.
    pub rows: usize,
    /// Most prefix tokens in one pass.
    pub prefill_chunk: usize,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { prefix: 1024, sequences: 27, decode: 64, rows: 1, prefill_chunk: 256 }
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// Tokens of the shared prefix.
    pub prefix: usize,
    /// Sequences forked from it.
    pub sequences: usize,
    /// Tokens that each chose, and steps.
    pub decode: usize,
    /// Tokens that each brought to a step.
    pub rows: usize,
    /// Seconds of prefill.
    pub prefill_seconds: f64,
    /// Prefix tokens a second; 0 with an empty prefix.
    pub prefill_tokens_per_s: f64,
    /// Seconds of decode.
    pub decode_seconds: f64,
    /// Tokens chosen a second, all sequences together.
    pub decode_tokens_per_s: f64,
    /// Tokens that went through the model a second in these steps, chosen and forced.
    pub rows_per_s: f64,
    /// Median of the seconds of a step.
    pub step_seconds: f64,
    /// Seconds that the products alone of a step take with the device's fastest algorithms, where they were measured
    /// in this run.
    pub product_seconds: Option<f64>,
    /// Seconds of loading, digests included; 0 where nothing was loaded.
    pub load_seconds: f64,
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

/// [`bench()`] on a decoder of a known shape with made-up weights, drawn on the device: by one of
/// [`shape_names`](crate::shape_names), with so many layers or all of them.
///
/// # Errors
/// If there is no such shape, it does not fit the device, or as for [`bench()`].
pub fn bench_shape(
    name: &str,
    layers: Option<usize>,
    load: &LoadOptions,
    options: &BenchOptions,
) -> Result<BenchReport, EngineError> {
    let began = Instant::now();
    let shape = MadeUp::new(name, layers).ok_or_else(|| {
        let known: Vec<_> = crate::shape_names().collect();
        EngineError::Device(format!("no shape is called {name}; there are {}", known.join(", ")))
    })?;
    let backend = load_shape(&shape, load).map_err(|error| EngineError::Device(error.to_string()))?;
    let load_seconds = began.elapsed().as_secs_f64();
    Ok(BenchReport { load_seconds, ..measure(backend, options)? })
}

fn load_shape(shape: &MadeUp, load: &LoadOptions) -> Result<CandleBackend, LoadError> {
    let describe = |weights, on_gpu| CandleBackend::describe_shape(shape, load, weights, on_gpu);
    match load.device {
        #[cfg(feature = "cuda")]
        Device::Cuda { ordinal, weights } => {
            CandleBackend::on_cuda(shape, &describe(weights, true), load, ordinal, weights)
        }
        Device::CandleCpu { weights } => {
            CandleBackend::on_cpu(shape, &describe(weights, false), load, weights)
        }
        _ => Err(LoadError::Unsupported {
            path: shape.place(Role::Embedding).0.to_path_buf(),
            reason: format!("weights are made up on GPUs only, and the device is {}", load.device),
        }),
    }
}

/// [`bench()`] over any backend.
pub(crate) fn measure<B: Backend>(
    mut backend: B,
    options: &BenchOptions,
) -> Result<BenchReport, EngineError> {
    let BenchOptions { prefix, sequences, decode, .. } = *options;
    let rows = options.rows.max(1);
    let shape = backend.shape().clone();
    let answer = decode.saturating_mul(rows);
    if prefix.saturating_add(1).saturating_add(answer) > shape.context_length {
        return Err(EngineError::ContextLength { prompt: prefix + 1, answer, limit: shape.context_length });
    }
    let chunk = options.prefill_chunk.max(1);
    // Any tokens do: the work does not depend on which.
    let any = |place: usize| (uniform(1, place as u64) * shape.vocab_size as f64) as u32;
    let tokens: Vec<u32> = (0..prefix).map(any).collect();
    let mut logits = LogitRows::default();
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
        forks.push((fork, vec![first; rows]));
    }
    drop(root);

    let mut steps = Vec::with_capacity(decode);
    let began = Instant::now();
    for _ in 0..decode {
        let began = Instant::now();
        for (fork, tokens) in &mut forks {
            backend.reserve(fork, tokens.len())?;
        }
        let mut feeds: Vec<Feed<'_, B::Sequence>> = forks
            .iter_mut()
            .map(|(fork, tokens)| Feed { sequence: fork, tokens: tokens.as_slice(), logits: 1 })
            .collect();
        backend.forward(&mut feeds, &mut logits)?;
        drop(feeds);
        for ((_, tokens), row) in forks.iter_mut().zip(logits.chunks(shape.vocab_size)) {
            tokens[0] = likeliest(row).map_err(|_| EngineError::NotANumber { position: prefix })?;
        }
        steps.push(began.elapsed().as_secs_f64());
    }
    let decoded = began.elapsed();
    steps.sort_unstable_by(f64::total_cmp);
    let speed = |tokens: usize, time: Duration| {
        let seconds = time.as_secs_f64();
        if tokens > 0 && seconds > 0.0 { tokens as f64 / seconds } else { 0.0 }
    };
    Ok(BenchReport {
        prefix,
        sequences,
        decode,
        rows,
        prefill_seconds: prefill.as_secs_f64(),
        prefill_tokens_per_s: speed(prefix, prefill),
        decode_seconds: decoded.as_secs_f64(),
        decode_tokens_per_s: speed(sequences * decode, decoded),
        rows_per_s: speed(sequences * answer, decoded),
        step_seconds: steps.get(steps.len() / 2).copied().unwrap_or(0.0),
        product_seconds: backend.product_seconds(sequences * rows, sequences),
        load_seconds: 0.0,
        kv_bytes: backend.kv_bytes(),
        peak_rss_bytes: peak_rss_bytes(),
    })
}

fn push<B: Backend>(
    backend: &mut B,
    sequence: &mut B::Sequence,
    tokens: &[u32],
    logits: &mut LogitRows,
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
        let options = BenchOptions { prefix: 100, sequences: 3, decode: 5, rows: 4, prefill_chunk: 32 };
        let fake = Fake::new(50, 200);
        let log = fake.log();
        let report = measure(fake, &options).expect("it fits");
        assert!(report.prefill_tokens_per_s > 0.0 && report.decode_tokens_per_s > 0.0);
        let fed: usize = log.lock().expect("whole").iter().flatten().map(|(_, tokens)| tokens).sum();
        assert_eq!(fed, 1 + 100 + 3 * 5 * 4);
        assert!(report.rows_per_s > report.decode_tokens_per_s);
        let too_long = BenchOptions { decode: 100, ..options };
        assert!(matches!(measure(Fake::new(50, 200), &too_long), Err(EngineError::ContextLength { .. })));
    }

    #[test]
    fn shapes_are_measured_without_a_file() {
        let weights = crate::device::DeviceWeights::F32;
        let load = LoadOptions {
            device: Device::CandleCpu { weights },
            kv_budget: Some(1 << 24),
            ..LoadOptions::default()
        };
        let options = BenchOptions { prefix: 20, sequences: 2, decode: 1, rows: 3, prefill_chunk: 32 };
        let report = bench_shape("smollm2-135m", Some(1), &load, &options).expect("it fits");
        assert!(report.step_seconds > 0.0 && report.load_seconds > 0.0);
        let unknown = bench_shape("gpt-5", None, &load, &options);
        assert!(matches!(unknown, Err(EngineError::Device(reason)) if reason.contains("qwen2-14b")));
    }
}
