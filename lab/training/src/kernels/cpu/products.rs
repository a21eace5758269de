//! Products in bfloat16 with sums in single precision, by the dot products of AVX-512 BF16.
//!
//! The right matrix is packed in tiles of 48 outputs: for each pair of inputs, the pair's two numbers of each output
//! side by side, as the instruction takes them. Left rows are read as they lie. One task computes 128 rows and some
//! tiles: a tile (at most some hundred KiB) stays in the second cache while eight rows at a time pass by.
//!
//! Invariant: an output is one chain of sums over the terms and their inputs in order, whatever the number of threads.

use candle_core::{Result, bail};
use half::bf16;
use rayon::prelude::*;

/// Outputs of a vector.
const LANES: usize = 16;
/// Vectors of a tile.
const VECTORS: usize = 3;
/// Outputs of a tile.
const TILE: usize = LANES * VECTORS;
/// Rows that meet a tile together.
const ROWS: usize = 8;
/// Rows of a task.
const BLOCK: usize = 128;
/// Tiles of a task.
const TILES: usize = 8;

/// Sixteen pairs of bfloat16.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Lane([u32; LANES]);

/// A matrix, inputs × outputs, in tiles.
#[derive(Debug)]
pub(crate) struct Packed {
    inputs: usize,
    outputs: usize,
    lanes: Vec<Lane>,
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
pub(crate) struct Operand<'a> {
    pub(crate) left: &'a [bf16],
    pub(crate) right: &'a Packed,
}

/// A type of outputs.
pub(crate) trait Output: Copy + Default + Send + Sync {
    /// Whether it is bfloat16; single precision otherwise.
    const IS_BF16: bool;
}

impl Output for f32 {
    const IS_BF16: bool = false;
}

impl Output for bf16 {
    const IS_BF16: bool = true;
}

/// Whether this CPU has the instructions.
pub(crate) fn is_supported() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Two numbers as one pair; the first has the low half.
#[inline(always)]
fn pair(first: bf16, second: bf16) -> u32 {
    u32::from(first.to_bits()) | u32::from(second.to_bits()) << 16
}

impl Packed {
    /// Packs a matrix, rounded to bfloat16 after it is multiplied with `scale`.
    pub(crate) fn new(matrix: Strided<'_>, inputs: usize, outputs: usize, scale: f32) -> Self {
        let pairs = inputs.div_ceil(2);
        let mut lanes = vec![Lane([0; LANES]); outputs.div_ceil(LANES) * pairs];
        let at = |input: usize, output: usize| {
            let (by_input, by_output) = matrix.strides;
            match matrix.values.get(input * by_input + output * by_output) {
                Some(value) if input < inputs && output < outputs => bf16::from_f32(value * scale),
                _ => bf16::ZERO,
            }
        };
        lanes.par_chunks_mut(VECTORS * pairs).enumerate().for_each(|(tile, lanes)| {
            let vectors = lanes.len() / pairs;
            for (index, lane) in lanes.iter_mut().enumerate() {
                let (pair_index, vector) = (index / vectors, index % vectors);
                let first = tile * TILE + vector * LANES;
                for (offset, value) in lane.0.iter_mut().enumerate() {
                    *value = pair(at(2 * pair_index, first + offset), at(2 * pair_index + 1, first + offset));
                }
            }
        });
        Self { inputs, outputs, lanes }
    }

    /// Rows of `outputs` values each, one row for each input.
    pub(crate) fn of_rows(values: &[bf16], outputs: usize) -> Self {
        let inputs = (values.len() / outputs.max(1)).next_multiple_of(2);
        let mut lanes = Vec::with_capacity(outputs.div_ceil(LANES) * inputs / 2);
        for start in (0..outputs).step_by(TILE) {
            pack_rows(values, outputs, start..outputs.min(start + TILE), &mut lanes);
        }
        Self { inputs, outputs, lanes }
    }

