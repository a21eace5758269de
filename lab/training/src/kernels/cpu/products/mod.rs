//! Products of rows with a matrix in tiles, in single precision ([`single`]) and with factors in bfloat16 and sums in single
//! precision ([`short`]).
//!
//! The right matrix is packed in tiles of 48 outputs: word by word the numbers of each output side by side, where a word is one input
//! in single precision, and in bfloat16 two, as its instruction takes them. Left rows are read as they lie. One task computes 128 rows
//! and some tiles: a tile (at most some hundred KiB) stays in the second cache while a few rows at a time pass by.
//!
//! Invariant: an output is one chain of sums over the terms and their inputs in order, whatever the number of threads.

mod short;
mod single;

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, bail};
use half::bf16;
use rayon::prelude::*;

use super::rows::Element;
use crate::kernels::Right;

/// Outputs of a lane.
const LANES: usize = 16;
/// Lanes of a tile for each word.
const VECTORS: usize = 3;
/// Outputs of a tile.
const TILE: usize = LANES * VECTORS;
/// Rows of a task.
const BLOCK: usize = 128;
/// Tiles of a task.
const TILES: usize = 8;

/// The words of sixteen outputs.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Lane<W>([W; LANES]);

/// A matrix, inputs × outputs, in tiles.
#[derive(Debug)]
pub(crate) struct Packed<F: Factor> {
    inputs: usize,
    outputs: usize,
    lanes: Vec<Lane<F::Word>>,
}

/// A matrix of single precision with any strides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strided<'a> {
    pub(crate) values: &'a [f32],
    /// Distance of neighbouring inputs and of neighbouring outputs.
    pub(crate) strides: (usize, usize),
}

/// One summand: rows, one after another, and what they are multiplied with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand<'a, F: Factor> {
    pub(crate) left: &'a [F],
    pub(crate) right: &'a Packed<F>,
}

/// A number that products multiply.
pub(crate) trait Factor: Element {
    /// The inputs that a lane holds of one output.
    type Word: Copy + Default + Send + Sync + std::fmt::Debug;
    /// How many they are.
    const WORD: usize;

    /// The word of at most [`Factor::WORD`] inputs; what is missing is zero.
    fn word(inputs: impl Iterator<Item = Self>) -> Self::Word;

    /// Whether this CPU can multiply such numbers.
    fn is_supported() -> bool;

    /// A matrix as the decoder holds it.
    fn right(packed: Arc<Packed<Self>>) -> Right;

    /// The matrix, if it is of this kind.
    fn packed(right: &Right) -> Option<&Packed<Self>>;

    /// Computes the rows of one tile of a product.
    ///
    /// # Safety
    /// The CPU can; every left side has `inputs` values, whole words, for each of the rows, and every right matrix has the tile; rows
    /// and target tile lie inside the target and are this thread's alone.
    unsafe fn multiply<T: Output>(
        operands: &[Operand<'_, Self>],
        rows: Range<usize>,
        tile: usize,
        target_tile: usize,
        target: &Target<'_, T>,
    );
}

/// A type of outputs.
pub(crate) trait Output: Element {
    /// Whether it is bfloat16; single precision otherwise.
    const IS_BF16: bool;
}

impl Output for f32 {
    const IS_BF16: bool = false;
}

impl Output for bf16 {
    const IS_BF16: bool = true;
}

/// Where results go.
#[derive(Debug)]
pub(crate) struct Target<'a, T> {
    place: *mut T,
    /// Outputs of a row.
    outputs: usize,
    onto: Option<&'a [f32]>,
}

// SAFETY: tasks write through the pointer to places that no other task has; see `Factor::multiply`.
unsafe impl<T> Sync for Target<'_, T> {}

impl<F: Factor> Packed<F> {
    /// Packs a matrix, rounded after it is multiplied with `scale`.
    pub(crate) fn new(matrix: Strided<'_>, inputs: usize, outputs: usize, scale: f32) -> Self {
        let words = inputs.div_ceil(F::WORD);
        let mut lanes = vec![Lane::default(); outputs.div_ceil(LANES) * words];
        let (by_input, by_output) = matrix.strides;
        lanes.par_chunks_mut(VECTORS * words).enumerate().for_each(|(tile, lanes)| {
            let vectors = lanes.len() / words;
            for (index, lane) in lanes.iter_mut().enumerate() {
                let (word, vector) = (index / vectors, index % vectors);
                let first = tile * TILE + vector * LANES;
                let columns = first..outputs.min(first + LANES);
                for (place, output) in lane.0.iter_mut().zip(columns) {
                    let inputs = word * F::WORD..inputs.min((word + 1) * F::WORD);
                    *place =
                        F::word(inputs.map(|input| {
                            F::store(matrix.values[input * by_input + output * by_output] * scale)
                        }));
                }
            }
        });
        Self { inputs, outputs, lanes }
    }

