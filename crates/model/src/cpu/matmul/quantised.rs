//! Activations as 16-bit integers.

use super::super::simd::{Simd, kernels};
use super::packing::BLOCK;
use crate::memory::Region;

/// Activations, quantised: 16-bit numbers as high and low bytes, and for each block a scale and two sums.
#[derive(Debug, Default)]
pub(crate) struct Quantised {
    pub(super) high: Region<i8>,
    pub(super) low: Region<i8>,
    pub(super) scales: Region<f32>,
    pub(super) corrections: Region<i32>,
    pub(super) sums: Region<f32>,
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
    pub(super) high: *mut i8,
    pub(super) low: *mut i8,
    /// What one step of a block's numbers is worth.
    pub(super) scales: *mut f32,
    /// -128 times the sum of a block's numbers.
    pub(super) corrections: *mut i32,
    /// The sum of a block's numbers times their scale.
    pub(super) sums: *mut f32,
    pub(super) inputs: usize,
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

kernels! {
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
