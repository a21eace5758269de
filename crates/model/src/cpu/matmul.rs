//! Products of rows of activations and packed matrices.
//!
//! A matrix is packed in tiles of 32 outputs, and a tile is one contiguous stream, so that a product with one row
//! is limited by memory bandwidth only. See [`Packing`] for what a tile holds.
//!
//! Activations meet packed weights as 16-bit integers with one scale for each block of 32, in two dot products of
//! bytes: with eight bits alone, a small model's likeliest token would differ at one position of twenty. Weights are
//! the unsigned factor of a dot product. What makes up for their offset, or adds their minimum, depends on the sum of
//! the block's activations: known once a row and block, and no memory is spent on it beside the weights.
//!
//! Invariant: the value of (row, output) is a chain of fused multiply-adds over the blocks in order, whatever the
//! number of rows, the tile they fall into and the instruction level.

use std::sync::Arc;

use half::f16;

use super::pool::Pool;
use super::simd::{LANES, Level, Simd, kernels};
use crate::memory::Region;
use crate::weights::Levels;

/// Inputs that share a scale; the number of inputs is padded to a multiple.
pub(crate) const BLOCK: usize = 32;
/// Outputs of a tile; the number of outputs is padded to a multiple.
pub(crate) const TILE: usize = 32;

/// How weights are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// 32 floats for each input.
    F32,
    /// For each block of 32 inputs: eight times (4 inputs × 32 outputs) bytes, each a weight plus 128, then 32
    /// half-precision scales.
    Eight,
    /// For each block: four times (4 inputs × 32 outputs) bytes, each with one of 16 levels in its low half and in its
    /// high half that of the input 16 further on, then 32 half-precision scales and 32 half-precision minima. A weight
    /// is its level times the scale plus the minimum: just what a file of four-bit blocks says.
    Four,
}

impl Packing {
    /// Bytes of a block of a tile, or of one input in single precision.
    const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4 * TILE,
            Self::Eight => BLOCK * TILE + 2 * TILE,
            Self::Four => BLOCK * TILE / 2 + 4 * TILE,
        }
    }

    /// Bytes of a tile with that many inputs (padded).
    pub(crate) fn tile_bytes(self, inputs: usize) -> usize {
        match self {
            Self::F32 => inputs * self.block_bytes(),
            Self::Eight | Self::Four => inputs / BLOCK * self.block_bytes(),
        }
    }
}

/// A packed matrix.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    weights: Arc<Region<u8>>,
    start: usize,
    packing: Packing,
    /// Inputs, padded.
    pub(crate) inputs: usize,
    /// Outputs, padded.
    pub(crate) outputs: usize,
}

impl Matrix {
    /// A matrix packed at `start` of a region by [`pack_tile`] or [`pack_levels`].
    pub(crate) fn new(
        weights: Arc<Region<u8>>,
        start: usize,
        packing: Packing,
        inputs: usize,
        outputs: usize,
    ) -> Self {
        let matrix = Self { weights, start, packing, inputs, outputs };
        assert!(inputs.is_multiple_of(BLOCK) && outputs.is_multiple_of(TILE));
        assert!(matrix.weights.len() - start >= outputs / TILE * packing.tile_bytes(inputs));
        matrix
    }

    /// How the weights are packed.
    pub(crate) fn packing(&self) -> Packing {
        self.packing
    }

    /// Writes the weights of one output, as they are used, to `out`.
    pub(crate) fn unpack(&self, output: usize, out: &mut [f32]) {
        let tile_bytes = self.packing.tile_bytes(self.inputs);
        let (tile, lane) = (output / TILE, output % TILE);
        let tile = &self.weights[self.start + tile * tile_bytes..][..tile_bytes];
        match self.packing {
            Packing::F32 => {
                for (value, column) in out.iter_mut().zip(tile.as_chunks::<{ 4 * TILE }>().0) {
                    *value = f32::from_le_bytes(column.as_chunks().0[lane]);
                }
            }
            Packing::Eight => {
                let blocks = tile.chunks_exact(self.packing.block_bytes());
                for (values, block) in out.chunks_mut(BLOCK).zip(blocks) {
                    let (bytes, scales) = block.split_at(BLOCK * TILE);
                    let scale = f16::from_le_bytes(scales.as_chunks().0[lane]).to_f32();
                    for (index, value) in values.iter_mut().enumerate() {
                        let byte = bytes[index / 4 * 4 * TILE + lane * 4 + index % 4];
                        *value = f32::from(byte.wrapping_sub(128) as i8) * scale;
                    }
                }
            }
            Packing::Four => {
                let blocks = tile.chunks_exact(self.packing.block_bytes());
                for (values, block) in out.chunks_mut(BLOCK).zip(blocks) {
                    let (bytes, numbers) = block.split_at(BLOCK * TILE / 2);
                    let numbers = numbers.as_chunks().0;
                    let scale = f16::from_le_bytes(numbers[lane]).to_f32();
                    let minimum = f16::from_le_bytes(numbers[TILE + lane]).to_f32();
                    for (index, value) in values.iter_mut().enumerate() {
                        let byte = bytes[index % 16 / 4 * 4 * TILE + lane * 4 + index % 4];
                        *value = f32::from(if index < 16 { byte & 15 } else { byte >> 4 }) * scale + minimum;
                    }
                }
            }
        }
    }
}

