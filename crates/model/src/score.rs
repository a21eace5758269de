//! What a model makes of given texts: its logits after every token. For comparing it with other implementations and
//! other weight formats.

use crate::backend::{Backend, Feed, LogitRows};
use crate::error::EngineError;
use crate::kv::Scope;
use crate::model::Model;

/// Pushes all `texts` through the model, one token of each at a time and all texts in one batch, and shows `visit` the
/// logits after each token: number of the text, position in it, one logit for each entry of the vocabulary.
///
/// # Errors
/// If a text does not fit the context or the budget, or the device fails.
pub fn score(
    model: &mut Model,
    texts: &[Vec<u32>],
    visit: impl FnMut(usize, usize, &[f32]),
) -> Result<(), EngineError> {
    step_through(&mut model.backend, texts, visit)
}

/// [`score`] over any backend.
pub(crate) fn step_through<B: Backend>(
    backend: &mut B,
    texts: &[Vec<u32>],
    mut visit: impl FnMut(usize, usize, &[f32]),
) -> Result<(), EngineError> {
    let vocabulary = backend.shape().vocab_size;
    let longest = texts.iter().map(Vec::len).max().unwrap_or_default();
    // A sequence that starts with its first token alone takes nothing from the cache.
    let mut sequences: Vec<Option<B::Sequence>> = texts
        .iter()
        .map(|text| text.get(..1).map(|first| backend.begin(first, Scope::default()).0))
        .collect();
    let mut logits = LogitRows::default();
    for position in 0..longest {
        let mut numbers = Vec::new();
        let mut feeds = Vec::new();
        for (number, (sequence, text)) in sequences.iter_mut().zip(texts).enumerate() {
            let Some(tokens) = text.get(position..=position) else {
                // The text has ended; its keys and values are not needed any more.
                *sequence = None;
                continue;
            };
            if let Some(sequence) = sequence {
                backend.reserve(sequence, 1)?;
                numbers.push(number);
                feeds.push(Feed { sequence, tokens, logits: 1 });
            }
        }
        backend.forward(&mut feeds, &mut logits)?;
        for (number, row) in numbers.into_iter().zip(logits.chunks(vocabulary)) {
            visit(number, position, row);
        }
    }
    Ok(())
}