    /// Rows of `inputs` values each, one row for each output; `inputs` is even.
    pub(crate) fn of_words(values: &[bf16], inputs: usize) -> Self {
        let (outputs, pairs) = (values.len() / inputs.max(1), inputs / 2);
        let mut lanes = vec![Lane([0; LANES]); outputs.div_ceil(LANES) * pairs];
        for (tile, lanes) in lanes.chunks_mut(VECTORS * pairs).enumerate() {
            let vectors = lanes.len() / pairs.max(1);
            let rows = values[tile * TILE * inputs..].chunks_exact(inputs).take(vectors * LANES);
            for (row, values) in rows.enumerate() {
                let (vector, lane) = (row / LANES, row % LANES);
                for (index, both) in values.as_chunks::<2>().0.iter().enumerate() {
                    lanes[index * vectors + vector].0[lane] = pair(both[0], both[1]);
                }
            }
        }
        Self { inputs, outputs, lanes }
    }

    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    fn pairs(&self) -> usize {
        self.inputs.div_ceil(2)
    }

    fn tiles(&self) -> usize {
        self.outputs.div_ceil(TILE)
    }
}

/// Sum of the operands, onto `onto` if it is given: `rows` rows of as many outputs as the right matrices have.
pub(crate) fn product<T: Output>(
    operands: &[Operand<'_>],
    rows: usize,
    onto: Option<&[f32]>,
) -> Result<Vec<T>> {
    let Some(outputs) = operands.first().map(|operand| operand.right.outputs) else {
        bail!("a product needs a term");
    };
    for operand in operands {
        let Packed { inputs, outputs: found, .. } = operand.right;
        if !inputs.is_multiple_of(2) || operand.left.len() != rows * inputs || *found != outputs {
            bail!("{} values cannot be {rows} rows for {inputs} × {found}", operand.left.len());
        }
    }
    if onto.is_some_and(|onto| onto.len() != rows * outputs) {
        bail!("a product of {rows} × {outputs} has no place to be added to");
    }
    let mut result = vec![T::default(); rows * outputs];
    if !is_supported() {
        bail!("this CPU has no bfloat16 products");
    }
    #[cfg(target_arch = "x86_64")]
    {
        let tiles = outputs.div_ceil(TILE);
        let across = tiles.div_ceil(TILES);
        let target = x86::Target { place: result.as_mut_ptr(), outputs, onto };
        (0..rows.div_ceil(BLOCK) * across).into_par_iter().for_each(|task| {
            let (block, group) = (task / across, task % across);
            let block = block * BLOCK..rows.min((block + 1) * BLOCK);
            for tile in group * TILES..tiles.min((group + 1) * TILES) {
                for row in block.clone().step_by(ROWS) {
                    let strip = row..block.end.min(row + ROWS);
                    // SAFETY: the instructions are there, the operands' shapes were checked above, the strip and the
                    // tile lie inside the result, and no other task has this block of rows and this tile.
                    unsafe { x86::strip::<T>(operands, strip, tile, &target) }
                }
            }
        });
    }
    Ok(result)
}

/// left · right on this thread alone: `rows` rows into `target`.
///
/// # Panics
/// If the shapes do not fit, or the CPU has no such instructions.
pub(super) fn multiply(left: &[bf16], rows: usize, right: &Packed, target: &mut [f32]) {
    assert!(is_supported(), "this CPU has no bfloat16 products");
    assert!(right.inputs.is_multiple_of(2) && left.len() == rows * right.inputs);
    assert!(target.len() == rows * right.outputs);
    assert!(right.lanes.len() == right.outputs.div_ceil(LANES) * right.pairs());
    #[cfg(target_arch = "x86_64")]
    {
        let operand = [Operand { left, right }];
        let target = x86::Target { place: target.as_mut_ptr(), outputs: right.outputs, onto: None };
        for tile in 0..right.tiles() {
            for row in (0..rows).step_by(ROWS) {
                // SAFETY: the instructions are there, all shapes were just checked, and the target is borrowed alone.
                unsafe { x86::strip::<f32>(&operand, row..rows.min(row + ROWS), tile, &target) }
            }
        }
    }
}

/// leftᵀ · right: `rows` rows of both give a matrix of the left width × the right width.
pub(crate) fn outer(left: &[bf16], right: &[bf16], rows: usize) -> Result<Vec<f32>> {
    let (height, width) = (left.len() / rows.max(1), right.len() / rows.max(1));
    if left.len() != rows * height || right.len() != rows * width || rows == 0 {
        bail!("{} and {} values cannot be {rows} rows", left.len(), right.len());
    }
    let padded = rows.next_multiple_of(2);
    let mut turned = vec![bf16::ZERO; height * padded];
    for (row, values) in left.chunks_exact(height).enumerate() {
        for (column, value) in values.iter().enumerate() {
            turned[column * padded + row] = *value;
        }
    }
    let mut result = vec![0.0; height * width];
    if !is_supported() {
        bail!("this CPU has no bfloat16 products");
    }
    #[cfg(target_arch = "x86_64")]
    {
        let target = x86::Target { place: result.as_mut_ptr(), outputs: width, onto: None };
        (0..width.div_ceil(TILE)).into_par_iter().for_each_init(Vec::new, |lanes, tile| {
            let columns = tile * TILE..width.min((tile + 1) * TILE);
            lanes.clear();
            pack_rows(right, width, columns.clone(), lanes);
            let packed = Packed { inputs: padded, outputs: columns.len(), lanes: std::mem::take(lanes) };
            let operand = [Operand { left: &turned, right: &packed }];
            for row in (0..height).step_by(ROWS) {
                // SAFETY: as in `product`: `turned` has `height` rows of `padded` inputs, the packed matrix is this
                // tile's alone, and each task has another tile.
                unsafe { x86::strip_at::<f32>(&operand, row..height.min(row + ROWS), 0, tile, &target) }
            }
            *lanes = packed.lanes;
        });
    }
    Ok(result)
}

/// Appends some columns of rows as a tile whose inputs are the rows.
fn pack_rows(values: &[bf16], width: usize, columns: std::ops::Range<usize>, lanes: &mut Vec<Lane>) {
    let vectors = columns.len().div_ceil(LANES);
    for rows in values.chunks(2 * width) {
        let (first, second) = rows.split_at(width);
        for vector in 0..vectors {
            let from = columns.start + vector * LANES;
            let to = columns.end.min(from + LANES);
            let mut lane = Lane([0; LANES]);
            if second.is_empty() {
                lane.0.iter_mut().zip(&first[from..to]).for_each(|(lane, a)| *lane = pair(*a, bf16::ZERO));
            } else {
                let both = first[from..to].iter().zip(&second[from..to]);
                lane.0.iter_mut().zip(both).for_each(|(lane, (a, b))| *lane = pair(*a, *b));
            }
            lanes.push(lane);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256bh, __m256i, __m512, __m512bh, __m512i, _mm256_mask_storeu_epi16, _mm512_add_ps,
        _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_load_si512, _mm512_mask_storeu_ps,
        _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_setzero_ps,
    };
    use std::mem::transmute;
    use std::ops::Range;

    use super::{LANES, Lane, Operand, Output, ROWS, TILE, VECTORS};

    /// Where results go.
    pub(super) struct Target<'a, T> {
        pub(super) place: *mut T,
        /// Outputs of a row.
        pub(super) outputs: usize,
        pub(super) onto: Option<&'a [f32]>,
    }

    // SAFETY: tasks write through the pointer to places that no other task has; see the callers.
    unsafe impl<T> Sync for Target<'_, T> {}

    /// Computes one tile of a strip of at most eight rows.
    ///
    /// # Safety
    /// The CPU has the instructions; every left side has `inputs` values for each row up to the strip's end; strip and
    /// tile lie inside the target and are this thread's alone.
    pub(super) unsafe fn strip<T: Output>(
        operands: &[Operand<'_>],
        strip: Range<usize>,
        tile: usize,
        target: &Target<'_, T>,
    ) {
        // SAFETY: passed on.
        unsafe { strip_at(operands, strip, tile, tile, target) }
    }

    /// [`strip`] with a tile of the operands that is not the tile of the target.
    ///
    /// # Safety
    /// As for [`strip`].
    pub(super) unsafe fn strip_at<T: Output>(
        operands: &[Operand<'_>],
        strip: Range<usize>,
        tile: usize,
        target_tile: usize,
        target: &Target<'_, T>,
    ) {
        let width = (target.outputs - target_tile * TILE).min(TILE);
        // SAFETY: passed on; the tile has that many vectors.
        unsafe {
            match width.div_ceil(LANES) {
                1 => vectors::<T, 1>(operands, strip, tile, target_tile, target),
                2 => vectors::<T, 2>(operands, strip, tile, target_tile, target),
                _ => vectors::<T, VECTORS>(operands, strip, tile, target_tile, target),
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn vectors<T: Output, const V: usize>(
        operands: &[Operand<'_>],
        strip: Range<usize>,
        tile: usize,
        target_tile: usize,
        target: &Target<'_, T>,
    ) {
        let mut sums = [[_mm512_setzero_ps(); V]; ROWS];
        for operand in operands {
            let pairs = operand.right.pairs();
            debug_assert!(tile < operand.right.tiles());
            // Rows beyond the strip repeat its last one and are not stored.
            let rows: [*const i32; ROWS] = std::array::from_fn(|offset| {
                let row = (strip.start + offset).min(strip.end - 1);
                // SAFETY: the left side has that row; a row is a whole number of pairs.
                unsafe { operand.left.as_ptr().add(row * operand.right.inputs).cast() }
            });
            // SAFETY: all tiles before are whole, and this one has `V` vectors for each pair.
            unsafe {
                let lanes: *const Lane = operand.right.lanes.as_ptr().add(tile * VECTORS * pairs);
                accumulate(rows, lanes, pairs, &mut sums);
            }
        }
        for (sums, row) in sums.into_iter().zip(strip) {
            for (vector, sum) in sums.into_iter().enumerate() {
                let column = target_tile * TILE + vector * LANES;
                let mask = (!0_u16) >> (LANES - (target.outputs - column).min(LANES));
                // SAFETY: masked to the columns that the row has.
                unsafe { store(sum, row * target.outputs + column, mask, target) }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[inline]
    unsafe fn accumulate<const V: usize>(
        rows: [*const i32; ROWS],
        lanes: *const Lane,
        pairs: usize,
        sums: &mut [[__m512; V]; ROWS],
    ) {
        let mut local = *sums;
        for index in 0..pairs {
            let mut right = [_mm512_setzero_ps(); V];
            for (vector, right) in right.iter_mut().enumerate() {
                // SAFETY: the caller's: the tile has `pairs` times `V` vectors, aligned. All bits are valid floats.
                *right = unsafe {
                    transmute::<__m512i, __m512>(_mm512_load_si512(lanes.add(index * V + vector).cast()))
                };
            }
            for (row, sums) in rows.iter().zip(&mut local) {
                // SAFETY: the caller's: each row has `pairs` pairs.
                let left = _mm512_set1_epi32(unsafe { row.add(index).read_unaligned() });
                for (right, sum) in right.iter().zip(sums) {
                    // SAFETY: vectors of the same size; all bits are valid.
                    let (left, right) = unsafe {
                        (transmute::<__m512i, __m512bh>(left), transmute::<__m512, __m512bh>(*right))
                    };
                    *sum = _mm512_dpbf16_ps(*sum, left, right);
                }
            }
        }
        *sums = local;
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[inline]
    unsafe fn store<T: Output>(mut sum: __m512, at: usize, mask: u16, target: &Target<'_, T>) {
        if let Some(onto) = target.onto {
            // SAFETY: it is as long as the target, and the mask keeps to the row.
            sum = _mm512_add_ps(sum, unsafe { _mm512_maskz_loadu_ps(mask, onto.as_ptr().add(at)) });
        }
        // SAFETY: the place is inside the target, whose type is as `IS_BF16` says.
        unsafe {
            let place = target.place.add(at);
            if T::IS_BF16 {
                let short = _mm512_cvtneps_pbh(sum);
                _mm256_mask_storeu_epi16(place.cast(), mask, transmute::<__m256bh, __m256i>(short));
            } else {
                _mm512_mask_storeu_ps(place.cast(), mask, sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn rounded(random: &mut Random, count: usize) -> Vec<bf16> {
        (0..count).map(|_| bf16::from_f32(random.symmetric())).collect()
    }

    #[test]
    fn products_are_sums_of_products_whatever_their_shape() {
        if !is_supported() {
            return;
        }
        let mut random = Random::new(3);
        for (rows, inputs, outputs) in [(1, 2, 1), (7, 6, 16), (9, 48, 47), (130, 10, 97), (3, 16, 400)] {
            let left = rounded(&mut random, rows * inputs);
            let more = rounded(&mut random, rows * 4);
            let right: Vec<f32> = rounded(&mut random, inputs * outputs).iter().map(|x| x.to_f32()).collect();
            let other: Vec<f32> = rounded(&mut random, 4 * outputs).iter().map(|x| x.to_f32()).collect();
            let onto: Vec<f32> = (0..rows * outputs).map(|_| random.symmetric()).collect();
            // One matrix lies inputs × outputs, the other outputs × inputs.
            let packed = Packed::new(Strided { values: &right, strides: (outputs, 1) }, inputs, outputs, 1.0);
            let also = Packed::new(Strided { values: &other, strides: (1, 4) }, 4, outputs, 2.0);
            let operands = [Operand { left: &left, right: &packed }, Operand { left: &more, right: &also }];
            let found: Vec<f32> = product(&operands, rows, Some(&onto)).unwrap();
            let short: Vec<bf16> = product(&operands, rows, Some(&onto)).unwrap();
            for row in 0..rows {
                for output in 0..outputs {
                    let mut expected = f64::from(onto[row * outputs + output]);
                    for input in 0..inputs {
                        expected +=
                            left[row * inputs + input].to_f64() * f64::from(right[input * outputs + output]);
                    }
                    for input in 0..4 {
                        expected +=
                            more[row * 4 + input].to_f64() * 2.0 * f64::from(other[output * 4 + input]);
                    }
                    let at = row * outputs + output;
                    assert!((f64::from(found[at]) - expected).abs() < 1e-5, "{rows} {inputs} {outputs}");
                    assert!((short[at].to_f64() - expected).abs() < 0.01 * expected.abs().max(1.0));
                }
            }
        }
    }

    #[test]
    fn outer_products_sum_over_rows() {
        if !is_supported() {
            return;
        }
        let mut random = Random::new(4);
        for (rows, height, width) in [(1, 1, 1), (5, 3, 50), (66, 16, 96)] {
            let (left, right) = (rounded(&mut random, rows * height), rounded(&mut random, rows * width));
            let found = outer(&left, &right, rows).unwrap();
            for i in 0..height {
                for j in 0..width {
                    let expected: f64 = (0..rows)
                        .map(|row| left[row * height + i].to_f64() * right[row * width + j].to_f64())
                        .sum();
                    assert!((f64::from(found[i * width + j]) - expected).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let packed = Packed::new(Strided { values: &[0.0; 6], strides: (3, 1) }, 2, 3, 1.0);
        let operand = [Operand { left: &[bf16::ZERO; 5], right: &packed }];
        assert!(product::<f32>(&operand, 2, None).is_err());
        assert!(product::<f32>(&[], 2, None).is_err());
        assert!(outer(&[bf16::ZERO; 3], &[bf16::ZERO; 4], 2).is_err());
    }
}
