//! The operations as this project's own kernels for CPUs.
//!
//! Activations are in single precision, or in bfloat16 where the CPU has products of such numbers (AVX-512 BF16), at about twice the
//! speed.

mod attention;
mod head;
mod products;
mod rows;

use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::Arc;

use candle_core::{DType, Device, Result, Storage, Tensor, bail};
use half::bf16;

use super::{Dropout, Frozen, Heads, Kernels, Rotation, Term, dropout_bits};
use crate::pack::Layout;
use attention::{Results, Sizes};
pub(crate) use products::Packed;
use products::{Factor, Operand, Strided};
use rows::{Element, blocks};

/// Kernels of the CPU.
#[derive(Debug)]
pub(crate) struct CpuKernels {
    dtype: DType,
    device: Device,
}

impl CpuKernels {
    /// Whether products in bfloat16 are possible on this CPU.
    pub(crate) fn has_bf16() -> bool {
        <bf16 as Factor>::is_supported()
    }

    /// Kernels with activations in bfloat16, or in single precision.
    pub(crate) fn new(bf16: bool) -> Self {
        let dtype = if bf16 { DType::BF16 } else { DType::F32 };
        Self { dtype, device: Device::Cpu }
    }

    fn sizes(&self, heads: &Heads<'_>) -> Result<Sizes> {
        let (count, rows, size) = heads.queries.dims3()?;
        Ok(Sizes { heads: count, kv_heads: heads.keys.dim(0)?, rows, size })
    }
}

/// Values of a contiguous tensor on the CPU.
struct View<'a, T> {
    storage: candle_core::StorageRef<'a>,
    range: Range<usize>,
    element: PhantomData<T>,
}

impl<'a, T: Element> View<'a, T> {
    fn new(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a kernel was given a tensor that is not contiguous");
        };
        match &*storage {
            Storage::Cpu(cpu) => {
                cpu.as_slice::<T>()?;
            }
            _ => bail!("a kernel for CPUs was given a tensor on another device"),
        }
        Ok(Self { storage, range: start..end, element: PhantomData })
    }
}

impl<T: Element> Deref for View<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // The type was checked when the view was made.
        match &*self.storage {
            Storage::Cpu(cpu) => cpu.as_slice().map_or(&[], |values: &[T]| &values[self.range.clone()]),
            _ => &[],
        }
    }
}

