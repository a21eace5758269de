//! Work on single rows of activations: normalisation, rotation, storing keys and values.

use super::simd::{LANES, Simd, kernels};
use crate::kv::PAGE;

/// Normalisation of rows by their root mean square.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    /// Rows to read.
    pub(crate) from: *const f32,
    /// Rows to write; may be the same.
    pub(crate) to: *mut f32,
    /// Floats of a row, a multiple of 16; those beyond `width` are zero.
    pub(crate) stride: usize,
    /// Values of a row.
    pub(crate) width: usize,
    /// Weights, as many as `stride`; zero beyond `width`.
    pub(crate) weights: *const f32,
    /// Added to the mean square.
    pub(crate) epsilon: f32,
}

// SAFETY: tasks write disjoint rows.
unsafe impl Sync for Norm {}

/// What one row of queries, keys and values goes through before attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotation {
    /// Rows of queries, keys and values, one head after another.
    pub(crate) rows: *mut f32,
    /// Floats between rows.
    pub(crate) stride: usize,
    /// Query heads.
    pub(crate) heads: usize,
    /// Key-value heads.
    pub(crate) kv_heads: usize,
    /// Values of a head.
    pub(crate) head_dim: usize,
    /// Floats of a head in memory, a multiple of 16.
    pub(crate) head_stride: usize,
    /// Bias of a row, or null.
    pub(crate) bias: *const f32,
    /// Weights of the query heads' normalisation, or null.
    pub(crate) query_norm: *const f32,
    /// Weights of the key heads' normalisation, or null.
    pub(crate) key_norm: *const f32,
    /// Added to the mean square of a head.
    pub(crate) epsilon: f32,
    /// Cosines of each position, half a head each.
    pub(crate) cosines: *const f32,
    /// Sines, likewise.
    pub(crate) sines: *const f32,
    /// Position of each row.
    pub(crate) positions: *const usize,
    /// Page of each row's own position.
    pub(crate) pages: *const *mut f32,
    /// Where the layer's tiles start in a page.
    pub(crate) layer_offset: usize,
}

// SAFETY: tasks write disjoint rows and disjoint slots of pages.
unsafe impl Sync for Rotation {}

kernels! {
    /// Normalises rows.
    fn normalise(norm: &Norm, first: usize, last: usize) = normalise_kernel;
    /// Adds biases, normalises heads, rotates queries and keys, scales queries, stores keys and values.
    fn rotate(rotation: &Rotation, first: usize, last: usize) = rotate_kernel;
}

#[inline(always)]
unsafe fn normalise_kernel<S: Simd>(norm: &Norm, first: usize, last: usize) {
    for row in first..last {
        // SAFETY: the caller guarantees the rows.
        unsafe {
            let from = norm.from.add(row * norm.stride);
            let to = norm.to.add(row * norm.stride);
            normalise_row::<S>(from, to, norm.stride, norm.width, norm.weights, norm.epsilon);
        }
    }
}

#[inline(always)]
unsafe fn normalise_row<S: Simd>(
    from: *const f32,
    to: *mut f32,
    stride: usize,
    width: usize,
    weights: *const f32,
    epsilon: f32,
) {
    // SAFETY: the caller guarantees `stride` floats, a multiple of 16, at each pointer.
    unsafe {
        let mut squares = S::splat(0.0);
        let mut at = 0;
        while at < stride {
            let x = S::load(from.add(at));
            squares = S::fma(x, x, squares);
            at += LANES;
        }
        let scale = S::splat(1.0 / (S::sum(squares) / width as f32 + epsilon).sqrt());
        let mut at = 0;
        while at < stride {
            let x = S::mul(S::load(from.add(at)), scale);
            S::store(to.add(at), S::mul(x, S::load(weights.add(at))));
            at += LANES;
        }
    }
}

#[inline(always)]
unsafe fn rotate_kernel<S: Simd>(rotation: &Rotation, first: usize, last: usize) {
    let Rotation { heads, kv_heads, head_dim, head_stride, epsilon, .. } = *rotation;
    let half = head_dim / 2;
    let query_scale = 1.0 / (head_dim as f32).sqrt();
    for row in first..last {
        // SAFETY: the caller guarantees the rows, tables of their positions, and pages with room for this layer.
        unsafe {
            let values = rotation.rows.add(row * rotation.stride);
            let width = (heads + 2 * kv_heads) * head_stride;
            if !rotation.bias.is_null() {
                let mut at = 0;
                while at < width {
                    let sum = S::add(S::load(values.add(at)), S::load(rotation.bias.add(at)));
                    S::store(values.add(at), sum);
                    at += LANES;
                }
            }
            let position = *rotation.positions.add(row);
            let cosines = rotation.cosines.add(position * half);
            let sines = rotation.sines.add(position * half);
            for head in 0..heads + kv_heads {
                let head_values = values.add(head * head_stride);
                let is_query = head < heads;
                let weights = if is_query { rotation.query_norm } else { rotation.key_norm };
                if !weights.is_null() {
                    normalise_row::<S>(head_values, head_values, head_stride, head_dim, weights, epsilon);
                }
                let scale = if is_query { query_scale } else { 1.0 };
                for pair in 0..half {
                    let (a, b) = (*head_values.add(pair), *head_values.add(pair + half));
                    let (cosine, sine) = (*cosines.add(pair), *sines.add(pair));
                    *head_values.add(pair) = (a * cosine - b * sine) * scale;
                    *head_values.add(pair + half) = (b * cosine + a * sine) * scale;
                }
            }
            let slot = position % PAGE;
            let tile = PAGE * head_stride;
            let page = (*rotation.pages.add(row)).add(rotation.layer_offset);
            for head in 0..kv_heads {
                let keys = page.add(2 * head * tile);
                let key = values.add((heads + head) * head_stride);
                for dim in 0..head_stride {
                    *keys.add(dim * PAGE + slot) = *key.add(dim);
                }
                let to = keys.add(tile + slot * head_stride);
                let value = values.add((heads + kv_heads + head) * head_stride);
                std::ptr::copy_nonoverlapping(value, to, head_stride);
            }
        }
    }
}
