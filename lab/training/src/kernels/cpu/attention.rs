//! Attention within a pack: each segment sees its ancestors whole and itself up to the row.
//!
//! One task is one tree of segments and one query head. Scores of up to 128 rows are computed at a time, against only
//! the keys that those rows see. Key and value gradients of the query heads that share a key head are summed at the
//! end, in order, so results do not depend on the number of threads. Factors are single precision here; with activations
//! in bfloat16, [`super::short`] computes the blocks.

use std::ops::Range;

use gemm::{Parallelism, gemm};
use pulp::Arch;
use rayon::prelude::*;

use super::rows::{exp, largest, sum};
use super::short::ShortHead;
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
    /// Whether factors are rounded to bfloat16.
    pub(super) bf16: bool,
}

impl Sizes {
    fn scale(self) -> f32 {
        1.0 / (self.size as f32).sqrt()
    }

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

/// A matrix in memory: where it begins, and the distances of rows and of columns.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> Matrix<'a> {
    fn rows(values: &'a [f32], width: usize) -> Self {
        Self { values, row: width, column: 1 }
    }

    fn turned(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
}

/// target = scale · left · right, or that plus what is there; the target's rows lie `stride` apart.
fn multiply(
    target: &mut [f32],
    stride: usize,
    [rows, columns, inner]: [usize; 3],
    left: Matrix<'_>,
    right: Matrix<'_>,
    scale: f32,
    add: bool,
) {
    if rows == 0 || columns == 0 || inner == 0 {
        return;
    }
    assert!((rows - 1) * stride + columns <= target.len());
    assert!((rows - 1) * left.row + (inner - 1) * left.column < left.values.len());
    assert!((inner - 1) * right.row + (columns - 1) * right.column < right.values.len());
    // SAFETY: all three matrices lie inside their slices, as was just checked, and the target is borrowed alone.
    unsafe {
        gemm(
            rows,
            columns,
            inner,
            target.as_mut_ptr(),
            1,
            stride as isize,
            add,
            left.values.as_ptr(),
            left.column as isize,
            left.row as isize,
            right.values.as_ptr(),
            right.column as isize,
            right.row as isize,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
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

/// Scores of a block: rows × columns. Those that a row does not see are left as they come.
fn scores(block: &Block, queries: &[f32], keys: &[f32], sizes: Sizes, scores: &mut Vec<f32>) {
    let (columns, size) = (block.columns(), sizes.size);
    scores.resize(block.rows.len() * columns, 0.0);
    let left = Matrix::rows(&queries[block.rows.start * size..block.rows.end * size], size);
    for (place, range) in block.places() {
        let right = Matrix::rows(&keys[range.start * size..range.end * size], size).turned();
        let shape = [block.rows.len(), range.len(), size];
        multiply(&mut scores[place..], columns, shape, left, right, sizes.scale(), false);
    }
}

/// Output and sums of [`super::super::Kernels::attention`].
pub(super) fn forward(
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
    let arch = Arch::new();
    let tasks: Vec<_> = outputs.into_iter().zip(all_sums).enumerate().collect();
    tasks.into_par_iter().for_each_init(Default::default, |(memory, short), (task, (output, sums))| {
        let (head, tree) = (task / segments.len(), task % segments.len());
        let first = tree_rows[tree].start;
        let kv_head = sizes.kv_head(head);
        if sizes.bf16 {
            let rows = &tree_rows[tree];
            let inputs = [(queries, head), (keys, kv_head), (values, kv_head)];
            let inputs = inputs.map(|(values, head)| sizes.tree(values, head, rows));
            let mut one = ShortHead::new(inputs, first, sizes.size, short);
            for block in blocks(layout, &segments[tree]) {
                let rows = block.rows.start - first..block.rows.end - first;
                let output = &mut output[rows.start * sizes.size..rows.end * sizes.size];
                one.forward(&block, output, &mut sums[rows]);
            }
            return;
        }
        let (queries, keys, values) =
            (sizes.head(queries, head), sizes.head(keys, kv_head), sizes.head(values, kv_head));
        let size = sizes.size;
        for block in blocks(layout, &segments[tree]) {
            scores(&block, queries, keys, sizes, memory);
            let columns = block.columns();
            let sums = &mut sums[block.rows.start - first..block.rows.end - first];
            arch.dispatch(
                #[inline(always)]
                || {
                    for ((row, scores), total) in
                        block.rows.clone().zip(memory.chunks_exact_mut(columns)).zip(sums.iter_mut())
                    {
                        let (seen, unseen) = scores.split_at_mut(block.seen(row));
                        unseen.fill(0.0);
                        let most = largest(seen);
                        seen.iter_mut().for_each(
                            #[inline(always)]
                            |score| *score = exp(*score - most),
                        );
                        let weights = sum(
                            seen.len(),
                            #[inline(always)]
                            |index| seen[index],
                        );
                        let share = 1.0 / weights;
                        seen.iter_mut().for_each(
                            #[inline(always)]
                            |score| *score *= share,
                        );
                        *total = most + weights.ln();
                    }
                },
            );
            let target = &mut output[(block.rows.start - first) * size..][..block.rows.len() * size];
            for (index, (place, range)) in block.places().enumerate() {
                let left = Matrix::rows(&memory[place..], columns);
                let right = Matrix::rows(&values[range.start * size..range.end * size], size);
                let shape = [block.rows.len(), size, range.len()];
                multiply(target, size, shape, left, right, 1.0, index > 0);
            }
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
pub(super) fn backward(
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
    {
        let [queries_parts, keys_parts, values_parts] = [&mut by_queries, &mut by_keys, &mut by_values]
            .map(|all| parts(all, sizes.rows, sizes.size, &tree_rows));
        let tasks: Vec<_> = queries_parts.into_iter().zip(keys_parts).zip(values_parts).enumerate().collect();
        tasks.into_par_iter().for_each_init(
            Default::default,
            |(shares, by_scores, short), (task, ((by_queries, by_keys), by_values))| {
                let (head, tree) = (task / segments.len(), task % segments.len());
                let kv_head = sizes.kv_head(head);
                let head_of = |values| sizes.head(values, head);
                let one = Head {
                    queries: head_of(queries),
                    keys: sizes.head(keys, kv_head),
                    values: sizes.head(values, kv_head),
                    results: Results {
                        output: head_of(results.output),
                        sums: &results.sums[head * sizes.rows..][..sizes.rows],
                        gradient: head_of(results.gradient),
                    },
                    sizes,
                    first: tree_rows[tree].start,
                };
                if sizes.bf16 {
                    let rows = &tree_rows[tree];
                    let inputs = [(queries, head), (keys, kv_head), (values, kv_head)];
                    let inputs = inputs.map(|(values, head)| sizes.tree(values, head, rows));
                    let mut short = ShortHead::new(inputs, one.first, sizes.size, short);
                    for block in blocks(layout, &segments[tree]) {
                        short.backward(&block, one.results, [by_queries, by_keys, by_values]);
                    }
                    return;
                }
                for block in blocks(layout, &segments[tree]) {
                    one.backward(&block, [shares, by_scores], [by_queries, by_keys, by_values]);
                }
            },
        );
    }
    [by_queries, gather(&by_keys, sizes), gather(&by_values, sizes)]
}

/// One head of one tree.
struct Head<'a> {
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    results: Results<'a>,
    sizes: Sizes,
    /// First row of the tree, where the gradients begin.
    first: usize,
}

impl Head<'_> {
    fn backward(
        &self,
        block: &Block,
        [shares, by_scores]: [&mut Vec<f32>; 2],
        [by_queries, by_keys, by_values]: [&mut [f32]; 3],
    ) {
        let (columns, size, first) = (block.columns(), self.sizes.size, self.first);
        let rows = block.rows.len();
        let own = block.rows.start * size..block.rows.end * size;
        scores(block, self.queries, self.keys, self.sizes, shares);
        by_scores.resize(rows * columns, 0.0);
        let gradient = Matrix::rows(&self.results.gradient[own.clone()], size);
        for (place, range) in block.places() {
            let right = Matrix::rows(&self.values[range.start * size..range.end * size], size).turned();
            multiply(
                &mut by_scores[place..],
                columns,
                [rows, range.len(), size],
                gradient,
                right,
                1.0,
                false,
            );
        }
        let scale = self.sizes.scale();
        Arch::new().dispatch(
            #[inline(always)]
            || {
                let both = shares.chunks_exact_mut(columns).zip(by_scores.chunks_exact_mut(columns));
                for (row, (shares, by_scores)) in block.rows.clone().zip(both) {
                    let output = &self.results.output[row * size..][..size];
                    let gradient = &self.results.gradient[row * size..][..size];
                    let along = sum(
                        size,
                        #[inline(always)]
                        |index| output[index] * gradient[index],
                    );
                    let total = self.results.sums[row];
                    let seen = block.seen(row);
                    shares[seen..].fill(0.0);
                    by_scores[seen..].fill(0.0);
                    for (share, by_score) in shares[..seen].iter_mut().zip(&mut by_scores[..seen]) {
                        *share = exp(*share - total);
                        *by_score = *share * (*by_score - along) * scale;
                    }
                }
            },
        );
        let queries = Matrix::rows(&self.queries[own], size);
        let by_own = &mut by_queries[(block.rows.start - first) * size..][..rows * size];
        for (index, (place, range)) in block.places().enumerate() {
            let target = (range.start - first) * size..(range.end - first) * size;
            let shape = [range.len(), size, rows];
            let turned = Matrix::rows(&shares[place..], columns).turned();
            multiply(&mut by_values[target.clone()], size, shape, turned, gradient, 1.0, true);
            let by_scores = Matrix::rows(&by_scores[place..], columns);
            multiply(&mut by_keys[target], size, shape, by_scores.turned(), queries, 1.0, true);
            let keys = Matrix::rows(&self.keys[range.start * size..range.end * size], size);
            multiply(by_own, size, [rows, size, range.len()], by_scores, keys, 1.0, index > 0);
        }
    }
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