/// Packs a tile in single precision or eight bits: `rows` has 32 rows of `inputs` weights, one row for each output.
pub(crate) fn pack_tile(packing: Packing, inputs: usize, rows: &[f32], out: &mut [u8]) {
    if packing == Packing::F32 {
        for (input, column) in out.as_chunks_mut::<{ 4 * TILE }>().0.iter_mut().enumerate() {
            for (lane, word) in column.as_chunks_mut().0.iter_mut().enumerate() {
                *word = rows[lane * inputs + input].to_le_bytes();
            }
        }
        return;
    }
    for (index, block) in out.chunks_exact_mut(Packing::Eight.block_bytes()).enumerate() {
        let (bytes, scales) = block.split_at_mut(BLOCK * TILE);
        for (lane, scale) in scales.as_chunks_mut().0.iter_mut().enumerate() {
            let values = &rows[lane * inputs + index * BLOCK..][..BLOCK];
            *scale = quantise_weights(values, |at, byte| {
                bytes[at / 4 * 4 * TILE + lane * 4 + at % 4] = (byte as u8).wrapping_add(128);
            })
            .to_le_bytes();
        }
    }
}

/// Packs a tile in four bits: `rows` has 32 rows of `inputs / 32` blocks.
pub(crate) fn pack_levels(inputs: usize, rows: &[Levels], out: &mut [u8]) {
    let blocks = inputs / BLOCK;
    for (index, block) in out.chunks_exact_mut(Packing::Four.block_bytes()).enumerate() {
        let (bytes, numbers) = block.split_at_mut(BLOCK * TILE / 2);
        let (scales, minima) = numbers.split_at_mut(2 * TILE);
        let numbers = scales.as_chunks_mut().0.iter_mut().zip(minima.as_chunks_mut().0);
        for (lane, (scale, minimum)) in numbers.enumerate() {
            let weights = &rows[lane * blocks + index];
            *scale = weights.scale.to_le_bytes();
            *minimum = weights.minimum.to_le_bytes();
            let (low, high) = weights.levels.split_at(BLOCK / 2);
            for (at, (low, high)) in low.iter().zip(high).enumerate() {
                bytes[at / 4 * 4 * TILE + lane * 4 + at % 4] = low | high << 4;
            }
        }
    }
}

/// Quantises a block of weights to bytes in -127..=127 and gives the scale. A block of Q8_0 keeps its very values.
fn quantise_weights(values: &[f32], mut store: impl FnMut(usize, i8)) -> f16 {
    let largest = values
        .iter()
        .fold(0.0_f32, |largest, value| if value.abs() <= largest { largest } else { value.abs() });
    let mut scale = f16::from_f32(largest / 127.0);
    if scale.to_f32() < largest / 127.0 * (1.0 - 1.0 / 1024.0) && scale.is_finite() {
        // Tiny scales are coarse. Rounded down, the largest weight would not fit.
        scale = f16::from_bits(scale.to_bits() + 1);
    }
    let step = scale.to_f32();
    for (at, value) in values.iter().enumerate() {
        // Adding and taking away a number whose last bit is one rounds to whole numbers, ties to even.
        const ROUND: f32 = 12_582_912.0;
        let byte = if step > 0.0 { ((value / step).clamp(-127.0, 127.0) + ROUND - ROUND) as i8 } else { 0 };
        store(at, byte);
    }
    scale
}

/// Activations, quantised: 16-bit numbers as high and low bytes, and for each block a scale and two sums.
#[derive(Debug, Default)]
pub(crate) struct Quantised {
    high: Region<i8>,
    low: Region<i8>,
    scales: Region<f32>,
    corrections: Region<i32>,
    sums: Region<f32>,
}

