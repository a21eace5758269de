//! Attention against its definition, and plans against what they promise.

use super::*;
use crate::kv::{KvTree, Scope, Sequence};
use crate::memory::Region;
use crate::testing::Random;

/// Two key-value heads of 16 or more values in one layer.
const KV_HEADS: usize = 2;
const GROUP: usize = 3;

/// A batch whose sequences share prefixes, with random keys and values in place.
struct Batch {
    sequences: Vec<(Sequence, usize)>,
    queries: Vec<f32>,
    dims: usize,
    _tree: KvTree,
}

fn random_page(random: &mut Random, page: *mut f32, dims: usize, from: usize) {
    for at in from * dims..KV_HEADS * 2 * PAGE * dims {
        // SAFETY: the page has that many floats.
        unsafe { page.add(at).write(random.symmetric()) };
    }
}

/// `cuts`: how many tokens of a common prefix each sequence keeps, how many of its own it has before this step,
/// and how many come now.
fn batch(dims: usize, prefix: usize, cuts: &[(usize, usize, usize)]) -> Batch {
    let mut random = Random::new(5);
    let mut tree = KvTree::new(KV_HEADS * 2 * PAGE * dims, 1 << 24);
    let tokens: Vec<u32> = (0..prefix as u32).collect();
    let mut root = tree.begin(&[], Scope::default());
    tree.reserve(&mut root, prefix).unwrap();
    root.pages().iter().for_each(|page| random_page(&mut random, page.as_ptr(), dims, 0));
    root.extend(&tokens);
    tree.publish(&root);
    let mut rows = 0;
    let mut sequences = Vec::new();
    for (index, &(kept, own, now)) in cuts.iter().enumerate() {
        let mut sequence = tree.begin(&tokens[..kept], Scope::default());
        assert_eq!(sequence.len(), kept);
        let shared = kept / PAGE;
        tree.reserve(&mut sequence, own + now).unwrap();
        // Only the last, private pages may be filled; a copied one keeps its first slots of keys only, so the
        // whole page is filled anew.
        for page in &sequence.pages()[shared..] {
            random_page(&mut random, page.as_ptr(), dims, 0);
        }
        let own: Vec<u32> = (0..own).map(|at| 10_000 + (index * 1000 + at) as u32).collect();
        sequence.extend(&own);
        rows += now;
        sequences.push((sequence, now));
    }
    let queries = (0..rows * KV_HEADS * GROUP * dims).map(|_| random.symmetric()).collect();
    Batch { sequences, queries, dims, _tree: tree }
}

fn run(batch: &Batch, level: Level, threads: usize) -> Vec<f32> {
    let pool = Pool::new(&[]);
    let mut plan = Plan::default();
    let entries = batch.sequences.iter().map(|(sequence, tokens)| Entry { sequence, tokens: *tokens });
    plan.prepare(entries, GROUP, KV_HEADS, threads);
    let width = KV_HEADS * GROUP * batch.dims;
    let mut out = vec![f32::NAN; batch.queries.len()];
    let mut scratch = Region::zeroed(plan.scratch() * plan.scratches(pool.threads(), KV_HEADS));
    let heads = Heads {
        queries: batch.queries.as_ptr(),
        query_stride: width,
        out: out.as_mut_ptr(),
        out_stride: width,
        head_stride: batch.dims,
        group: GROUP,
        kv_heads: KV_HEADS,
        layer_offset: 0,
        scratch: scratch.as_mut_ptr(),
    };
    // SAFETY: everything is as large as the plan needs, and the level is available.
    unsafe { attend(&pool, level, &plan, &heads) };
    out
}

/// The definition, in double precision.
fn exact(batch: &Batch) -> Vec<f64> {
    let dims = batch.dims;
    let mut out = Vec::new();
    let mut row = 0;
    for (sequence, tokens) in &batch.sequences {
        for offset in 0..*tokens {
            let visible = sequence.len() + offset + 1;
            for head in 0..KV_HEADS * GROUP {
                let query = &batch.queries[(row * KV_HEADS * GROUP + head) * dims..][..dims];
                let tile = head / GROUP * 2 * PAGE * dims;
                // SAFETY: the page has two tiles for each key-value head.
                let at = |position: usize, index: usize| unsafe {
                    f64::from(sequence.pages()[position / PAGE].as_ptr().add(tile + index).read())
                };
                let scores: Vec<f64> = (0..visible)
                    .map(|position| {
                        let key = |dim| at(position, dim * PAGE + position % PAGE);
                        (0..dims).map(|dim| f64::from(query[dim]) * key(dim)).sum()
                    })
                    .collect();
                let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = scores.iter().map(|score| (score - greatest).exp()).sum();
                for dim in 0..dims {
                    let value = |position| at(position, PAGE * dims + position % PAGE * dims + dim);
                    let sum: f64 = (0..visible)
                        .map(|position| (scores[position] - greatest).exp() * value(position))
                        .sum();
                    out.push(sum / total);
                }
            }
            row += 1;
        }
    }
    out
}

