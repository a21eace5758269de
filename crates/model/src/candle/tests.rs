//! The backend on candle's CPU device: against the CPU backend, and against itself however the work is cut up.

use std::path::PathBuf;

use super::*;
use crate::cpu::CpuBackend;
use crate::testing::{Random, TinyModel};

/// A model in a file of its own.
struct OnDisk {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl OnDisk {
    fn new(model: &TinyModel) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        std::fs::write(&path, model.gguf()).unwrap();
        Self { _folder: folder, path }
    }

    fn load(&self, weights: WeightFormat) -> CandleBackend {
        load(&self.path, &LoadOptions { weights, kv_budget: 1 << 22, ..LoadOptions::default() })
    }
}

fn load(path: &std::path::Path, options: &LoadOptions) -> CandleBackend {
    CandleBackend::on_cpu(&Checkpoint::open(path).unwrap(), options).unwrap().0
}

fn tiny(architecture: &'static str) -> TinyModel {
    TinyModel { architecture, ..TinyModel::default() }
}

fn tokens(seed: u64, count: usize, vocab: usize) -> Vec<u32> {
    let mut random = Random(seed);
    (0..count).map(|_| random.below(vocab) as u32).collect()
}

fn run<B: Backend>(backend: &mut B, sequence: &mut B::Sequence, tokens: &[u32], chunk: usize) -> Vec<f32> {
    let mut logits = Vec::new();
    for tokens in tokens.chunks(chunk) {
        let feed = Feed { sequence, tokens, wants_logits: true };
        backend.forward(&mut [feed], &mut logits).unwrap();
    }
    logits
}

fn alone<B: Backend>(backend: &mut B, tokens: &[u32]) -> Vec<f32> {
    let (mut sequence, cached) = backend.begin(tokens);
    backend.reserve(&mut sequence, tokens.len() - cached).unwrap();
    run(backend, &mut sequence, &tokens[cached..], usize::MAX)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Largest difference, relative to the largest magnitude.
fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
    found.iter().zip(expected).fold(0.0_f32, |a, (x, y)| a.max((x - y).abs())) / scale
}

#[test]
fn single_precision_agrees_with_the_cpu_backend_for_every_architecture() {
    for (index, model) in [
        tiny("llama"),
        TinyModel { tied: false, head_dim: 24, hidden: 72, heads: 3, kv_heads: 1, ..tiny("qwen2") },
        TinyModel { heads: 6, kv_heads: 3, head_dim: 20, intermediate: 50, ..tiny("qwen3") },
        TinyModel { tied: false, heads: 2, kv_heads: 2, head_dim: 40, hidden: 80, ..tiny("llama") },
    ]
    .into_iter()
    .enumerate()
    {
        let disk = OnDisk::new(&model);
        let options = LoadOptions { weights: WeightFormat::F32, ..LoadOptions::default() };
        let mut cpu = CpuBackend::load(&disk.path, &options).unwrap();
        let mut candle = disk.load(WeightFormat::F32);
        for length in [1, 16, 17, 128, 129, 300] {
            let tokens = tokens(index as u64, length, model.vocab_size);
            let distance = distance(&alone(&mut candle, &tokens), &alone(&mut cpu, &tokens));
            assert!(distance < 1e-4, "{} at {length}: {distance}", model.architecture);
        }
    }
}

#[test]
fn blocks_of_eight_bits_stay_close_to_the_cpu_backend() {
    let disk = OnDisk::new(&TinyModel { hidden: 256, intermediate: 512, head_dim: 64, ..tiny("llama") });
    let mut cpu = CpuBackend::load(&disk.path, &LoadOptions::default()).unwrap();
    let mut candle = disk.load(WeightFormat::Q8_0);
    let tokens = tokens(3, 60, 80);
    let distance = distance(&alone(&mut candle, &tokens), &alone(&mut cpu, &tokens));
    assert!(distance < 5e-2, "{distance}");
}

#[test]
fn the_default_model_agrees_with_the_cpu_backend() {
    let path = crate::home(None).join("models").join(crate::DEFAULT_MODEL_FILE);
    if !path.exists() {
        eprintln!("skipped: the default model is not at {}", path.display());
        return;
    }
    let tokens = tokens(5, 24, 49152);
    let options =
        LoadOptions { weights: WeightFormat::F32, kv_budget: 1 << 24, ..LoadOptions::default() };
    let expected = alone(&mut CpuBackend::load(&path, &options).unwrap(), &tokens);
    let found = alone(&mut load(&path, &options), &tokens);
    let distance = distance(&found, &expected);
    eprintln!("distance {distance:.2e}");
    assert!(distance < 1e-3, "{distance}");
}

#[test]
fn logits_do_not_depend_on_how_tokens_are_cut_into_feeds() {
    for weights in [WeightFormat::F32, WeightFormat::Q8_0] {
        let mut backend = OnDisk::new(&tiny("llama")).load(weights);
        let tokens = tokens(9, 140, 80);
        let whole = alone(&mut backend, &tokens);
        assert!(whole.iter().all(|x| x.is_finite()));
        for chunk in [1, 5, 16, 31, 64] {
            let (mut sequence, _) = backend.begin(&[]);
            let found = run(&mut backend, &mut sequence, &tokens, chunk);
            assert_eq!(bits(&found), bits(&whole), "{weights:?} in chunks of {chunk}");
        }
    }
}