impl Quantised {
    /// Makes room for rows of at most `inputs` values.
    pub(crate) fn prepare(&mut self, rows: usize, inputs: usize) {
        self.high.grow(rows * inputs);
        self.low.grow(rows * inputs);
        self.scales.grow(rows * inputs / BLOCK);
        self.corrections.grow(rows * inputs / BLOCK);
        self.sums.grow(rows * inputs / BLOCK);
    }

    /// Where rows of `inputs` values, no more than there is room for, are written and read.
    pub(crate) fn view(&mut self, inputs: usize) -> QuantisedView {
        QuantisedView {
            high: self.high.as_mut_ptr(),
            low: self.low.as_mut_ptr(),
            scales: self.scales.as_mut_ptr(),
            corrections: self.corrections.as_mut_ptr(),
            sums: self.sums.as_mut_ptr(),
            inputs,
        }
    }
}

/// Pointers into [`Quantised`], which outlives it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuantisedView {
    high: *mut i8,
    low: *mut i8,
    /// What one step of a block's numbers is worth.
    scales: *mut f32,
    /// -128 times the sum of a block's numbers.
    corrections: *mut i32,
    /// The sum of a block's numbers times their scale.
    sums: *mut f32,
    inputs: usize,
}

// SAFETY: the pointers are used by tasks of one phase, which write disjoint rows or only read.
unsafe impl Send for QuantisedView {}
// SAFETY: as above.
unsafe impl Sync for QuantisedView {}

/// Largest quantised activation: 127 times 256.
const LARGEST: f32 = 32_512.0;

#[inline(always)]
unsafe fn quantise_row<S: Simd>(from: *const f32, to: QuantisedView, row: usize) {
    let blocks = to.inputs / BLOCK;
    for block in 0..blocks {
        let at = row * blocks + block;
        // SAFETY: the block lies in the row, and the caller guarantees the rest.
        unsafe {
            let source = from.add(block * BLOCK);
            let high = to.high.add(row * to.inputs + block * BLOCK);
            let low = to.low.add(row * to.inputs + block * BLOCK);
            let magnitude = S::magnitude(source);
            let largest = f32::from_bits(magnitude);
            let is_finite = magnitude < f32::INFINITY.to_bits();
            if is_finite && largest >= 1e-30 {
                let [high_sum, low_sum] = S::to_bytes(source, LARGEST / largest, high, low);
                let (sum, scale) = (256 * high_sum + low_sum, largest / LARGEST);
                *to.scales.add(at) = scale;
                *to.corrections.add(at) = -128 * sum;
                *to.sums.add(at) = scale * sum as f32;
            } else {
                // An infinity or a NaN spoils its own row and shows in the result.
                let value = if is_finite { 0.0 } else { f32::NAN };
                high.write_bytes(0, BLOCK);
                low.write_bytes(0, BLOCK);
                *to.scales.add(at) = value;
                *to.corrections.add(at) = 0;
                *to.sums.add(at) = value;
            }
        }
    }
}

/// Activations of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input {
    /// For weights of eight or four bits.
    Quantised(QuantisedView),
    /// For weights in single precision: rows of as many floats as the matrix has inputs.
    Floats(*const f32),
}

/// What becomes of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is stored.
    Set,
    /// It is added to what is there.
    Add,
    /// Of each 32 outputs the first 16 are gates of the other 16: stored are 16 values `up * gate / (1 + e^-gate)`.
    SwiGlu,
}

/// Where the result goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// First row.
    pub(crate) to: *mut f32,
    /// Floats between rows.
    pub(crate) stride: usize,
    /// Floats of a row; outputs beyond are dropped.
    pub(crate) columns: usize,
    /// What is done with it.
    pub(crate) action: Action,
}

#[derive(Clone, Copy)]
struct Job {
    packing: Packing,
    weights: *const u8,
    inputs: usize,
    input: Input,
    output: Output,
}

// SAFETY: tasks read the inputs and write disjoint parts of the output.
unsafe impl Sync for Job {}