const CUTS: [(usize, usize, usize); 9] = [
    (100, 0, 1),
    (96, 5, 1),
    (100, 20, 1),
    (33, 0, 9),
    (48, 1, 1),
    (0, 0, 40),
    (96, 64, 2),
    (0, 0, 1),
    (97, 14, 3),
];

#[test]
fn attention_agrees_with_its_definition_at_every_level() {
    for dims in [16, 32, 48, 64, 80, 128] {
        let batch = batch(dims, 100, &CUTS);
        let exact = exact(&batch);
        let mut first: Option<Vec<u32>> = None;
        for level in Level::available() {
            let found = run(&batch, level, 2);
            for (at, (found, exact)) in found.iter().zip(&exact).enumerate() {
                assert!((f64::from(*found) - exact).abs() < 2e-5, "{dims} {level:?} {at}: {found} {exact}");
            }
            let found: Vec<u32> = found.iter().map(|value| value.to_bits()).collect();
            assert_eq!(first.get_or_insert_with(|| found.clone()), &found, "{level:?}");
        }
    }
}

#[test]
fn how_rows_are_cut_into_blocks_changes_nothing() {
    // The second batch is small enough to be split by positions and dimensions.
    for cuts in [&CUTS[..], &[(100, 0, 1), (96, 30, 2), (0, 0, 5)]] {
        for dims in [16, 48, 64] {
            let batch = batch(dims, 100, cuts);
            let expected = run(&batch, Level::detect(), 1);
            for threads in [2, 3, 8, 100] {
                assert_eq!(run(&batch, Level::detect(), threads), expected, "{threads} threads");
            }
        }
    }
}

#[test]
fn every_row_meets_every_page_once_and_in_order() {
    let batch = batch(16, 100, &CUTS);
    for threads in [1, 2, 5] {
        let mut plan = Plan::default();
        let entries = batch.sequences.iter().map(|(sequence, tokens)| Entry { sequence, tokens: *tokens });
        plan.prepare(entries, GROUP, KV_HEADS, threads);
        let mut next = vec![0; plan.tokens.len() * GROUP];
        let mut covered = 0;
        for block in &plan.blocks {
            assert_eq!(block.first_row, covered);
            covered = block.last_row;
            for segment in &plan.segments[block.first_segment..block.last_segment] {
                assert!(segment.first_row >= block.first_row && segment.last_row <= block.last_row);
                for row in segment.first_row..segment.last_row {
                    assert_eq!(segment.first_page, next[row]);
                    next[row] = segment.last_page;
                    let member = &plan.members[plan.tokens[row / GROUP].member];
                    let shown = &plan.members[segment.member];
                    for page in segment.first_page..segment.last_page {
                        assert_eq!(plan.pages[member.pages + page], plan.pages[shown.pages + page]);
                    }
                }
            }
        }
        assert_eq!(covered, next.len());
        for (row, next) in next.iter().enumerate() {
            assert!(next * PAGE >= plan.tokens[row / GROUP].visible);
        }
    }
}

#[test]
fn siblings_share_one_segment_for_their_common_pages() {
    let cuts = vec![(96, 10, 1); 12];
    let batch = batch(16, 100, &cuts);
    let mut plan = Plan::default();
    let entries = batch.sequences.iter().map(|(sequence, tokens)| Entry { sequence, tokens: *tokens });
    plan.prepare(entries, GROUP, KV_HEADS, 1);
    let shared = plan.segments.iter().filter(|segment| segment.first_page == 0).count();
    assert_eq!(shared, plan.blocks.len());
    assert!(plan.segments.iter().any(|segment| segment.last_row - segment.first_row > GROUP));
}
