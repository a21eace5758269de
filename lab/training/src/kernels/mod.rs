//! What a training step computes with, behind one seam.
//!
//! [`Kernels`] are the operations on activations, forward and backward. [`portable::CandleKernels`] is written in
//! candle's own operators and runs on CPUs and GPUs: it is the reference in the tests, and takes any model.
//! [`cpu::CpuKernels`] is made for speed on CPUs: fused passes over memory, and products in bfloat16 where the CPU has
//! instructions for them. `cuda::CudaKernels` is made for speed on GPUs.
//!
//! Shapes: N rows of one pack of tokens. Activations that enter products have the kernels' own type
//! ([`Kernels::dtype`]); residuals and gradients of residuals are single precision. What is split by heads, and what
//! attention makes of it, has whatever type the kernels give it.

pub(crate) mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
#[cfg(test)]
mod emulation;
mod portable;

use std::fmt;
use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Result, Tensor};
use half::bf16;

pub(crate) use portable::CandleKernels;

use crate::optimiser::{Moments, Update};
use crate::pack::Layout;

/// A matrix that rows are multiplied with from the left.
#[derive(Clone, Debug)]
pub(crate) enum Right {
    /// Inputs × outputs; any strides.
    Dense(Tensor),
    /// Blocks of a quantised matrix, outputs × inputs as in the file, or the other way round.
    Blocks {
        /// The blocks.
        weight: Arc<QTensor>,
        /// Whether the product is with the matrix itself and not with its transpose.
        transposed: bool,
    },
    /// Tiles in single precision.
    Packed(Arc<cpu::Packed<f32>>),
    /// Tiles in bfloat16.
    Short(Arc<cpu::Packed<bf16>>),
}

/// A frozen matrix W (outputs × inputs), ready for both directions.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    /// For x · Wᵀ.
    pub(crate) forward: Right,
    /// For dy · W.
    pub(crate) backward: Right,
}

/// One summand of a product: rows of the kernels' type, times a matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term<'a> {
    pub(crate) left: &'a Tensor,
    pub(crate) right: &'a Right,
}

/// Cosines and sines of the rotation of each row: N × half a head.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    pub(crate) cosines: Tensor,
    pub(crate) sines: Tensor,
}

/// Queries, keys and values, heads × N × head size, rotated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads<'a> {
    pub(crate) queries: &'a Tensor,
    pub(crate) keys: &'a Tensor,
    pub(crate) values: &'a Tensor,
}

/// Dropout of one input: a share of the values becomes zero, the others grow in proportion. The same seed always drops
/// the same values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    pub(crate) rate: f32,
    pub(crate) seed: u64,
}

/// The operations of a training step.
pub(crate) trait Kernels: Send + Sync + fmt::Debug {
    /// Where tensors live.
    fn device(&self) -> &Device;

    /// Type of the activations that enter products.
    fn dtype(&self) -> DType;

    /// Makes a frozen matrix ready: `rows` outputs of `columns` inputs, row by row.
    fn freeze(&self, values: Vec<f32>, rows: usize, columns: usize) -> Result<Frozen>;

    /// Makes small matrices that change ready, outputs × inputs of single precision, each times a scale.
    fn prepare(&self, matrices: &[(&Tensor, f32)]) -> Result<Vec<Frozen>>;

    /// Sum of the terms, onto `onto` (single precision) if it is given, as `dtype`.
    fn product(&self, terms: &[Term<'_>], onto: Option<&Tensor>, dtype: DType) -> Result<Tensor>;

    /// leftᵀ · right of rows of the kernels' type, times `scale`, in single precision.
    fn outer(&self, left: &Tensor, right: &Tensor, scale: f32) -> Result<Tensor>;

    /// Single precision to the kernels' type.
    fn cast(&self, x: &Tensor) -> Result<Tensor>;

    /// x / rms(x) · weight for each row of single precision, as `dtype`.
    fn rms_norm(&self, x: &Tensor, weight: &Tensor, epsilon: f32, dtype: DType) -> Result<Tensor>;

    /// Gradient of [`Kernels::rms_norm`] by x, given that of its output in single precision; onto `onto` if given.
    fn rms_norm_backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        epsilon: f32,
        gradient: &Tensor,
        onto: Option<&Tensor>,
    ) -> Result<Tensor>;

    /// N × (heads · size) of single precision to heads × N × size, rotated if a rotation is given.
    fn split_heads(&self, x: &Tensor, heads: usize, rotation: Option<&Rotation>) -> Result<Tensor>;

    /// The inverse of [`Kernels::split_heads`], which is also its gradient, as `dtype`.
    fn merge_heads(&self, x: &Tensor, rotation: Option<&Rotation>, dtype: DType) -> Result<Tensor>;

    /// Attention within the pack's layout, and the logarithm of each row's sum of exponentials (heads × N).
    fn attention(&self, heads: Heads<'_>, layout: &Layout) -> Result<(Tensor, Tensor)>;

    /// Gradients by queries, keys and values, given the output, its sums and its gradient (heads × N × size).
    fn attention_backward(
        &self,
        heads: Heads<'_>,
        layout: &Layout,
        output: &Tensor,
        sums: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Tensor; 3]>;

    /// silu(gate) · up.
    fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor>;

    /// Gradients of [`Kernels::swiglu`] by gate and up.
    fn swiglu_backward(&self, gate: &Tensor, up: &Tensor, gradient: &Tensor) -> Result<[Tensor; 2]>;

    /// The values that are left by dropout. It is linear, so this is its gradient as well.
    fn dropout(&self, x: &Tensor, dropout: Dropout) -> Result<Tensor>;

    /// Cross entropy of each row of logits (single precision) with its target, in nats, and the gradient of their sum
    /// times `scale` by the logits, in the kernels' type.
    fn cross_entropy(&self, logits: &Tensor, targets: &[u32], scale: f32) -> Result<(Tensor, Tensor)>;

    /// Sum of the squares of all numbers of tensors of single precision.
    fn square_sum(&self, tensors: &[&Tensor]) -> Result<f64> {
        let sums = tensors.iter().map(|tensor| tensor.sqr()?.sum_all()).collect::<Result<Vec<_>>>()?;
        if sums.is_empty() {
            return Ok(0.0);
        }
        Ok(Tensor::stack(&sums, 0)?.to_vec1::<f32>()?.iter().map(|&sum| f64::from(sum)).sum())
    }

    /// Parameters after one step of AdamW, and their moments, given each with its gradient and moments.
    fn adamw(
        &self,
        update: Update,
        parameters: &[(&Tensor, &Tensor, &Moments)],
    ) -> Result<Vec<(Tensor, Moments)>> {
        parameters
            .iter()
            .map(|(parameter, gradient, moments)| update.apply(parameter, gradient, moments))
            .collect()
    }
}

/// Value that decides whether dropout leaves the value at an index: uniform over 32 bits.
#[inline(always)]
pub(crate) fn dropout_bits(seed: u64, index: u32) -> u32 {
    let mut x = index ^ (seed as u32);
    x = x.wrapping_mul(0x9e37_79b1) ^ ((seed >> 32) as u32);
    x ^= x >> 16;
    x = x.wrapping_mul(0x85eb_ca6b);
    x ^= x >> 13;
    x = x.wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}

impl Dropout {
    /// Values with smaller bits are dropped.
    pub(crate) fn threshold(self) -> u32 {
        (f64::from(self.rate) * 4_294_967_296.0) as u32
    }

    /// What the others are multiplied with.
    pub(crate) fn growth(self) -> f32 {
        1.0 / (1.0 - self.rate)
    }
}