/// Multiplies `rows` rows by a matrix.
///
/// # Safety
/// The input has `rows` rows of `matrix.inputs` values in the form that the matrix's packing needs, the output
/// `rows` rows; the CPU has the level.
pub(crate) unsafe fn multiply(
    pool: &Pool,
    level: Level,
    matrix: &Matrix,
    rows: usize,
    input: Input,
    output: Output,
) {
    // SAFETY: `Matrix::new` checked that the tiles lie in the region.
    let weights = unsafe { matrix.weights.as_ptr().add(matrix.start) };
    let job = Job { packing: matrix.packing, weights, inputs: matrix.inputs, input, output };
    let bytes = matrix.packing.tile_bytes(matrix.inputs);
    let tiles = matrix.outputs / TILE;
    // With more threads than there are tiles to go round, rows are shared out as well.
    let shares = (4 * pool.threads()).div_ceil(tiles).min(rows.div_ceil(8)).max(1);
    let chunk = (tiles / (16 * pool.threads())).clamp(1, 4);
    let chunks = tiles.div_ceil(chunk);
    pool.run(chunks * shares, &|task, _| {
        // The whole job is captured, not its pointers one by one.
        let job = &job;
        let (chunk_index, share) = (task / shares, task % shares);
        let (first, last) = (rows * share / shares, rows * (share + 1) / shares);
        for tile in chunk_index * chunk..((chunk_index + 1) * chunk).min(tiles) {
            // SAFETY: the tile lies in the matrix, the rows are the caller's, and no other task has both.
            unsafe {
                let weights = job.weights.add(tile * bytes);
                multiply_tile(
                    level,
                    job.packing,
                    weights,
                    job.inputs,
                    job.input,
                    job.output,
                    tile,
                    first,
                    last,
                );
            }
        }
    });
}

kernels! {
    /// Multiplies rows by one tile.
    fn multiply_tile(
        packing: Packing, weights: *const u8, inputs: usize, input: Input, output: Output, tile: usize, first: usize, last: usize,
    ) = tile_kernel;
    /// Quantises rows.
    fn quantise(from: *const f32, stride: usize, to: QuantisedView, first: usize, last: usize) = quantise_kernel;
}

#[inline(always)]
unsafe fn quantise_kernel<S: Simd>(
    from: *const f32,
    stride: usize,
    to: QuantisedView,
    first: usize,
    last: usize,
) {
    for row in first..last {
        // SAFETY: the caller guarantees the rows.
        unsafe { quantise_row::<S>(from.add(row * stride), to, row) };
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "kernels take pointers and strides")]
unsafe fn tile_kernel<S: Simd>(
    packing: Packing,
    weights: *const u8,
    inputs: usize,
    input: Input,
    output: Output,
    tile: usize,
    first: usize,
    last: usize,
) {
    let most = if S::WIDE { 6 } else { 2 };
    let mut row = first;
    while row < last {
        // Sub-tiles of nearly equal height: seven rows are four and three, not six and one.
        let left = last - row;
        let height = left.div_ceil(left.div_ceil(most));
        // SAFETY: the caller guarantees the tile and the rows.
        unsafe {
            match height {
                1 => rows_kernel::<S, 1>(packing, weights, inputs, input, output, tile, row),
                2 => rows_kernel::<S, 2>(packing, weights, inputs, input, output, tile, row),
                3 => rows_kernel::<S, 3>(packing, weights, inputs, input, output, tile, row),
                4 => rows_kernel::<S, 4>(packing, weights, inputs, input, output, tile, row),
                5 => rows_kernel::<S, 5>(packing, weights, inputs, input, output, tile, row),
                _ => rows_kernel::<S, 6>(packing, weights, inputs, input, output, tile, row),
            }
        }
        row += height;
    }
}

#[inline(always)]
unsafe fn rows_kernel<S: Simd, const R: usize>(
    packing: Packing,
    weights: *const u8,
    inputs: usize,
    input: Input,
    output: Output,
    tile: usize,
    row: usize,
) {
    // SAFETY: the caller guarantees the tile and R rows from `row` on.
    unsafe {
        let sums = match input {
            Input::Quantised(view) if packing == Packing::Four => {
                four_kernel::<S, R>(weights, inputs, view, row)
            }
            Input::Quantised(view) => eight_kernel::<S, R>(weights, inputs, view, row),
            Input::Floats(from) => f32_kernel::<S, R>(weights, inputs, from, row),
        };
        for r in 0..R {
            let [a, b] = sums[r];
            let to = output.to.add((row + r) * output.stride);
            match output.action {
                Action::SwiGlu => {
                    let one = S::splat(1.0);
                    let gate = S::div(a, S::add(one, S::exp(S::sub(S::splat(0.0), a))));
                    put::<S>(to, tile * LANES, output.columns, S::mul(gate, b), false);
                }
                action => {
                    put::<S>(to, tile * TILE, output.columns, a, action == Action::Add);
                    put::<S>(to, tile * TILE + LANES, output.columns, b, action == Action::Add);
                }
            }
        }
    }
}

