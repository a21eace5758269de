//! The operations in candle's operators, for any device and any precision of the frozen weights.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{D, DType, Device, Result, Tensor};

use super::{Dropout, Frozen, Heads, Kernels, Right, Rotation, Term, dropout_bits};
use crate::pack::Layout;

/// Kernels of candle's operators.
#[derive(Debug)]
pub(crate) struct CandleKernels {
    device: Device,
    dtype: DType,
    /// Type of the blocks that frozen matrices are held in.
    blocks: Option<GgmlDType>,
}

impl CandleKernels {
    /// Kernels on a device, with activations of a type and frozen matrices of the same type or of blocks.
    pub(crate) fn new(device: Device, dtype: DType, blocks: Option<GgmlDType>) -> Self {
        Self { device, dtype, blocks }
    }

    fn mask(&self, layout: &Layout) -> Result<Tensor> {
        let rows = layout.tokens();
        let mut mask = vec![f32::NEG_INFINITY; rows * rows];
        for (index, segment) in layout.segments().iter().enumerate() {
            for row in segment.rows.clone() {
                for seen in layout.ancestors(index) {
                    mask[row * rows..][layout.segments()[seen].rows.clone()].fill(0.0);
                }
                mask[row * rows..][segment.rows.start..=row].fill(0.0);
            }
        }
        Tensor::from_vec(mask, (1, rows, rows), &self.device)
    }

    /// Probabilities: heads × N × N, with keys repeated for the query heads that share them.
    fn scores(&self, heads: &Heads<'_>, layout: &Layout) -> Result<Tensor> {
        let (count, _, size) = heads.queries.dims3()?;
        let keys = repeat(heads.keys, count)?;
        let scores = (heads.queries.matmul(&keys.t()?)? * (1.0 / (size as f64).sqrt()))?;
        scores.broadcast_add(&self.mask(layout)?)
    }
}

/// Each of some heads several times, up to `count` heads.
fn repeat(heads: &Tensor, count: usize) -> Result<Tensor> {
    let (few, rows, size) = heads.dims3()?;
    let times = count / few;
    heads.unsqueeze(1)?.expand((few, times, rows, size))?.contiguous()?.reshape((count, rows, size))
}

/// Sums over the query heads that share each of `few` heads.
fn gather(heads: &Tensor, few: usize) -> Result<Tensor> {
    let (count, rows, size) = heads.dims3()?;
    heads.reshape((few, count / few, rows, size))?.sum(1)
}

/// Rotates pairs of dimensions half a head apart; backwards if `inverse`.
fn rotate(heads: &Tensor, rotation: &Rotation, inverse: bool) -> Result<Tensor> {
    let half = heads.dim(D::Minus1)? / 2;
    let (first, second) =
        (heads.narrow(D::Minus1, 0, half)?.contiguous()?, heads.narrow(D::Minus1, half, half)?.contiguous()?);
    let cosines = rotation.cosines.unsqueeze(0)?;
    let sines = if inverse { rotation.sines.neg()?.unsqueeze(0)? } else { rotation.sines.unsqueeze(0)? };
    let turned_first = (first.broadcast_mul(&cosines)? - second.broadcast_mul(&sines)?)?;
    let turned_second = (second.broadcast_mul(&cosines)? + first.broadcast_mul(&sines)?)?;
    Tensor::cat(&[turned_first, turned_second], D::Minus1)
}