/// A tensor of values.
fn tensor<T: Element>(values: Vec<T>, shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// Runs code for the one of two types that the tensors have.
macro_rules! typed {
    ($dtype:expr, $type:ident => $work:expr) => {
        match $dtype {
            DType::F32 => {
                type $type = f32;
                $work
            }
            DType::BF16 => {
                type $type = bf16;
                $work
            }
            other => bail!("no kernel computes in {other:?}"),
        }
    };
}

/// A matrix (`rows` outputs of `columns` inputs) times `scale`, in tiles for both directions.
fn packed<F: Factor>(values: &[f32], rows: usize, columns: usize, scale: f32) -> Frozen {
    let pack = |strides, inputs, outputs| {
        F::right(Arc::new(Packed::new(Strided { values, strides }, inputs, outputs, scale)))
    };
    Frozen { forward: pack((1, columns), columns, rows), backward: pack((columns, 1), rows, columns) }
}

/// See [`Kernels::product`].
fn product<F: Factor>(terms: &[Term<'_>], onto: Option<&Tensor>, dtype: DType) -> Result<Tensor> {
    let lefts = terms.iter().map(|term| View::<F>::new(term.left)).collect::<Result<Vec<_>>>()?;
    let mut operands = Vec::new();
    for (left, term) in lefts.iter().zip(terms) {
        let Some(right) = F::packed(term.right) else { bail!("a product needs tiles of the kernels' type") };
        operands.push(Operand { left, right });
    }
    let (Some(term), Some(operand)) = (terms.first(), operands.first()) else {
        bail!("a product needs a term");
    };
    let (rows, outputs) = (term.left.dim(0)?, operand.right.outputs());
    let onto = onto.map(View::<f32>::new).transpose()?;
    typed!(dtype, T => tensor(products::product::<F, T>(&operands, rows, onto.as_deref())?, (rows, outputs)))
}

impl Kernels for CpuKernels {
    fn device(&self) -> &Device {
        &self.device
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn freeze(&self, values: Vec<f32>, rows: usize, columns: usize) -> Result<Frozen> {
        typed!(self.dtype, F => Ok(packed::<F>(&values, rows, columns, 1.0)))
    }

    fn prepare(&self, matrices: &[(&Tensor, f32)]) -> Result<Vec<Frozen>> {
        let ready = |(matrix, scale): &(&Tensor, f32)| {
            let (rows, columns) = matrix.dims2()?;
            let values = View::<f32>::new(matrix)?;
            typed!(self.dtype, F => Ok(packed::<F>(&values, rows, columns, *scale)))
        };
        matrices.iter().map(ready).collect()
    }

    fn product(&self, terms: &[Term<'_>], onto: Option<&Tensor>, dtype: DType) -> Result<Tensor> {
        typed!(self.dtype, F => product::<F>(terms, onto, dtype))
    }

    fn outer(&self, left: &Tensor, right: &Tensor, scale: f32) -> Result<Tensor> {
        let ((rows, height), width) = (left.dims2()?, right.dim(1)?);
        let mut found = typed!(self.dtype, F => {
            products::outer::<F>(&View::new(left)?, &View::new(right)?, rows)?
        });
        found.iter_mut().for_each(|value| *value *= scale);
        tensor(found, (height, width))
    }

    fn cast(&self, x: &Tensor) -> Result<Tensor> {
        match self.dtype {
            DType::F32 => Ok(x.clone()),
            _ => tensor(rows::cast::<bf16>(&View::new(x)?), x.shape()),
        }
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor, epsilon: f32, dtype: DType) -> Result<Tensor> {
        let (values, weights) = (View::new(x)?, View::new(weight)?);
        typed!(dtype, T => tensor(rows::rms_norm::<T>(&values, &weights, epsilon), x.shape()))
    }

    fn rms_norm_backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        epsilon: f32,
        gradient: &Tensor,
        onto: Option<&Tensor>,
    ) -> Result<Tensor> {
        let onto = onto.map(View::new).transpose()?;
        let (values, weights, gradient) = (View::new(x)?, View::new(weight)?, View::new(gradient)?);
        tensor(rows::rms_norm_backward(&values, &weights, epsilon, &gradient, onto.as_deref()), x.shape())
    }

    fn split_heads(&self, x: &Tensor, heads: usize, rotation: Option<&Rotation>) -> Result<Tensor> {
        let (count, width) = x.dims2()?;
        let size = width / heads;
        let values = View::<f32>::new(x)?;
        let tables = rotation.map(Tables::new).transpose()?;
        let mut output = vec![0.0; count * width];
        // Blocks must not reach over the end of a head, so a head is one block where rows do not divide.
        let rows = if count.is_multiple_of(rows::BLOCK) { rows::BLOCK } else { count };
        rayon_chunks(&mut output, rows * size, |block, target| {
            let (head, first) = (block * rows / count, block * rows % count);
            for (index, target) in target.chunks_exact_mut(size).enumerate() {
                let row = first + index;
                let from = &values[row * width + head * size..][..size];
                match &tables {
                    Some(tables) => tables.turn(row, from, target, 1.0),
                    None => target.copy_from_slice(from),
                }
            }
        });
        tensor(output, (heads, count, size))
    }

    fn merge_heads(&self, x: &Tensor, rotation: Option<&Rotation>, dtype: DType) -> Result<Tensor> {
        let (heads, count, size) = x.dims3()?;
        let values = View::<f32>::new(x)?;
        let tables = rotation.map(Tables::new).transpose()?;
        let width = heads * size;
        typed!(dtype, T => {
            let mut output = vec![T::default(); count * width];
            rayon_chunks(&mut output, rows::BLOCK * width, |block, target| {
                let mut turned = vec![0.0; size];
                for (index, target) in target.chunks_exact_mut(width).enumerate() {
                    let row = block * rows::BLOCK + index;
                    for (head, target) in target.chunks_exact_mut(size).enumerate() {
                        let from = &values[(head * count + row) * size..][..size];
                        match &tables {
                            Some(tables) => tables.turn(row, from, &mut turned, -1.0),
                            None => turned.copy_from_slice(from),
                        }
                        target.iter_mut().zip(&turned).for_each(|(target, value)| *target = T::store(*value));
                    }
                }
            });
            tensor(output, (count, width))
        })
    }

    fn attention(&self, heads: Heads<'_>, layout: &Layout) -> Result<(Tensor, Tensor)> {
        let sizes = self.sizes(&heads)?;
        let [queries, keys, values] = views(&heads)?;
        let (output, sums) = typed!(self.dtype, F => {
            attention::forward::<F>(&queries, &keys, &values, sizes, layout)
        });
        Ok((tensor(output, (sizes.heads, sizes.rows, sizes.size))?, tensor(sums, (sizes.heads, sizes.rows))?))
    }

    fn attention_backward(
        &self,
        heads: Heads<'_>,
        layout: &Layout,
        output: &Tensor,
        sums: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Tensor; 3]> {
        let sizes = self.sizes(&heads)?;
        let [queries, keys, values] = views(&heads)?;
        let (output, sums, gradient) = (View::new(output)?, View::new(sums)?, View::new(gradient)?);
        let results = Results { output: &output, sums: &sums, gradient: &gradient };
        let [q, k, v] = typed!(self.dtype, F => {
            attention::backward::<F>(&queries, &keys, &values, results, sizes, layout)
        });
        let Sizes { heads, kv_heads, rows, size, .. } = sizes;
        Ok([
            tensor(q, (heads, rows, size))?,
            tensor(k, (kv_heads, rows, size))?,
            tensor(v, (kv_heads, rows, size))?,
        ])
    }

    fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        typed!(self.dtype, T => {
            tensor(rows::swiglu::<T>(&View::new(gate)?, &View::new(up)?), gate.shape())
        })
    }

    fn swiglu_backward(&self, gate: &Tensor, up: &Tensor, gradient: &Tensor) -> Result<[Tensor; 2]> {
        typed!(self.dtype, T => {
            let (gates, ups, gradients) = (View::new(gate)?, View::new(up)?, View::new(gradient)?);
            let [by_gate, by_up] = rows::swiglu_backward::<T>(&gates, &ups, &gradients);
            Ok([tensor(by_gate, gate.shape())?, tensor(by_up, gate.shape())?])
        })
    }

    fn dropout(&self, x: &Tensor, dropout: Dropout) -> Result<Tensor> {
        let (threshold, growth) = (dropout.threshold(), dropout.growth());
        typed!(x.dtype(), T => {
            let values = View::<T>::new(x)?;
            let mut output = vec![T::default(); values.len()];
            blocks(&mut output, 512, #[inline(always)] |first, target| {
                let at = first * 512;
                let from = &values[at..][..target.len()];
                for (index, (target, value)) in target.iter_mut().zip(from).enumerate() {
                    let kept = dropout_bits(dropout.seed, (at + index) as u32) >= threshold;
                    *target = T::store(if kept { value.load() * growth } else { 0.0 });
                }
            });
            tensor(output, x.shape())
        })
    }

    fn cross_entropy(&self, logits: &Tensor, targets: &[u32], scale: f32) -> Result<(Tensor, Tensor)> {
        let (count, width) = logits.dims2()?;
        if targets.len() != count || targets.iter().any(|&target| target as usize >= width) {
            bail!("{} targets do not fit {count} × {width} logits", targets.len());
        }
        let logits = View::<f32>::new(logits)?;
        typed!(self.dtype, T => {
            let (losses, gradient) = rows::cross_entropy::<T>(&logits, targets, width, scale);
            Ok((tensor(losses, count)?, tensor(gradient, (count, width))?))
        })
    }
}

/// Runs `work` on chunks of the output in parallel, with the chunk's number.
fn rayon_chunks<T: Send>(output: &mut [T], size: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    use rayon::prelude::*;
    let arch = pulp::Arch::new();
    output.par_chunks_mut(size).enumerate().for_each(|(index, chunk)| {
        arch.dispatch(
            #[inline(always)]
            || work(index, chunk),
        );
    });
}

/// A rotation's tables.
struct Tables<'a> {
    cosines: View<'a, f32>,
    sines: View<'a, f32>,
}

impl<'a> Tables<'a> {
    fn new(rotation: &'a Rotation) -> Result<Self> {
        Ok(Self { cosines: View::new(&rotation.cosines)?, sines: View::new(&rotation.sines)? })
    }

    /// Rotates one row of one head; `sign` -1 rotates back.
    #[inline(always)]
    fn turn(&self, row: usize, from: &[f32], target: &mut [f32], sign: f32) {
        let half = from.len() / 2;
        let (cosines, sines) = (&self.cosines[row * half..][..half], &self.sines[row * half..][..half]);
        let (first, second) = from.split_at(half);
        let (target_first, target_second) = target.split_at_mut(half);
        for index in 0..half {
            let (cosine, sine) = (cosines[index], sign * sines[index]);
            target_first[index] = first[index] * cosine - second[index] * sine;
            target_second[index] = second[index] * cosine + first[index] * sine;
        }
    }
}

fn views<'a>(heads: &Heads<'a>) -> Result<[View<'a, f32>; 3]> {
    Ok([View::new(heads.queries)?, View::new(heads.keys)?, View::new(heads.values)?])
}