/// Stores 16 values at a column of a row, as far as the row goes.
#[inline(always)]
unsafe fn put<S: Simd>(to: *mut f32, column: usize, columns: usize, value: S::F, add: bool) {
    // SAFETY: no column at or beyond `columns` is touched.
    unsafe {
        let at = to.add(column);
        if column + LANES <= columns {
            S::store(at, if add { S::add(S::load(at), value) } else { value });
        } else {
            let mut lanes = [0.0_f32; LANES];
            S::store(lanes.as_mut_ptr(), value);
            for lane in 0..columns.saturating_sub(column) {
                *at.add(lane) = if add { *at.add(lane) + lanes[lane] } else { lanes[lane] };
            }
        }
    }
}

/// With one row the stream of weights crosses pages faster than the hardware's own prefetching follows.
#[inline(always)]
unsafe fn prefetch<S: Simd, const R: usize>(block: *const u8, bytes: usize) {
    const AHEAD: usize = 4096;
    if R == 1 {
        let mut line = 0;
        while line < bytes {
            // SAFETY: a prefetch reads nothing.
            unsafe { S::prefetch(block.wrapping_add(AHEAD + line)) };
            line += 64;
        }
    }
}

/// Four activations' bytes.
#[inline(always)]
unsafe fn quad(bytes: *const i8, view: QuantisedView, row: usize, input: usize) -> i32 {
    // SAFETY: the caller guarantees the row, and `input` to be a multiple of 4 within it.
    unsafe { bytes.add(row * view.inputs + input).cast::<i32>().read_unaligned() }
}

#[inline(always)]
unsafe fn eight_kernel<S: Simd, const R: usize>(
    weights: *const u8,
    inputs: usize,
    view: QuantisedView,
    row: usize,
) -> [[S::F; 2]; R] {
    let blocks = inputs / BLOCK;
    // SAFETY: the caller guarantees a tile of `blocks` blocks and R rows of `inputs` activations.
    unsafe {
        let mut sums = [[S::splat(0.0); 2]; R];
        for block in 0..blocks {
            let tile = weights.add(block * Packing::Eight.block_bytes());
            prefetch::<S, R>(tile, Packing::Eight.block_bytes());
            let mut dots = [[S::zero(); 2]; R];
            for step in 0..BLOCK / 4 {
                let a = S::load_weights(tile.add(step * 4 * TILE));
                let b = S::load_weights(tile.add(step * 4 * TILE + 64));
                for r in 0..R {
                    let activations = quad(view.high, view, row + r, block * BLOCK + 4 * step);
                    dots[r][0] = S::dot(dots[r][0], a, activations);
                    dots[r][1] = S::dot(dots[r][1], b, activations);
                }
            }
            for r in 0..R {
                let correction = *view.corrections.add((row + r) * blocks + block);
                dots[r][0] = S::correct(S::times_256(dots[r][0]), correction);
                dots[r][1] = S::correct(S::times_256(dots[r][1]), correction);
            }
            for step in 0..BLOCK / 4 {
                let a = S::load_weights(tile.add(step * 4 * TILE));
                let b = S::load_weights(tile.add(step * 4 * TILE + 64));
                for r in 0..R {
                    let activations = quad(view.low, view, row + r, block * BLOCK + 4 * step);
                    dots[r][0] = S::dot(dots[r][0], a, activations);
                    dots[r][1] = S::dot(dots[r][1], b, activations);
                }
            }
            let scales = tile.add(BLOCK * TILE).cast::<u16>();
            let (a, b) = (S::load_half(scales), S::load_half(scales.add(LANES)));
            for r in 0..R {
                let scale = S::splat(*view.scales.add((row + r) * blocks + block));
                sums[r][0] = S::fma(S::to_float(dots[r][0]), S::mul(a, scale), sums[r][0]);
                sums[r][1] = S::fma(S::to_float(dots[r][1]), S::mul(b, scale), sums[r][1]);
            }
        }
        sums
    }
}

