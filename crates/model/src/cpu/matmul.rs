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

mod packing;
mod quantised;
#[cfg(test)]
mod tests;

pub(crate) use packing::{BLOCK, Matrix, Packing, TILE, pack_levels, pack_tile};
pub(crate) use quantised::{Quantised, QuantisedView, quantise};

use super::pool::Pool;
use super::simd::{LANES, Level, Simd, kernels};

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
    let job = Job { packing: matrix.packing(), weights, inputs: matrix.inputs, input, output };
    let bytes = matrix.packing().tile_bytes(matrix.inputs);
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
