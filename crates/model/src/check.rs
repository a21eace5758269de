//! What a device has to show before its answers are believed: that it agrees with the reference on the CPU, and that
//! the logits of a sequence have the same bits whatever shares its batch.

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, Feed, LogitRows};
use crate::error::EngineError;
use crate::kv::Scope;
use crate::model::Model;
use crate::sampling::uniform;
use crate::score::step_through;

/// Longest sequence that is tried.
const LONGEST: usize = 700;

/// How close two backends are, over all positions of random texts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Positions that were compared.
    pub positions: usize,
    /// Share of them at which both find the same token the likeliest.
    pub top_1: f64,
    /// Mean divergence of the distributions in nats, the reference's from the other's (Kullback and Leibler).
    pub divergence: f64,
}

/// One way to compute what was computed alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SameBits {
    /// What was done, in words.
    pub way: String,
    /// Rows of logits that were compared.
    pub rows: usize,
    /// Those of them that had the same bits.
    pub same: usize,
}

/// Compares a model with the same model elsewhere: three random texts of `length` tokens, or as many as fit the context.
///
/// # Errors
/// If a text does not fit the budget, or a device fails.
pub fn agreement(model: &mut Model, reference: &mut Model, length: usize) -> Result<Agreement, EngineError> {
    between(&mut model.backend, &mut reference.backend, length)
}

/// Computes random sequences alone and then in other batches, orders, pieces and forks, and counts equal rows.
///
/// # Errors
/// If the sequences do not fit the context or the budget, or the device fails.
pub fn same_bits(model: &mut Model) -> Result<Vec<SameBits>, EngineError> {
    bits(&mut model.backend)
}

fn between<A: Backend, B: Backend>(
    backend: &mut A,
    reference: &mut B,
    length: usize,
) -> Result<Agreement, EngineError> {
    let vocab = reference.shape().vocab_size;
    let length = length.min(backend.shape().context_length).min(reference.shape().context_length);
    let texts: Vec<Vec<u32>> = (0..3).map(|text| random(1000 + text, length, vocab)).collect();
    let mut expected = vec![Vec::new(); texts.len()];
    step_through(reference, &texts, |text, _, row| expected[text].push(row.to_vec()))?;
    let mut found = Agreement { positions: 0, top_1: 0.0, divergence: 0.0 };
    step_through(backend, &texts, |text, position, row| {
        let expected = &expected[text][position];
        found.positions += 1;
        found.top_1 += f64::from(u8::from(top(row) == top(expected)));
        found.divergence += divergence(expected, row);
    })?;
    let positions = found.positions.max(1) as f64;
    found.top_1 /= positions;
    found.divergence /= positions;
    Ok(found)
}

fn top(row: &[f32]) -> Option<usize> {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]))
}

/// Of the distribution that `found` stands for from that of `expected`.
fn divergence(expected: &[f32], found: &[f32]) -> f64 {
    let log_sum = |row: &[f32]| {
        let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
        f64::from(highest) + sum.ln()
    };
    let (of_expected, of_found) = (log_sum(expected), log_sum(found));
    let terms = expected.iter().zip(found).map(|(&expected, &found)| {
        let (p, q) = (f64::from(expected) - of_expected, f64::from(found) - of_found);
        p.exp() * (p - q)
    });
    terms.sum()
}

fn random(seed: u64, length: usize, vocab: usize) -> Vec<u32> {
    (0..length).map(|place| (uniform(seed, place as u64) * vocab as f64) as u32).collect()
}

fn bits<B: Backend>(backend: &mut B) -> Result<Vec<SameBits>, EngineError> {
    let shape = backend.shape().clone();
    let longest = LONGEST.min(shape.context_length / 2);
    // Nine sequences leave a prefix early, late, inside a page or not at all, and nine have nothing of it.
    let prefix = random(1, longest, shape.vocab_size);
    let texts: Vec<Vec<u32>> = (0..18_usize)
        .map(|text| {
            let own = 1 + text * 37 % (longest / 4);
            let kept = if text < 9 { longest - text * text * longest / 100 } else { 0 };
            [&prefix[..kept], &random(100 + text as u64, own, shape.vocab_size)].concat()
        })
        .collect();
    let mut alone = Vec::new();
    for text in &texts {
        alone.push(run(backend, std::slice::from_ref(text), usize::MAX)?.remove(0));
    }
    let compare = |way: &str, found: &[Vec<u32>], order: &[usize]| SameBits {
        way: way.to_owned(),
        rows: found.len(),
        same: found.iter().zip(order).filter(|(row, text)| **row == alone[**text]).count(),
    };
    let forwards: Vec<usize> = (0..texts.len()).collect();
    let backwards: Vec<usize> = forwards.iter().rev().copied().collect();
    let pick = |order: &[usize]| -> Vec<Vec<u32>> { order.iter().map(|&text| texts[text].clone()).collect() };
    let mut ways = vec![
        compare("once more, alone", &run(backend, &texts[..1], usize::MAX)?, &forwards),
        compare("all in one batch", &run(backend, &texts, usize::MAX)?, &forwards),
        compare("all in one batch, in reverse", &run(backend, &pick(&backwards), usize::MAX)?, &backwards),
    ];
    let many: Vec<usize> = (0..70).map(|place| place * 5 % texts.len()).collect();
    ways.push(compare("seventy in one batch", &run(backend, &pick(&many), usize::MAX)?, &many));
    for piece in [1, 7, 64, 300] {
        let found = run(backend, &texts, piece)?;
        ways.push(compare(&format!("all in one batch, {piece} tokens at a time"), &found, &forwards));
    }
    // From here on the prefix is in the cache, and sequences fork from it.
    let (mut root, _) = backend.begin(&[prefix.as_slice(), &[0]].concat(), Scope::default());
    let mut logits = LogitRows::default();
    for piece in prefix.chunks(50) {
        backend.reserve(&mut root, piece.len())?;
        backend.forward(&mut [Feed { sequence: &mut root, tokens: piece, logits: 0 }], &mut logits)?;
    }
    backend.publish(&root);
    ways.push(compare("forked from a prefix", &run(backend, &texts, usize::MAX)?, &forwards));
    ways.push(compare("forked from a prefix, 5 tokens at a time", &run(backend, &texts, 5)?, &forwards));
    Ok(ways)
}