impl Kernels for CandleKernels {
    fn device(&self) -> &Device {
        &self.device
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn freeze(&self, values: Vec<f32>, rows: usize, columns: usize) -> Result<Frozen> {
        let fits = |dtype: &GgmlDType| columns.is_multiple_of(dtype.block_size());
        let blocks = self.blocks.and_then(|dtype| [dtype, GgmlDType::Q8_0].into_iter().find(fits));
        if let Some(dtype) = blocks {
            let weight = Tensor::from_vec(values, (rows, columns), &Device::Cpu)?;
            let weight = Arc::new(QTensor::quantize_onto(&weight, dtype, &self.device)?);
            return Ok(Frozen {
                forward: Right::Blocks { weight: Arc::clone(&weight), transposed: false },
                backward: Right::Blocks { weight, transposed: true },
            });
        }
        let weight = Tensor::from_vec(values, (rows, columns), &self.device)?.to_dtype(self.dtype)?;
        Ok(Frozen { forward: Right::Dense(weight.t()?), backward: Right::Dense(weight) })
    }

    fn prepare(&self, matrices: &[(&Tensor, f32)]) -> Result<Vec<Frozen>> {
        let ready = |(matrix, scale): &(&Tensor, f32)| {
            let matrix = (*matrix * f64::from(*scale))?.to_dtype(self.dtype)?;
            Ok(Frozen { forward: Right::Dense(matrix.t()?), backward: Right::Dense(matrix) })
        };
        matrices.iter().map(ready).collect()
    }

    fn product(&self, terms: &[Term<'_>], onto: Option<&Tensor>, dtype: DType) -> Result<Tensor> {
        let mut sum = onto.cloned();
        for term in terms {
            let product = match term.right {
                Right::Dense(right) => term.left.matmul(right)?,
                Right::Blocks { weight, transposed } => {
                    let weight = weight.dequantize(&self.device)?.to_dtype(self.dtype)?;
                    term.left.matmul(&if *transposed { weight } else { weight.t()? })?
                }
                Right::Packed(_) | Right::Short(_) => {
                    candle_core::bail!("packed tiles are for the CPU's own kernels")
                }
            };
            let product = product.to_dtype(DType::F32)?;
            sum = Some(match sum {
                Some(sum) => (sum + product)?,
                None => product,
            });
        }
        match sum {
            Some(sum) => sum.to_dtype(dtype),
            None => candle_core::bail!("a product needs a term"),
        }
    }

    fn outer(&self, left: &Tensor, right: &Tensor, scale: f32) -> Result<Tensor> {
        left.t()?.matmul(right)?.to_dtype(DType::F32)? * f64::from(scale)
    }

    fn cast(&self, x: &Tensor) -> Result<Tensor> {
        x.to_dtype(self.dtype)
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor, epsilon: f32, dtype: DType) -> Result<Tensor> {
        let inverse = inverse_rms(x, epsilon)?;
        x.broadcast_mul(&inverse)?.broadcast_mul(weight)?.to_dtype(dtype)
    }

    fn rms_norm_backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        epsilon: f32,
        gradient: &Tensor,
        onto: Option<&Tensor>,
    ) -> Result<Tensor> {
        let inverse = inverse_rms(x, epsilon)?;
        let normal = x.broadcast_mul(&inverse)?;
        let weighted = gradient.broadcast_mul(weight)?;
        let along = (&weighted * &normal)?.mean_keepdim(D::Minus1)?;
        let found = (weighted - normal.broadcast_mul(&along)?)?.broadcast_mul(&inverse)?;
        match onto {
            Some(onto) => found + onto,
            None => Ok(found),
        }
    }

    fn split_heads(&self, x: &Tensor, heads: usize, rotation: Option<&Rotation>) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let split = x.reshape((rows, heads, width / heads))?.transpose(0, 1)?.contiguous()?;
        match rotation {
            Some(rotation) => rotate(&split, rotation, false),
            None => Ok(split),
        }
    }

    fn merge_heads(&self, x: &Tensor, rotation: Option<&Rotation>, dtype: DType) -> Result<Tensor> {
        let (heads, rows, size) = x.dims3()?;
        let turned = match rotation {
            Some(rotation) => rotate(x, rotation, true)?,
            None => x.clone(),
        };
        turned.transpose(0, 1)?.contiguous()?.reshape((rows, heads * size))?.to_dtype(dtype)
    }

