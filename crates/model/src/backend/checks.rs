//! What every backend has to pass, and what their tests share.

use std::path::{Path, PathBuf};

use super::{Backend, Feed, LogitRows};
use crate::kv::Scope;
use crate::testing::{Random, TinyModel};

/// A model in a file of its own.
pub(crate) struct OnDisk {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl OnDisk {
    pub(crate) fn new(model: &TinyModel) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        std::fs::write(&path, model.gguf()).unwrap();
        Self { _folder: folder, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

pub(crate) fn tiny(architecture: &'static str) -> TinyModel {
    TinyModel { architecture, ..TinyModel::default() }
}

pub(crate) fn random_tokens(seed: u64, count: usize, vocab: usize) -> Vec<u32> {
    let mut random = Random::new(seed);
    (0..count).map(|_| random.below(vocab) as u32).collect()
}

/// Pushes tokens through in chunks of the given size and gives the logits after the last.
pub(crate) fn run<B: Backend>(
    backend: &mut B,
    sequence: &mut B::Sequence,
    tokens: &[u32],
    chunk: usize,
) -> Vec<f32> {
    let mut logits = LogitRows::default();
    for tokens in tokens.chunks(chunk) {
        let feed = Feed { sequence, tokens, logits: 1 };
        backend.forward(&mut [feed], &mut logits).unwrap();
    }
    logits.to_vec()
}

/// The logits after a prompt that has the batch for itself.
pub(crate) fn alone<B: Backend>(backend: &mut B, tokens: &[u32]) -> Vec<f32> {
    let (mut sequence, cached) = backend.begin(tokens, Scope::default());
    run(backend, &mut sequence, &tokens[cached..], usize::MAX)
}

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Largest difference, relative to the largest magnitude expected.
pub(crate) fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
    found.iter().zip(expected).fold(0.0_f32, |a, (x, y)| a.max((x - y).abs())) / scale
}

/// The logits of a sequence do not depend on how its tokens are cut into feeds. `length` tokens should reach past what
/// the backend treats as one block.
pub(crate) fn feeds_may_be_cut<B: Backend>(backend: &mut B, length: usize) {
    let tokens = random_tokens(9, length, backend.shape().vocab_size);
    let whole = alone(backend, &tokens);
    assert!(whole.iter().all(|x| x.is_finite()));
    for chunk in [1, 2, 5, 16, 31, 64] {
        let (mut sequence, _) = backend.begin(&[], Scope::default());
        let found = run(backend, &mut sequence, &tokens, chunk);
        assert_eq!(bits(&found), bits(&whole), "chunks of {chunk}");
    }
}

/// The logits after several tokens of one feed are those of feeds that end there, whatever shares the pass.
pub(crate) fn logits_may_be_wanted_after_any_token<B: Backend>(backend: &mut B) {
    let vocab = backend.shape().vocab_size;
    let (tokens, other) = (random_tokens(3, 40, vocab), random_tokens(4, 7, vocab));
    let (mut a, mut b, mut c) = (
        backend.begin(&[], Scope::default()).0,
        backend.begin(&[], Scope::default()).0,
        backend.begin(&[], Scope::default()).0,
    );
    let mut feeds = [
        Feed { sequence: &mut a, tokens: &other, logits: 1 },
        Feed { sequence: &mut b, tokens: &tokens, logits: 9 },
        Feed { sequence: &mut c, tokens: &other[..3], logits: 0 },
    ];
    let mut logits = LogitRows::default();
    backend.forward(&mut feeds, &mut logits).unwrap();
    let rows: Vec<&[f32]> = logits.chunks(vocab).collect();
    assert_eq!(rows.len(), 10);
    assert_eq!(bits(rows[0]), bits(&alone(backend, &other)));
    for (row, length) in rows[1..].iter().zip(32..) {
        assert_eq!(bits(row), bits(&alone(backend, &tokens[..length])), "after {length} tokens");
    }
}

/// The logits of a sequence do not depend on what shares its batch or on what part of it was cached.
pub(crate) fn batch_and_cache_do_not_matter<B: Backend>(load: impl Fn() -> B, prefix: usize) {
    let mut cold = load();
    let vocab = cold.shape().vocab_size;
    let prefix = random_tokens(1, prefix, vocab);
    let all = prefix.len();
    // Some leave the prefix early, some late, some inside a page; one has nothing of it.
    let kept = [all, all, all - 5, all - 3, 20, 0, 33, 32, all, all - 1, 16];
    let prompts: Vec<Vec<u32>> = (0..)
        .zip(kept)
        .map(|(index, kept)| {
            [&prefix[..kept], &random_tokens(100 + index, 1 + index as usize * 3, vocab)].concat()
        })
        .collect();
    let expected: Vec<_> = prompts.iter().map(|prompt| bits(&alone(&mut cold, prompt))).collect();

    let mut warm = load();
    let (mut sequence, cached) = warm.begin(&prefix, Scope::default());
    assert_eq!(cached, 0);
    run(&mut warm, &mut sequence, &prefix, 7);
    warm.publish(&sequence);
    let pages = warm.kv_bytes();
    let mut begun: Vec<_> = prompts.iter().map(|prompt| warm.begin(prompt, Scope::default())).collect();
    assert_eq!((begun[0].1, begun[5].1), (all, 0));
    assert_eq!(warm.kv_bytes(), pages, "a fork takes no page before it has a token of its own");
    let own: Vec<&[u32]> =
        prompts.iter().zip(&begun).map(|(prompt, (_, cached))| &prompt[*cached..]).collect();
    let found = together(&mut warm, &mut begun, &own);
    for (index, (found, expected)) in found.chunks(vocab).zip(&expected).enumerate() {
        assert_eq!(&bits(found), expected, "prompt {index}");
    }
    // Then one token each, all together, against each alone.
    let next = random_tokens(77, prompts.len(), vocab);
    let ones: Vec<&[u32]> = next.iter().map(std::slice::from_ref).collect();
    let found = together(&mut warm, &mut begun, &ones);
    for (index, (found, prompt)) in found.chunks(vocab).zip(&prompts).enumerate() {
        let whole = [prompt.as_slice(), ones[index]].concat();
        assert_eq!(bits(found), bits(&alone(&mut cold, &whole)), "prompt {index}");
    }
}

fn together<B: Backend>(backend: &mut B, begun: &mut [(B::Sequence, usize)], tokens: &[&[u32]]) -> Vec<f32> {
    let mut feeds: Vec<_> = begun
        .iter_mut()
        .zip(tokens)
        .map(|((sequence, _), tokens)| Feed { sequence, tokens, logits: 1 })
        .collect();
    let mut logits = LogitRows::default();
    backend.forward(&mut feeds, &mut logits).unwrap();
    logits.to_vec()
}

/// A NaN shows in the row of its own sequence and nowhere else, not even when its pages are used again. `spoil` makes
/// the embedding of the last token of the vocabulary NaN.
pub(crate) fn a_nan_stays_in_its_sequence<B: Backend>(mut backend: B, spoil: impl FnOnce(&mut B)) {
    let vocab = backend.shape().vocab_size;
    let bad = vocab as u32 - 1;
    let good = random_tokens(2, 40, vocab - 1);
    let expected = bits(&alone(&mut backend, &good));
    spoil(&mut backend);
    let (mut a, _) = backend.begin(&good, Scope::default());
    let (mut b, _) = backend.begin(&[bad], Scope::default());
    let mut logits = LogitRows::default();
    let mut feeds = [
        Feed { sequence: &mut b, tokens: &[1, bad, 2], logits: 1 },
        Feed { sequence: &mut a, tokens: &good, logits: 1 },
    ];
    backend.forward(&mut feeds, &mut logits).unwrap();
    assert!(logits[..vocab].iter().any(|x| x.is_nan()));
    assert_eq!(bits(&logits[vocab..]), expected);
    drop((a, b));
    assert_eq!(bits(&alone(&mut backend, &good)), expected, "in pages that held the NaN");
}