#[test]
fn logits_do_not_depend_on_the_batch_or_on_what_was_cached() {
    for weights in [WeightFormat::F32, WeightFormat::Q8_0] {
        let disk = OnDisk::new(&tiny("qwen2"));
        let prefix = tokens(1, 153, 80);
        let prompts: Vec<Vec<u32>> = (0..11)
            .map(|index| {
                // Some leave the prefix early, some late, some inside a page; one has nothing of it.
                let kept = [153, 153, 128, 130, 20, 0, 127, 32, 153, 152, 144][index];
                [&prefix[..kept], &tokens(100 + index as u64, 1 + index * 3, 80)].concat()
            })
            .collect();
        let mut cold = disk.load(weights);
        let expected: Vec<_> = prompts.iter().map(|prompt| bits(&alone(&mut cold, prompt))).collect();

        let mut warm = disk.load(weights);
        let (mut sequence, _) = warm.begin(&prefix);
        run(&mut warm, &mut sequence, &prefix, 50);
        warm.publish(&sequence);
        let pages = warm.kv_bytes();
        let mut begun: Vec<_> = prompts.iter().map(|prompt| warm.begin(prompt)).collect();
        assert_eq!((begun[0].1, begun[5].1), (153, 0));
        assert_eq!(warm.kv_bytes(), pages, "a fork takes no page before it has a token of its own");
        let mut logits = Vec::new();
        let mut feeds: Vec<_> = begun
            .iter_mut()
            .zip(&prompts)
            .map(|((sequence, cached), prompt)| Feed {
                sequence,
                tokens: &prompt[*cached..],
                wants_logits: true,
            })
            .collect();
        warm.forward(&mut feeds, &mut logits).unwrap();
        for (index, (found, expected)) in logits.chunks(80).zip(&expected).enumerate() {
            assert_eq!(&bits(found), expected, "prompt {index}");
        }
        // Then one token each, all together, against each alone.
        let next = tokens(77, prompts.len(), 80);
        let mut feeds: Vec<_> = begun
            .iter_mut()
            .zip(&next)
            .map(|((sequence, _), token)| Feed {
                sequence,
                tokens: std::slice::from_ref(token),
                wants_logits: true,
            })
            .collect();
        warm.forward(&mut feeds, &mut logits).unwrap();
        for (index, (found, prompt)) in logits.chunks(80).zip(&prompts).enumerate() {
            let whole = [prompt.as_slice(), &next[index..=index]].concat();
            assert_eq!(bits(found), bits(&alone(&mut cold, &whole)), "prompt {index}");
        }
    }
}

#[test]
fn a_sequence_with_a_nan_leaves_the_rest_of_the_batch_alone() {
    let disk = OnDisk::new(&tiny("llama"));
    let mut backend = disk.load(WeightFormat::F32);
    let good: Vec<u32> = tokens(2, 40, 80).iter().map(|token| token % 79).collect();
    let expected = bits(&alone(&mut backend, &good));
    let spoilt = backend.decoder.embedding.spoil(79).unwrap();
    backend.decoder.embedding = spoilt;
    let (mut a, _) = backend.begin(&good);
    let (mut b, _) = backend.begin(&[79]);
    let mut logits = Vec::new();
    let mut feeds = [
        Feed { sequence: &mut b, tokens: &[1, 79, 2], wants_logits: true },
        Feed { sequence: &mut a, tokens: &good, wants_logits: true },
    ];
    backend.forward(&mut feeds, &mut logits).unwrap();
    assert!(logits[..80].iter().all(|x| x.is_nan()));
    assert_eq!(bits(&logits[80..]), expected);
    // Pages that held the NaN are used again without harm.
    drop((a, b));
    assert_eq!(bits(&alone(&mut backend, &good)), expected);
}

#[test]
fn limits_are_reported_and_idle_prefixes_make_room() {
    let disk = OnDisk::new(&tiny("llama"));
    let options = LoadOptions {
        weights: WeightFormat::F32,
        context_length: Some(60),
        kv_budget: 35_000,
        ..LoadOptions::default()
    };
    let mut backend = load(&disk.path, &options);
    // A token takes 2 layers x 2 heads x 16 values x 2 x 4 bytes = 512 bytes, a page 8 KiB: four pages.
    assert_eq!(backend.shape().kv_bytes_per_token, 512);
    let (mut a, _) = backend.begin(&[]);
    let prompt = tokens(6, 40, 80);
    run(&mut backend, &mut a, &prompt, 40);
    let (mut b, _) = backend.begin(&[]);
    let refused = backend.reserve(&mut b, 17);
    assert_eq!(refused, Err(EngineError::KvBudget { needed: 16 * 1024, budget: 32 * 1024 }));
    backend.publish(&a);
    drop(a);
    assert_eq!(backend.kv_bytes(), 24 * 1024);
    backend.reserve(&mut b, 33).unwrap();
    assert_eq!(backend.cached_prefix(&prompt), 16);
    let mut logits = Vec::new();
    let long = vec![1; 61];
    let feed = Feed { sequence: &mut b, tokens: &long, wants_logits: true };
    let refused = backend.forward(&mut [feed], &mut logits);
    assert!(matches!(refused, Err(EngineError::ContextLength { limit: 60, .. })));
    let feed = Feed { sequence: &mut b, tokens: &[80], wants_logits: true };
    assert!(matches!(backend.forward(&mut [feed], &mut logits), Err(EngineError::Device(_))));
    drop(b);
    assert_eq!(backend.kv_bytes(), 8 * 1024);
}