    /// Rows of `outputs` values each, one row for each input.
    pub(crate) fn of_rows(values: &[F], outputs: usize) -> Self {
        let inputs = (values.len() / outputs.max(1)).next_multiple_of(F::WORD);
        let mut lanes = Vec::with_capacity(outputs.div_ceil(LANES) * inputs / F::WORD);
        for start in (0..outputs).step_by(TILE) {
            pack_rows(values, outputs, start..outputs.min(start + TILE), &mut lanes);
        }
        Self { inputs, outputs, lanes }
    }

    /// Rows of `inputs` values each, one row for each output; `inputs` is a whole number of words.
    pub(crate) fn of_words(values: &[F], inputs: usize) -> Self {
        let (outputs, words) = (values.len() / inputs.max(1), inputs / F::WORD);
        let mut lanes = vec![Lane::default(); outputs.div_ceil(LANES) * words];
        for (tile, lanes) in lanes.chunks_mut(VECTORS * words).enumerate() {
            let vectors = lanes.len() / words.max(1);
            for (vector, rows) in
                values[tile * TILE * inputs..].chunks(LANES * inputs).take(vectors).enumerate()
            {
                for (index, lane) in lanes[vector..].iter_mut().step_by(vectors).enumerate() {
                    for (place, row) in lane.0.iter_mut().zip(rows.chunks_exact(inputs)) {
                        *place = F::word(row[index * F::WORD..].iter().copied().take(F::WORD));
                    }
                }
            }
        }
        Self { inputs, outputs, lanes }
    }

    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    fn words(&self) -> usize {
        self.inputs.div_ceil(F::WORD)
    }

    fn tiles(&self) -> usize {
        self.outputs.div_ceil(TILE)
    }

    /// Lanes of a tile, as many for each word as the tile has vectors.
    fn tile(&self, tile: usize) -> &[Lane<F::Word>] {
        let begin = tile * VECTORS * self.words();
        &self.lanes[begin..self.lanes.len().min(begin + VECTORS * self.words())]
    }

    /// Whether rows of as many values as `left` has can be multiplied with it.
    fn fits(&self, left: &[F], rows: usize) -> bool {
        self.inputs.is_multiple_of(F::WORD)
            && left.len() == rows * self.inputs
            && self.lanes.len() == self.outputs.div_ceil(LANES) * self.words()
    }
}

