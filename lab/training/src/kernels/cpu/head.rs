//! Attention of one head of one tree, with sums in single precision.
//!
//! The keys that a block of rows sees are gathered and packed for the block: little work beside the products of its
//! rows. Shares and their gradients are rounded to the type of the factors where they become some.

use pulp::Arch;

use super::attention::{Block, Results};
use super::products::{Factor, Packed, multiply};
use super::rows::{exp, largest, sum};

/// One head of one tree, as factors.
#[derive(Debug)]
pub(super) struct Head<'a, F> {
    queries: Vec<F>,
    keys: Vec<F>,
    values: Vec<F>,
    /// First row of the tree.
    first: usize,
    size: usize,
    scale: f32,
    memory: &'a mut Memory<F>,
}

/// Buffers that blocks use again.
#[derive(Debug, Default)]
pub(super) struct Memory<F> {
    scores: Vec<f32>,
    by_shares: Vec<f32>,
    sums: Vec<f32>,
    shares: Vec<F>,
    turned: [Vec<F>; 2],
}

/// Rounds all values.
fn factors<F: Factor>(values: &[f32]) -> Vec<F> {
    Arch::new().dispatch(
        #[inline(always)]
        || values.iter().map(|value| F::store(*value)).collect(),
    )
}

impl<'a, F: Factor> Head<'a, F> {
    /// From the rows of queries, keys and values of one tree.
    pub(super) fn new(
        [queries, keys, values]: [&[f32]; 3],
        first: usize,
        size: usize,
        memory: &'a mut Memory<F>,
    ) -> Self {
        let [queries, keys, values] = [queries, keys, values].map(factors);
        Self { queries, keys, values, first, size, scale: 1.0 / (size as f32).sqrt(), memory }
    }

    /// Rows that a block sees.
    fn gather(&self, rows: &[F], block: &Block) -> Vec<F> {
        let mut gathered = Vec::with_capacity(block.columns() * self.size);
        for (_, range) in block.places() {
            gathered.extend_from_slice(
                &rows[(range.start - self.first) * self.size..][..range.len() * self.size],
            );
        }
        gathered
    }

    fn own<'b, T>(&self, rows: &'b [T], block: &Block) -> &'b [T] {
        &rows[(block.rows.start - self.first) * self.size..][..block.rows.len() * self.size]
    }

    /// Output and sums of a block's rows.
    pub(super) fn forward(&mut self, block: &Block, output: &mut [f32], sums: &mut [f32]) {
        let (rows, columns, size) = (block.rows.len(), block.columns(), self.size);
        let keys = self.gather(&self.keys, block);
        let values = self.gather(&self.values, block);
        let mut scores = std::mem::take(&mut self.memory.scores);
        let mut shares = std::mem::take(&mut self.memory.shares);
        scores.resize(rows * columns, 0.0);
        multiply(self.own(&self.queries, block), rows, &Packed::of_words(&keys, size), &mut scores);
        let even = columns.next_multiple_of(F::WORD);
        shares.clear();
        shares.resize(rows * even, F::default());
        let scale = self.scale;
        Arch::new().dispatch(
            #[inline(always)]
            || {
                let both = scores.chunks_exact_mut(columns).zip(shares.chunks_exact_mut(even));
                for ((row, (scores, shares)), total) in block.rows.clone().zip(both).zip(sums.iter_mut()) {
                    let scores = &mut scores[..block.seen(row)];
                    let most = largest(scores) * scale;
                    scores.iter_mut().for_each(
                        #[inline(always)]
                        |score| *score = exp(*score * scale - most),
                    );
                    let weights = sum(
                        scores.len(),
                        #[inline(always)]
                        |index| scores[index],
                    );
                    let share = 1.0 / weights;
                    for (to, score) in shares.iter_mut().zip(scores.iter()) {
                        *to = F::store(*score * share);
                    }
                    *total = most + weights.ln();
                }
            },
        );
        multiply(&shares, rows, &Packed::of_rows(&values, size), output);
        self.memory.scores = scores;
        self.memory.shares = shares;
    }

    /// Adds the gradients of a block's rows to those of the tree's queries, keys and values.
    pub(super) fn backward(
        &mut self,
        block: &Block,
        results: Results<'_>,
        [by_queries, by_keys, by_values]: [&mut [f32]; 3],
    ) {
        let (rows, columns, size, first) = (block.rows.len(), block.columns(), self.size, self.first);
        let keys = self.gather(&self.keys, block);
        let values = self.gather(&self.values, block);
        let place = block.rows.start * size..block.rows.end * size;
        let (output, gradients) = (&results.output[place.clone()], &results.gradient[place]);
        let gradient: Vec<F> = factors(gradients);
        let mut memory = std::mem::take(self.memory);
        memory.scores.resize(rows * columns, 0.0);
        memory.by_shares.resize(rows * columns, 0.0);
        let queries = self.own(&self.queries, block);
        multiply(queries, rows, &Packed::of_words(&keys, size), &mut memory.scores);
        multiply(&gradient, rows, &Packed::of_words(&values, size), &mut memory.by_shares);
        let even = columns.next_multiple_of(F::WORD);
        let tall = rows.next_multiple_of(F::WORD);
        for (buffer, length) in [(&mut memory.shares, rows * even), (&mut memory.turned[0], columns * tall)] {
            buffer.clear();
            buffer.resize(length, F::default());
        }
        memory.turned[1].clear();
        memory.turned[1].resize(columns * tall, F::default());
        let Memory { scores, by_shares, sums, shares: by_scores, turned: [turned_shares, turned_scores] } =
            &mut memory;
        let scale = self.scale;
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (index, row) in block.rows.clone().enumerate() {
                    let at = index * size;
                    let along = sum(
                        size,
                        #[inline(always)]
                        |i| output[at + i] * gradients[at + i],
                    );
                    let total = results.sums[row];
                    let seen = block.seen(row);
                    let scores = &mut scores[index * columns..][..seen];
                    let by_shares = &by_shares[index * columns..][..seen];
                    let by_scores = &mut by_scores[index * even..][..seen];
                    for ((score, by_share), by_score) in
                        scores.iter_mut().zip(by_shares).zip(by_scores.iter_mut())
                    {
                        let share = exp(*score * scale - total);
                        *by_score = F::store(share * (*by_share - along) * scale);
                        *score = share;
                    }
                    for (column, (share, by_score)) in scores.iter().zip(by_scores.iter()).enumerate() {
                        turned_shares[column * tall + index] = F::store(*share);
                        turned_scores[column * tall + index] = *by_score;
                    }
                }
            },
        );
        sums.resize(columns * size, 0.0);
        for (turned, right, target) in
            [(&*turned_shares, &*gradient, by_values), (&*turned_scores, queries, by_keys)]
        {
            multiply(turned, columns, &Packed::of_rows(right, size), sums);
            for (column, range) in block.places() {
                let target = &mut target[(range.start - first) * size..][..range.len() * size];
                let more = &sums[column * size..][..range.len() * size];
                target.iter_mut().zip(more).for_each(|(target, more)| *target += more);
            }
        }
        let own = &mut by_queries[(block.rows.start - first) * size..][..rows * size];
        multiply(by_scores, rows, &Packed::of_rows(&keys, size), own);
        *self.memory = memory;
    }
}