#[inline(always)]
unsafe fn four_kernel<S: Simd, const R: usize>(
    weights: *const u8,
    inputs: usize,
    view: QuantisedView,
    row: usize,
) -> [[S::F; 2]; R] {
    let blocks = inputs / BLOCK;
    // SAFETY: the caller guarantees a tile of `blocks` blocks and R rows of `inputs` activations.
    unsafe {
        let mut sums = [[S::splat(0.0); 2]; R];
        for block in 0..blocks {
            let tile = weights.add(block * Packing::Four.block_bytes());
            prefetch::<S, R>(tile, Packing::Four.block_bytes());
            let mut dots = [[S::zero(); 2]; R];
            for pass in 0..2 {
                let bytes = if pass == 0 { view.high } else { view.low };
                for step in 0..BLOCK / 8 {
                    let a = S::load_halves(tile.add(step * 4 * TILE));
                    let b = S::load_halves(tile.add(step * 4 * TILE + 64));
                    for r in 0..R {
                        let first = quad(bytes, view, row + r, block * BLOCK + 4 * step);
                        let second = quad(bytes, view, row + r, block * BLOCK + BLOCK / 2 + 4 * step);
                        dots[r][0] = S::dot_small(S::dot_small(dots[r][0], a[0], first), a[1], second);
                        dots[r][1] = S::dot_small(S::dot_small(dots[r][1], b[0], first), b[1], second);
                    }
                }
                if pass == 0 {
                    for r in 0..R {
                        dots[r] = [S::times_256(dots[r][0]), S::times_256(dots[r][1])];
                    }
                }
            }
            let numbers = tile.add(BLOCK * TILE / 2).cast::<u16>();
            let scales = [S::load_half(numbers), S::load_half(numbers.add(LANES))];
            let minima = [S::load_half(numbers.add(TILE)), S::load_half(numbers.add(TILE + LANES))];
            for r in 0..R {
                let at = (row + r) * blocks + block;
                let (scale, sum) = (S::splat(*view.scales.add(at)), S::splat(*view.sums.add(at)));
                for c in 0..2 {
                    let partial = S::fma(S::to_float(dots[r][c]), S::mul(scales[c], scale), sums[r][c]);
                    sums[r][c] = S::fma(minima[c], sum, partial);
                }
            }
        }
        sums
    }
}

