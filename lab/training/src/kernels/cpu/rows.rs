//! Passes over rows, each value read and written once, in vectors as wide as the CPU has them.

use half::bf16;
use pulp::Arch;
use rayon::prelude::*;

/// Rows of a task.
pub(super) const BLOCK: usize = 32;
const LANES: usize = 16;

/// A number in memory.
pub(crate) trait Element: candle_core::WithDType + Default {
    fn load(self) -> f32;
    fn store(value: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn load(self) -> f32 {
        self
    }

    #[inline(always)]
    fn store(value: f32) -> Self {
        value
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn load(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    /// Rounds to the nearest, ties to even. Without a branch, so that it becomes vectors; infinities and quiet NaNs
    /// stay what they are.
    #[inline(always)]
    fn store(value: f32) -> Self {
        let bits = value.to_bits();
        Self::from_bits((bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16)
    }
}

/// Runs `work` for each block of rows of the output, with the block's first row.
pub(super) fn blocks<T: Send>(output: &mut [T], width: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let arch = Arch::new();
    output.par_chunks_mut(BLOCK * width).enumerate().for_each(|(block, rows)| {
        arch.dispatch(
            #[inline(always)]
            || work(block * BLOCK, rows),
        );
    });
}

/// e^x to about one unit in the last place, between e^-87 and e^88.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    // Rounds to a whole number, which then stands in the low bits.
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let value = p * r * r + r + 1.0;
    let power = shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127) << 23;
    value * f32::from_bits(power)
}

/// Sum of `value` over all indices, in sixteen chains.
#[inline(always)]
pub(super) fn sum(count: usize, value: impl Fn(usize) -> f32) -> f32 {
    let mut chains = [0.0_f32; LANES];
    let whole = count / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, chain) in chains.iter_mut().enumerate() {
            *chain += value(start + lane);
        }
    }
    let mut total = 0.0;
    for index in whole..count {
        total += value(index);
    }
    chains.iter().fold(total, |total, chain| total + chain)
}

/// Largest of some values; minus infinity if there is none.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    let mut chains = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for chunk in whole {
        for (chain, value) in chains.iter_mut().zip(chunk) {
            *chain = if *value > *chain { *value } else { *chain };
        }
    }
    rest.iter().chain(&chains).fold(f32::NEG_INFINITY, |most, value| most.max(*value))
}

#[inline(always)]
fn inverse_rms(row: &[f32], epsilon: f32) -> f32 {
    1.0 / (sum(
        row.len(),
        #[inline(always)]
        |index| row[index] * row[index],
    ) / row.len() as f32
        + epsilon)
        .sqrt()
}