/// Bits of the logits after each text, all texts in one batch and at most `piece` tokens of each in a pass.
fn run<B: Backend>(backend: &mut B, texts: &[Vec<u32>], piece: usize) -> Result<Vec<Vec<u32>>, EngineError> {
    let vocab = backend.shape().vocab_size;
    let mut sequences: Vec<(B::Sequence, usize)> =
        texts.iter().map(|text| backend.begin(text, Scope::default())).collect();
    let mut found = vec![Vec::new(); texts.len()];
    let mut logits = LogitRows::default();
    while texts.iter().zip(&sequences).any(|(text, (_, done))| *done < text.len()) {
        let (mut feeds, mut of) = (Vec::new(), Vec::new());
        for (place, ((sequence, done), text)) in sequences.iter_mut().zip(texts).enumerate() {
            let tokens = &text[*done..text.len().min(done.saturating_add(piece))];
            if tokens.is_empty() {
                continue;
            }
            backend.reserve(sequence, tokens.len())?;
            *done += tokens.len();
            feeds.push(Feed { sequence, tokens, logits: 1 });
            of.push(place);
        }
        backend.forward(&mut feeds, &mut logits)?;
        for (place, row) in of.into_iter().zip(logits.chunks(vocab)) {
            found[place] = row.iter().map(|logit| logit.to_bits()).collect();
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::checks::{OnDisk, tiny};
    use crate::cpu::CpuBackend;
    use crate::engine::fake::Fake;
    use crate::kv::Sequence;
    use crate::model::{LoadOptions, WeightFormat};

    fn loaded(weights: WeightFormat) -> CpuBackend {
        let disk = OnDisk::new(&tiny("llama"));
        CpuBackend::load(disk.path(), &LoadOptions { weights, ..LoadOptions::default() }).unwrap()
    }

    #[test]
    fn a_backend_agrees_with_itself_and_less_with_fewer_bits() {
        let same = between(&mut loaded(WeightFormat::F32), &mut loaded(WeightFormat::F32), 40).unwrap();
        assert_eq!((same.positions, same.top_1), (120, 1.0));
        assert!(same.divergence.abs() < 1e-12, "{}", same.divergence);
        let less = between(&mut loaded(WeightFormat::Q8_0), &mut loaded(WeightFormat::F32), 40).unwrap();
        assert!(less.divergence > 1e-9 && less.divergence < 1e-2, "{}", less.divergence);
        let long = between(&mut loaded(WeightFormat::F32), &mut loaded(WeightFormat::F32), 10_000).unwrap();
        assert_eq!(long.positions, 3 * 512);
        let other = between(&mut Fake::new(80, 200), &mut loaded(WeightFormat::F32), 40).unwrap();
        assert!(other.top_1 < 0.5 && other.divergence > 0.1, "{other:?}");
    }

    #[test]
    fn every_way_is_compared_and_the_cpu_backend_passes() {
        let ways = bits(&mut loaded(WeightFormat::Q8_0)).unwrap();
        assert_eq!(ways.len(), 10);
        for SameBits { way, rows, same } in &ways {
            assert_eq!(same, rows, "{way}");
        }
        assert_eq!(ways[3].rows, 70);
    }

    /// A backend whose logits depend a little on how many rows share a pass.
    struct Leaning(CpuBackend);

    impl Backend for Leaning {
        type Sequence = Sequence;

        fn shape(&self) -> &crate::backend::Shape {
            self.0.shape()
        }

        fn cached_prefix(&self, tokens: &[u32], scope: Scope) -> usize {
            self.0.cached_prefix(tokens, scope)
        }

        fn begin(&mut self, tokens: &[u32], scope: Scope) -> (Sequence, usize) {
            self.0.begin(tokens, scope)
        }

        fn reserve(&mut self, sequence: &mut Sequence, tokens: usize) -> Result<(), EngineError> {
            self.0.reserve(sequence, tokens)
        }

        fn forward(
            &mut self,
            feeds: &mut [Feed<'_, Sequence>],
            logits: &mut LogitRows,
        ) -> Result<(), EngineError> {
            let many = feeds.len() > 32;
            self.0.forward(feeds, logits)?;
            if many {
                let mut rows = logits.to_vec();
                rows[0] = f32::from_bits(rows[0].to_bits() ^ 1);
                *logits.plain() = rows;
            }
            Ok(())
        }

        fn publish(&mut self, sequence: &Sequence) {
            self.0.publish(sequence);
        }

        fn evicted_tokens(&self) -> u64 {
            self.0.evicted_tokens()
        }

        fn kv_bytes(&self) -> usize {
            self.0.kv_bytes()
        }
    }

    #[test]
    fn one_bit_that_depends_on_the_batch_is_found() {
        let ways = bits(&mut Leaning(loaded(WeightFormat::Q8_0))).unwrap();
        let differing: Vec<&str> =
            ways.iter().filter(|way| way.same < way.rows).map(|way| way.way.as_str()).collect();
        assert_eq!(differing, ["seventy in one batch"]);
    }
}