    fn attention(&self, heads: Heads<'_>, layout: &Layout) -> Result<(Tensor, Tensor)> {
        let scores = self.scores(&heads, layout)?;
        let sums = scores.log_sum_exp(D::Minus1)?;
        let shares = scores.broadcast_sub(&sums.unsqueeze(D::Minus1)?)?.exp()?;
        let output = shares.matmul(&repeat(heads.values, heads.queries.dim(0)?)?)?;
        Ok((output, sums))
    }

    fn attention_backward(
        &self,
        heads: Heads<'_>,
        layout: &Layout,
        output: &Tensor,
        sums: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Tensor; 3]> {
        let (count, _, size) = heads.queries.dims3()?;
        let few = heads.keys.dim(0)?;
        let scale = 1.0 / (size as f64).sqrt();
        let shares = self.scores(&heads, layout)?.broadcast_sub(&sums.unsqueeze(D::Minus1)?)?.exp()?;
        let by_values = gather(&shares.t()?.matmul(gradient)?, few)?;
        let by_shares = gradient.matmul(&repeat(heads.values, count)?.t()?)?;
        let along = (gradient * output)?.sum_keepdim(D::Minus1)?;
        let by_scores = ((shares * by_shares.broadcast_sub(&along)?)? * scale)?;
        let by_queries = by_scores.matmul(&repeat(heads.keys, count)?)?;
        let by_keys = gather(&by_scores.t()?.matmul(heads.queries)?, few)?;
        Ok([by_queries, by_keys, by_values])
    }

    fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        let (gate, up) = (gate.to_dtype(DType::F32)?, up.to_dtype(DType::F32)?);
        (gate.silu()? * up)?.to_dtype(self.dtype)
    }

    fn swiglu_backward(&self, gate: &Tensor, up: &Tensor, gradient: &Tensor) -> Result<[Tensor; 2]> {
        let (gate, up) = (gate.to_dtype(DType::F32)?, up.to_dtype(DType::F32)?);
        let gradient = gradient.to_dtype(DType::F32)?;
        let sigmoid = (gate.neg()?.exp()? + 1.0)?.recip()?;
        let silu = (&gate * &sigmoid)?;
        // silu' = σ + g σ (1 - σ) = σ + silu - silu σ
        let slope = ((&sigmoid + &silu)? - (&silu * &sigmoid)?)?;
        let by_gate = ((&gradient * up)? * slope)?.to_dtype(self.dtype)?;
        Ok([by_gate, (gradient * silu)?.to_dtype(self.dtype)?])
    }

    fn dropout(&self, x: &Tensor, dropout: Dropout) -> Result<Tensor> {
        let (threshold, growth) = (dropout.threshold(), dropout.growth());
        let kept = |index| if dropout_bits(dropout.seed, index) < threshold { 0.0 } else { growth };
        let mask: Vec<f32> = (0..x.elem_count() as u32).map(kept).collect();
        let mask = Tensor::from_vec(mask, x.shape(), &self.device)?;
        (x.to_dtype(DType::F32)? * mask)?.to_dtype(x.dtype())
    }

    fn cross_entropy(&self, logits: &Tensor, targets: &[u32], scale: f32) -> Result<(Tensor, Tensor)> {
        let sums = logits.log_sum_exp(D::Minus1)?.unsqueeze(1)?;
        let index = Tensor::new(targets, &self.device)?.unsqueeze(1)?;
        let losses = (&sums - logits.gather(&index, 1)?)?.squeeze(1)?;
        let shares = (logits.broadcast_sub(&sums)?.exp()? * f64::from(scale))?;
        let minus = Tensor::full(-scale, index.shape(), &self.device)?;
        let gradient = shares.scatter_add(&index, &minus, 1)?.to_dtype(self.dtype)?;
        Ok((losses, gradient))
    }
}

fn inverse_rms(x: &Tensor, epsilon: f32) -> Result<Tensor> {
    (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(epsilon))?.sqrt()?.recip()
}