/// See [`super::super::Kernels::rms_norm`].
pub(super) fn rms_norm<T: Element>(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<T> {
    let width = weight.len();
    let mut output = vec![T::default(); x.len()];
    blocks(
        &mut output,
        width,
        #[inline(always)]
        |first, rows| {
            for (index, out) in rows.chunks_exact_mut(width).enumerate() {
                let row = &x[(first + index) * width..][..width];
                let inverse = inverse_rms(row, epsilon);
                for ((out, x), weight) in out.iter_mut().zip(row).zip(weight) {
                    *out = T::store(x * inverse * weight);
                }
            }
        },
    );
    output
}

/// See [`super::super::Kernels::rms_norm_backward`].
pub(super) fn rms_norm_backward(
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    gradient: &[f32],
    onto: Option<&[f32]>,
) -> Vec<f32> {
    let width = weight.len();
    let mut output = onto.map_or_else(|| vec![0.0; x.len()], <[f32]>::to_vec);
    blocks(
        &mut output,
        width,
        #[inline(always)]
        |first, rows| {
            for (index, out) in rows.chunks_exact_mut(width).enumerate() {
                let at = (first + index) * width;
                let (row, gradient) = (&x[at..][..width], &gradient[at..][..width]);
                let inverse = inverse_rms(row, epsilon);
                let along = sum(
                    width,
                    #[inline(always)]
                    |i| gradient[i] * weight[i] * row[i],
                );
                let along = along * inverse * inverse * inverse / width as f32;
                for i in 0..width {
                    out[i] += gradient[i] * weight[i] * inverse - row[i] * along;
                }
            }
        },
    );
    output
}

/// Single precision to another type.
pub(super) fn cast<T: Element>(x: &[f32]) -> Vec<T> {
    let mut output = vec![T::default(); x.len()];
    blocks(
        &mut output,
        512,
        #[inline(always)]
        |first, rows| {
            let from = &x[first * 512..][..rows.len()];
            rows.iter_mut().zip(from).for_each(
                #[inline(always)]
                |(out, x)| *out = T::store(*x),
            );
        },
    );
    output
}

/// silu(gate) · up.
pub(super) fn swiglu<T: Element>(gate: &[T], up: &[T]) -> Vec<T> {
    let mut output = vec![T::default(); gate.len()];
    blocks(
        &mut output,
        512,
        #[inline(always)]
        |first, rows| {
            let at = first * 512;
            let (gate, up) = (&gate[at..][..rows.len()], &up[at..][..rows.len()]);
            for ((out, gate), up) in rows.iter_mut().zip(gate).zip(up) {
                let gate = gate.load();
                *out = T::store(gate / (1.0 + exp(-gate)) * up.load());
            }
        },
    );
    output
}

/// Gradients of [`swiglu`] by gate and up, side by side for blocks of 512.
pub(super) fn swiglu_backward<T: Element>(gate: &[T], up: &[T], gradient: &[T]) -> [Vec<T>; 2] {
    let mut by_gate = vec![T::default(); gate.len()];
    let mut by_up = vec![T::default(); gate.len()];
    let arch = Arch::new();
    let size = 512 * BLOCK;
    by_gate.par_chunks_mut(size).zip(by_up.par_chunks_mut(size)).enumerate().for_each(
        |(block, (by_gate, by_up))| {
            arch.dispatch(
                #[inline(always)]
                || {
                    let at = block * size;
                    let inputs = gate[at..].iter().zip(&up[at..]).zip(&gradient[at..]);
                    for ((by_gate, by_up), ((gate, up), gradient)) in
                        by_gate.iter_mut().zip(by_up).zip(inputs)
                    {
                        let (gate, up, gradient) = (gate.load(), up.load(), gradient.load());
                        let sigmoid = 1.0 / (1.0 + exp(-gate));
                        let silu = gate * sigmoid;
                        *by_gate = T::store(gradient * up * (sigmoid + silu - silu * sigmoid));
                        *by_up = T::store(gradient * silu);
                    }
                },
            );
        },
    );
    [by_gate, by_up]
}

/// See [`super::super::Kernels::cross_entropy`].
pub(super) fn cross_entropy<T: Element>(
    logits: &[f32],
    targets: &[u32],
    width: usize,
    scale: f32,
) -> (Vec<f32>, Vec<T>) {
    let mut losses = vec![0.0; targets.len()];
    let mut gradient = vec![T::default(); logits.len()];
    let arch = Arch::new();
    let rows = gradient.par_chunks_exact_mut(width).zip(logits.par_chunks_exact(width));
    rows.zip(&mut losses).zip(targets).for_each(|(((gradient, logits), loss), target)| {
        arch.dispatch(
            #[inline(always)]
            || {
                let target = *target as usize;
                let most = largest(logits);
                let total = sum(
                    width,
                    #[inline(always)]
                    |index| exp(logits[index] - most),
                );
                *loss = most + total.ln() - logits[target];
                let share = scale / total;
                for (gradient, logit) in gradient.iter_mut().zip(logits) {
                    *gradient = T::store(exp(*logit - most) * share);
                }
                gradient[target] = T::store(exp(logits[target] - most) * share - scale);
            },
        );
    });
    (losses, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_that_of_the_library() {
        for index in -8700..=8800 {
            let x = index as f32 / 100.0;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 3e-7, "{x}: {found} {expected}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn rounding_is_to_the_nearest() {
        for value in [0.0, 1.0, -1.5, 1.003_906_2, 1.011_718_8, 3e38, f32::INFINITY, 1e-40, 0.1] {
            assert_eq!(<bf16 as Element>::store(value), bf16::from_f32(value), "{value}");
        }
        assert!(<bf16 as Element>::store(f32::NAN).is_nan());
    }
}
