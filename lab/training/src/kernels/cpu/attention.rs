//! Attention within a pack: each segment sees its ancestors whole and itself up to the row.
//!
//! One task is one tree of segments and one query head ([`super::head`]). Scores of up to 128 rows are computed at a time, against only
//! the keys that those rows see. Key and value gradients of the query heads that share a key head are summed at the
//! end, in order, so results do not depend on the number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::head::Head;
use super::products::Factor;
use crate::pack::Layout;

/// Rows whose scores are computed together.
const BLOCK: usize = 128;

/// Sizes of one attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) rows: usize,
    pub(super) size: usize,
}

impl Sizes {
    /// Rows of one tree of one head.
    fn tree<'a>(self, values: &'a [f32], head: usize, rows: &Range<usize>) -> &'a [f32] {
        &self.head(values, head)[rows.start * self.size..rows.end * self.size]
    }

    /// One head of all heads.
    fn head(self, values: &[f32], head: usize) -> &[f32] {
        &values[head * self.rows * self.size..][..self.rows * self.size]
    }

    fn kv_head(self, head: usize) -> usize {
        head / (self.heads / self.kv_heads)
    }
}

/// Rows of one segment, and what they see.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) rows: Range<usize>,
    /// Ranges of keys; the last one is that of the segment itself, which row `r` sees up to `r`.
    keys: Vec<Range<usize>>,
}

impl Block {
    pub(super) fn columns(&self) -> usize {
        self.keys.iter().map(Range::len).sum()
    }

    /// Columns that a row sees.
    pub(super) fn seen(&self, row: usize) -> usize {
        self.columns() - (self.rows.end - 1 - row)
    }

    /// Ranges of keys with the column where each begins.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        self.keys.iter().scan(0, |at, keys| {
            let place = *at;
            *at += keys.len();
            Some((place, keys.clone()))
        })
    }
}

/// Blocks of one tree.
fn blocks(layout: &Layout, tree: &Range<usize>) -> Vec<Block> {
    let mut blocks = Vec::new();
    for index in tree.clone() {
        let segment = &layout.segments()[index];
        for start in segment.rows.clone().step_by(BLOCK) {
            let rows = start..segment.rows.end.min(start + BLOCK);
            let mut keys: Vec<_> =
                layout.ancestors(index).map(|index| layout.segments()[index].rows.clone()).collect();
            keys.push(segment.rows.start..rows.end);
            blocks.push(Block { rows, keys });
        }
    }
    blocks
}

/// The parts of heads × rows × width values that belong to (head, tree), in that order.
fn parts<'a>(values: &'a mut [f32], rows: usize, width: usize, trees: &[Range<usize>]) -> Vec<&'a mut [f32]> {
    let mut parts = Vec::new();
    for mut head in values.chunks_exact_mut(rows * width) {
        for tree in trees {
            let (part, rest) = head.split_at_mut(tree.len() * width);
            parts.push(part);
            head = rest;
        }
    }
    parts
}

/// Trees of a layout: their segments, and their rows.
fn trees(layout: &Layout) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let segments = layout.trees();
    let all = layout.segments();
    let rows = segments.iter().map(|tree| all[tree.start].rows.start..all[tree.end - 1].rows.end).collect();
    (segments, rows)
}

/// Output and sums of [`super::super::Kernels::attention`].
pub(super) fn forward<F: Factor>(
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    sizes: Sizes,
    layout: &Layout,
) -> (Vec<f32>, Vec<f32>) {
    let (segments, tree_rows) = trees(layout);
    let mut output = vec![0.0; queries.len()];
    let mut sums = vec![0.0; sizes.heads * sizes.rows];
    let outputs = parts(&mut output, sizes.rows, sizes.size, &tree_rows);
    let all_sums = parts(&mut sums, sizes.rows, 1, &tree_rows);
    let tasks: Vec<_> = outputs.into_iter().zip(all_sums).enumerate().collect();
    tasks.into_par_iter().for_each_init(Default::default, |memory, (task, (output, sums))| {
        let (head, tree) = (task / segments.len(), task % segments.len());
        let (rows, kv_head) = (&tree_rows[tree], sizes.kv_head(head));
        let inputs = [(queries, head), (keys, kv_head), (values, kv_head)];
        let inputs = inputs.map(|(values, head)| sizes.tree(values, head, rows));
        let mut one = Head::<F>::new(inputs, rows.start, sizes.size, memory);
        for block in blocks(layout, &segments[tree]) {
            let rows = block.rows.start - rows.start..block.rows.end - rows.start;
            let output = &mut output[rows.start * sizes.size..rows.end * sizes.size];
            one.forward(&block, output, &mut sums[rows]);
        }
    });
    (output, sums)
}

/// What [`backward`] needs beside queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Results<'a> {
    pub(super) output: &'a [f32],
    pub(super) sums: &'a [f32],
    pub(super) gradient: &'a [f32],
}

/// Gradients by queries, keys and values.
pub(super) fn backward<F: Factor>(
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    results: Results<'_>,
    sizes: Sizes,
    layout: &Layout,
) -> [Vec<f32>; 3] {
    let (segments, tree_rows) = trees(layout);
    let mut by_queries = vec![0.0; queries.len()];
    let mut by_keys = vec![0.0; queries.len()];
    let mut by_values = vec![0.0; queries.len()];
    let [queries_parts, keys_parts, values_parts] = [&mut by_queries, &mut by_keys, &mut by_values]
        .map(|all| parts(all, sizes.rows, sizes.size, &tree_rows));
    let tasks: Vec<_> = queries_parts.into_iter().zip(keys_parts).zip(values_parts).enumerate().collect();
    tasks.into_par_iter().for_each_init(
        Default::default,
        |memory, (task, ((by_queries, by_keys), by_values))| {
            let (head, tree) = (task / segments.len(), task % segments.len());
            let (rows, kv_head) = (&tree_rows[tree], sizes.kv_head(head));
            let results = Results {
                output: sizes.head(results.output, head),
                sums: &results.sums[head * sizes.rows..][..sizes.rows],
                gradient: sizes.head(results.gradient, head),
            };
            let inputs = [(queries, head), (keys, kv_head), (values, kv_head)];
            let inputs = inputs.map(|(values, head)| sizes.tree(values, head, rows));
            let mut one = Head::<F>::new(inputs, rows.start, sizes.size, memory);
            for block in blocks(layout, &segments[tree]) {
                one.backward(&block, results, [by_queries, by_keys, by_values]);
            }
        },
    );
    [by_queries, gather(&by_keys, sizes), gather(&by_values, sizes)]
}

/// Sums over the query heads that share a key head.
fn gather(values: &[f32], sizes: Sizes) -> Vec<f32> {
    let group = sizes.heads / sizes.kv_heads;
    if group == 1 {
        return values.to_vec();
    }
    let one = sizes.rows * sizes.size;
    let mut sums = vec![0.0; sizes.kv_heads * one];
    sums.par_chunks_mut(one).zip(values.par_chunks(group * one)).for_each(|(sums, heads)| {
        for head in heads.chunks_exact(one) {
            sums.iter_mut().zip(head).for_each(|(sum, value)| *sum += value);
        }
    });
    sums
}