/// Sum of the operands, onto `onto` if it is given: `rows` rows of as many outputs as the right matrices have.
pub(crate) fn product<F: Factor, T: Output>(
    operands: &[Operand<'_, F>],
    rows: usize,
    onto: Option<&[f32]>,
) -> Result<Vec<T>> {
    let Some(outputs) = operands.first().map(|operand| operand.right.outputs) else {
        bail!("a product needs a term");
    };
    for Operand { left, right } in operands {
        if !right.fits(left, rows) || right.outputs != outputs {
            let Packed { inputs, outputs: found, .. } = right;
            bail!("{} values cannot be {rows} rows for {inputs} × {found}", left.len());
        }
    }
    if onto.is_some_and(|onto| onto.len() != rows * outputs) {
        bail!("a product of {rows} × {outputs} has no place to be added to");
    }
    supported::<F>()?;
    let mut result = vec![T::default(); rows * outputs];
    let tiles = outputs.div_ceil(TILE);
    let across = tiles.div_ceil(TILES);
    let target = Target { place: result.as_mut_ptr(), outputs, onto };
    (0..rows.div_ceil(BLOCK) * across).into_par_iter().for_each(|task| {
        let (block, group) = (task / across, task % across);
        let block = block * BLOCK..rows.min((block + 1) * BLOCK);
        for tile in group * TILES..tiles.min((group + 1) * TILES) {
            // SAFETY: the CPU can, the operands' shapes were checked above, rows and tile lie inside the result, and no other task has
            // this block of rows and this tile.
            unsafe { F::multiply(operands, block.clone(), tile, tile, &target) }
        }
    });
    Ok(result)
}

/// left · right on this thread alone: `rows` rows into `target`.
///
/// # Panics
/// If the shapes do not fit, or the CPU has no such instructions.
pub(super) fn multiply<F: Factor>(left: &[F], rows: usize, right: &Packed<F>, target: &mut [f32]) {
    assert!(F::is_supported(), "this CPU has no such products");
    assert!(right.fits(left, rows) && target.len() == rows * right.outputs);
    let operand = [Operand { left, right }];
    let target = Target { place: target.as_mut_ptr(), outputs: right.outputs, onto: None };
    for tile in 0..right.tiles() {
        // SAFETY: the CPU can, all shapes were just checked, and the target is borrowed alone.
        unsafe { F::multiply(&operand, 0..rows, tile, tile, &target) }
    }
}

/// leftᵀ · right: `rows` rows of both give a matrix of the left width × the right width.
pub(crate) fn outer<F: Factor>(left: &[F], right: &[F], rows: usize) -> Result<Vec<f32>> {
    let (height, width) = (left.len() / rows.max(1), right.len() / rows.max(1));
    if left.len() != rows * height || right.len() != rows * width || rows == 0 {
        bail!("{} and {} values cannot be {rows} rows", left.len(), right.len());
    }
    supported::<F>()?;
    let padded = rows.next_multiple_of(F::WORD);
    let mut turned = vec![F::default(); height * padded];
    for (row, values) in left.chunks_exact(height).enumerate() {
        for (column, value) in values.iter().enumerate() {
            turned[column * padded + row] = *value;
        }
    }
    let mut result = vec![0.0; height * width];
    let target = Target { place: result.as_mut_ptr(), outputs: width, onto: None };
    (0..width.div_ceil(TILE)).into_par_iter().for_each_init(Vec::new, |lanes, tile| {
        let columns = tile * TILE..width.min((tile + 1) * TILE);
        lanes.clear();
        pack_rows(right, width, columns.clone(), lanes);
        let packed = Packed { inputs: padded, outputs: columns.len(), lanes: std::mem::take(lanes) };
        let operand = [Operand { left: &turned, right: &packed }];
        // SAFETY: as in `product`: `turned` has `height` rows of `padded` inputs, the packed matrix is this tile's alone, and each task
        // has another tile.
        unsafe { F::multiply(&operand, 0..height, 0, tile, &target) }
        *lanes = packed.lanes;
    });
    Ok(result)
}

fn supported<F: Factor>() -> Result<()> {
    if !F::is_supported() {
        bail!("this CPU has no products in {:?}", F::DTYPE);
    }
    Ok(())
}

/// Appends some columns of rows as a tile whose inputs are the rows.
fn pack_rows<F: Factor>(values: &[F], width: usize, columns: Range<usize>, lanes: &mut Vec<Lane<F::Word>>) {
    for rows in values.chunks(F::WORD * width) {
        for start in columns.clone().step_by(LANES) {
            let mut words = rows.chunks_exact(width).map(|row| sixteen(&row[start..columns.end]));
            let first = words.next().unwrap_or_default();
            let second = words.next().unwrap_or_default();
            lanes.push(Lane(std::array::from_fn(|lane| F::word([first[lane], second[lane]].into_iter()))));
        }
    }
}

/// The first sixteen values, or zeros where there are fewer.
#[inline(always)]
fn sixteen<F: Factor>(values: &[F]) -> [F; LANES] {
    match values.first_chunk() {
        // A copy of a known length is two instructions, of another one a call.
        Some(whole) => *whole,
        None => std::array::from_fn(|index| values.get(index).copied().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Numbers that bfloat16 holds exactly.
    fn rounded<F: Factor>(random: &mut Random, count: usize) -> Vec<F> {
        (0..count).map(|_| F::store(bf16::from_f32(random.symmetric()).to_f32())).collect()
    }

    fn wide<F: Factor>(values: &[F]) -> Vec<f32> {
        values.iter().map(|value| value.load()).collect()
    }

    fn products_are_sums_of_products<F: Factor>() {
        if !F::is_supported() {
            return;
        }
        let mut random = Random::new(3);
        for (rows, inputs, outputs) in [(1, 2, 1), (7, 6, 16), (9, 48, 47), (130, 10, 97), (3, 16, 400)] {
            let left: Vec<F> = rounded(&mut random, rows * inputs);
            let more: Vec<F> = rounded(&mut random, rows * 4);
            let right = wide(&rounded::<F>(&mut random, inputs * outputs));
            let other = wide(&rounded::<F>(&mut random, 4 * outputs));
            let onto: Vec<f32> = (0..rows * outputs).map(|_| random.symmetric()).collect();
            // One matrix lies inputs × outputs, the other outputs × inputs.
            let packed = Packed::new(Strided { values: &right, strides: (outputs, 1) }, inputs, outputs, 1.0);
            let also = Packed::new(Strided { values: &other, strides: (1, 4) }, 4, outputs, 2.0);
            let operands = [Operand { left: &left, right: &packed }, Operand { left: &more, right: &also }];
            let found: Vec<f32> = product(&operands, rows, Some(&onto)).unwrap();
            let short: Vec<bf16> = product(&operands, rows, Some(&onto)).unwrap();
            let (left, more) = (wide(&left), wide(&more));
            for row in 0..rows {
                for output in 0..outputs {
                    let mut expected = f64::from(onto[row * outputs + output]);
                    for input in 0..inputs {
                        expected += f64::from(left[row * inputs + input])
                            * f64::from(right[input * outputs + output]);
                    }
                    for input in 0..4 {
                        expected +=
                            f64::from(more[row * 4 + input]) * 2.0 * f64::from(other[output * 4 + input]);
                    }
                    let at = row * outputs + output;
                    assert!((f64::from(found[at]) - expected).abs() < 1e-5, "{rows} {inputs} {outputs}");
                    assert!((short[at].to_f64() - expected).abs() < 0.01 * expected.abs().max(1.0));
                }
            }
        }
    }

    #[test]
    fn products_are_sums_of_products_whatever_their_shape() {
        products_are_sums_of_products::<f32>();
        products_are_sums_of_products::<bf16>();
    }

    fn outer_products_sum<F: Factor>() {
        if !F::is_supported() {
            return;
        }
        let mut random = Random::new(4);
        for (rows, height, width) in [(1, 1, 1), (5, 3, 50), (66, 16, 96)] {
            let left: Vec<F> = rounded(&mut random, rows * height);
            let right: Vec<F> = rounded(&mut random, rows * width);
            let found = outer(&left, &right, rows).unwrap();
            let (left, right) = (wide(&left), wide(&right));
            for i in 0..height {
                for j in 0..width {
                    let factors = (0..rows).map(|row| (left[row * height + i], right[row * width + j]));
                    let expected: f64 = factors.map(|(a, b)| f64::from(a) * f64::from(b)).sum();
                    assert!((f64::from(found[i * width + j]) - expected).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn outer_products_sum_over_rows() {
        outer_products_sum::<f32>();
        outer_products_sum::<bf16>();
    }

    #[test]
    fn a_matrix_is_the_same_however_it_was_packed() {
        let mut random = Random::new(5);
        let (inputs, outputs) = (6, 70);
        let values: Vec<f32> = rounded(&mut random, inputs * outputs);
        let of_rows = Packed::of_rows(&values, outputs);
        let packed = Packed::new(Strided { values: &values, strides: (outputs, 1) }, inputs, outputs, 1.0);
        let turned: Vec<f32> = (0..outputs)
            .flat_map(|o| (0..inputs).map(move |i| (i, o)))
            .map(|(i, o)| values[i * outputs + o])
            .collect();
        let of_words = Packed::of_words(&turned, inputs);
        let lanes = |packed: &Packed<f32>| packed.lanes.iter().map(|lane| lane.0).collect::<Vec<_>>();
        assert_eq!(lanes(&of_rows), lanes(&packed));
        assert_eq!(lanes(&of_words), lanes(&packed));
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let packed = Packed::new(Strided { values: &[0.0; 6], strides: (3, 1) }, 2, 3, 1.0);
        let operand = [Operand { left: &[0.0; 5], right: &packed }];
        assert!(product::<f32, f32>(&operand, 2, None).is_err());
        assert!(product::<f32, f32>(&[], 2, None).is_err());
        assert!(outer(&[0.0_f32; 3], &[0.0; 4], 2).is_err());
    }
}