#[inline(always)]
unsafe fn f32_kernel<S: Simd, const R: usize>(
    weights: *const u8,
    inputs: usize,
    from: *const f32,
    row: usize,
) -> [[S::F; 2]; R] {
    // SAFETY: the caller guarantees a tile of `inputs` inputs and R rows of as many activations.
    unsafe {
        let mut sums = [[S::splat(0.0); 2]; R];
        for input in 0..inputs {
            let column = weights.cast::<f32>().add(input * TILE);
            let (a, b) = (S::load(column), S::load(column.add(LANES)));
            for r in 0..R {
                let x = S::splat(*from.add((row + r) * inputs + input));
                sums[r][0] = S::fma(x, a, sums[r][0]);
                sums[r][1] = S::fma(x, b, sums[r][1]);
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Random;

    fn pack(packing: Packing, inputs: usize, outputs: usize, weights: &[f32]) -> Matrix {
        let (inputs_padded, outputs_padded) =
            (inputs.next_multiple_of(BLOCK), outputs.next_multiple_of(TILE));
        let mut rows = vec![0.0; inputs_padded * outputs_padded];
        for (output, row) in weights.chunks(inputs).enumerate() {
            rows[output * inputs_padded..][..inputs].copy_from_slice(row);
        }
        let bytes = packing.tile_bytes(inputs_padded);
        let mut region = Region::zeroed(outputs_padded / TILE * bytes);
        for (out, rows) in region.chunks_mut(bytes).zip(rows.chunks(TILE * inputs_padded)) {
            if packing == Packing::Four {
                pack_levels(inputs_padded, &levels(rows), out);
            } else {
                pack_tile(packing, inputs_padded, rows, out);
            }
        }
        Matrix::new(Arc::new(region), 0, packing, inputs_padded, outputs_padded)
    }

    /// Blocks of 16 levels between the least and the greatest weight.
    fn levels(weights: &[f32]) -> Vec<Levels> {
        let block = |block: &[f32]| {
            let least = block.iter().copied().fold(f32::INFINITY, f32::min);
            let greatest = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let (scale, minimum) = (f16::from_f32((greatest - least) / 15.0), f16::from_f32(least));
            let mut levels = [0; BLOCK];
            for (level, value) in levels.iter_mut().zip(block) {
                *level = ((value - least) / scale.to_f32().max(1e-9)).round().clamp(0.0, 15.0) as u8;
            }
            Levels { scale, minimum, levels }
        };
        weights.chunks(BLOCK).map(block).collect()
    }

    /// The weights as they are packed.
    fn unpacked(matrix: &Matrix, outputs: usize) -> Vec<f32> {
        let mut out = vec![0.0; outputs * matrix.inputs];
        for (output, row) in out.chunks_mut(matrix.inputs).enumerate() {
            matrix.unpack(output, row);
        }
        out
    }

    /// Multiplies, with activations quantised as a Q8_0 matrix needs them.
    fn product(
        level: Level,
        matrix: &Matrix,
        x: &[f32],
        rows: usize,
        columns: usize,
        action: Action,
    ) -> Vec<f32> {
        let pool = Pool::new(&[]);
        let mut out = vec![0.5; rows * columns];
        let mut quantised = Quantised::default();
        quantised.prepare(rows, matrix.inputs);
        let input = match matrix.packing() {
            Packing::F32 => Input::Floats(x.as_ptr()),
            _ => {
                let view = quantised.view(matrix.inputs);
                // SAFETY: `x` has the rows.
                unsafe { quantise(level, x.as_ptr(), matrix.inputs, view, 0, rows) };
                Input::Quantised(view)
            }
        };
        let output = Output { to: out.as_mut_ptr(), stride: columns, columns, action };
        // SAFETY: input and output have the rows; the level is available.
        unsafe { multiply(&pool, level, matrix, rows, input, output) };
        out
    }

    /// Rows of activations, padded like the matrix.
    fn activations(random: &mut Random, rows: usize, inputs: usize) -> Vec<f32> {
        let padded = inputs.next_multiple_of(BLOCK);
        let mut x = vec![0.0; rows * padded];
        for row in x.chunks_mut(padded) {
            row[..inputs].iter_mut().for_each(|value| *value = random.symmetric());
        }
        x
    }

    #[test]
    fn products_agree_with_sums_in_double_precision_at_every_level() {
        let mut random = Random(7);
        for (rows, inputs, outputs) in [(1, 32, 32), (2, 40, 33), (3, 64, 100), (7, 96, 31), (13, 577, 65)] {
            let weights: Vec<f32> = (0..inputs * outputs).map(|_| random.symmetric()).collect();
            let x = activations(&mut random, rows, inputs);
            for packing in [Packing::F32, Packing::Eight, Packing::Four] {
                let matrix = pack(packing, inputs, outputs, &weights);
                let weights = unpacked(&matrix, outputs);
                let mut first: Option<Vec<f32>> = None;
                for level in Level::available() {
                    let found = product(level, &matrix, &x, rows, outputs, Action::Set);
                    for row in 0..rows {
                        for output in 0..outputs {
                            let x = &x[row * matrix.inputs..][..matrix.inputs];
                            let weights = &weights[output * matrix.inputs..][..matrix.inputs];
                            let exact: f64 =
                                x.iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                            let error = (f64::from(found[row * outputs + output]) - exact).abs();
                            let tolerance = 2e-5 * (inputs as f64).sqrt();
                            assert!(error < tolerance, "{level:?} {packing:?} {row} {output}: {error}");
                        }
                    }
                    let first = first.get_or_insert_with(|| found.clone());
                    assert!(first.iter().zip(&found).all(|(a, b)| a.to_bits() == b.to_bits()), "{level:?}");
                }
            }
        }
    }

    #[test]
    fn four_bit_blocks_are_kept_as_they_are() {
        let mut random = Random(19);
        let (inputs, outputs) = (96_usize, 40_usize);
        let rows: Vec<Levels> = (0..inputs / BLOCK * outputs.next_multiple_of(TILE))
            .map(|_| Levels {
                scale: f16::from_f32(random.symmetric()),
                minimum: f16::from_f32(random.symmetric()),
                levels: std::array::from_fn(|_| random.below(16) as u8),
            })
            .collect();
        let bytes = Packing::Four.tile_bytes(inputs);
        let mut region = Region::zeroed(2 * bytes);
        for (out, rows) in region.chunks_mut(bytes).zip(rows.chunks(TILE * inputs / BLOCK)) {
            pack_levels(inputs, rows, out);
        }
        let matrix = Matrix::new(Arc::new(region), 0, Packing::Four, inputs, 64);
        let found = unpacked(&matrix, outputs);
        for (block, found) in rows.iter().zip(found.chunks(BLOCK)) {
            for (level, found) in block.levels.iter().zip(found) {
                assert_eq!(*found, f32::from(*level) * block.scale.to_f32() + block.minimum.to_f32());
            }
        }
    }

    #[test]
    fn a_row_has_the_same_product_alone_as_among_others() {
        let mut random = Random(11);
        let (inputs, outputs) = (96, 64);
        let weights: Vec<f32> = (0..inputs * outputs).map(|_| random.symmetric()).collect();
        let x = activations(&mut random, 27, inputs);
        for packing in [Packing::F32, Packing::Eight, Packing::Four] {
            let matrix = pack(packing, inputs, outputs, &weights);
            for level in Level::available() {
                let together = product(level, &matrix, &x, 27, outputs, Action::Add);
                for row in 0..27 {
                    let alone =
                        product(level, &matrix, &x[row * inputs..][..inputs], 1, outputs, Action::Add);
                    assert_eq!(alone, together[row * outputs..][..outputs], "row {row}");
                }
            }
        }
    }

    #[test]
    fn gates_are_applied_to_their_channels() {
        let mut random = Random(3);
        let (inputs, channels) = (32, 32);
        let weights: Vec<f32> = (0..inputs * 2 * channels).map(|_| random.symmetric()).collect();
        let x = activations(&mut random, 5, inputs);
        let matrix = pack(Packing::F32, inputs, 2 * channels, &weights);
        let sums = product(Level::detect(), &matrix, &x, 5, 2 * channels, Action::Set);
        let found = product(Level::detect(), &matrix, &x, 5, channels, Action::SwiGlu);
        for row in 0..5 {
            for channel in 0..channels {
                let at = row * 2 * channels + channel / LANES * TILE + channel % LANES;
                let (gate, up) = (f64::from(sums[at]), f64::from(sums[at + LANES]));
                let exact = up * gate / (1.0 + (-gate).exp());
                assert!(
                    (f64::from(found[row * channels + channel]) - exact).abs() < 1e-5 * (1.0 + exact.abs())
                );
            }
        }
    }

    #[test]
    fn an_infinity_or_a_nan_shows_in_its_own_row_only() {
        let weights: Vec<f32> = (0..32 * 32).map(|at| at as f32 / 1024.0).collect();
        let matrix = pack(Packing::Eight, 32, 32, &weights);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![0.25; 3 * 32];
            x[40] = bad;
            for level in Level::available() {
                let found = product(level, &matrix, &x, 3, 32, Action::Set);
                assert!(found[..32].iter().chain(&found[64..]).all(|value| value.is_finite()));
                assert!(found[32..64].iter().all(|value| value.is_nan()));
            }
        }
    }

    proptest! {
        #[test]
        fn packing_keeps_weights_to_half_a_step(seed: u64, scale in -12..6_i32, outputs in 1..70_usize) {
            let mut random = Random(seed);
            let factor = 2.0_f32.powi(scale);
            let weights: Vec<f32> = (0..64 * outputs).map(|_| random.symmetric() * factor).collect();
            for format in [Packing::F32, Packing::Eight] {
                let matrix = pack(format, 64, outputs, &weights);
                let mut row = vec![0.0; 64];
                for output in 0..outputs {
                    matrix.unpack(output, &mut row);
                    for (block, exact) in row.chunks(BLOCK).zip(weights[output * 64..].chunks(BLOCK)) {
                        let largest = exact.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
                        let step = if format == Packing::F32 { 0.0 } else { largest / 127.0 };
                        for (found, exact) in block.iter().zip(exact) {
                            // Half a step, and what rounding the step to half precision adds to the largest.
                            prop_assert!((found - exact).abs() <= step * 0.57 + largest * 1e-3 * step.signum());
                        }
                    }
                }
                // What was packed once is packed the same again.
                let again: Vec<f32> = (0..outputs)
                    .flat_map(|output| {
                        matrix.unpack(output, &mut row);
                        row.clone()
                    })
                    .collect();
                let repacked = pack(format, 64, outputs, &again);
                if scale > -5 {
                    prop_assert_eq!(&repacked.weights[..], &matrix.weights[..]);
                }
            }
        }

        #[test]
        fn quantising_agrees_at_every_level(values in prop::collection::vec(prop_oneof![
            5 => -100.0..100.0_f32, 1 => any::<f32>(), 1 => -1e-38..1e-38_f32,
        ], 64)) {
            let mut expected = None;
            for level in Level::available() {
                let mut quantised = Quantised::default();
                quantised.prepare(1, 64);
                // SAFETY: there are 64 values.
                unsafe { quantise(level, values.as_ptr(), 64, quantised.view(64), 0, 1) };
                let bits = |values: &[f32]| values[..2].iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                for (at, value) in values.iter().enumerate() {
                    let (scale, high, low) = (quantised.scales[at / BLOCK], quantised.high[at], quantised.low[at]);
                    prop_assert!(high >= -127 && low >= -127);
                    if scale.is_finite() {
                        let number = 256.0 * f32::from(high) + f32::from(low);
                        // Half a step for rounding, another where the low byte was cut to -127.
                        prop_assert!((number * scale - value).abs() <= scale * 1.51 + 1e-30, "{} {}", value, number);
                    }
                }
                let found = (
                    quantised.high[..64].to_vec(),
                    quantised.low[..64].to_vec(),
                    quantised.corrections[..2].to_vec(),
                    bits(&quantised.scales),
                    bits(&quantised.sums),
                );
                prop_assert_eq!(expected.get_or_insert_with(|| found.clone()), &found);
            }
        }
    }
}
