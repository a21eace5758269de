//! Products against sums in double precision, and packing against what it should keep.

use std::sync::Arc;

use half::f16;
use proptest::prelude::*;

use super::*;
use crate::memory::Region;
use crate::testing::Random;
use crate::weights::Levels;

fn pack(packing: Packing, inputs: usize, outputs: usize, weights: &[f32]) -> Matrix {
    let (inputs_padded, outputs_padded) = (inputs.next_multiple_of(BLOCK), outputs.next_multiple_of(TILE));
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
    let mut random = Random::new(7);
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
    let mut random = Random::new(19);
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
    let mut random = Random::new(11);
    let (inputs, outputs) = (96, 64);
    let weights: Vec<f32> = (0..inputs * outputs).map(|_| random.symmetric()).collect();
    let x = activations(&mut random, 27, inputs);
    for packing in [Packing::F32, Packing::Eight, Packing::Four] {
        let matrix = pack(packing, inputs, outputs, &weights);
        for level in Level::available() {
            let together = product(level, &matrix, &x, 27, outputs, Action::Add);
            for row in 0..27 {
                let alone = product(level, &matrix, &x[row * inputs..][..inputs], 1, outputs, Action::Add);
                assert_eq!(alone, together[row * outputs..][..outputs], "row {row}");
            }
        }
    }
}

#[test]
fn gates_are_applied_to_their_channels() {
    let mut random = Random::new(3);
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
            assert!((f64::from(found[row * channels + channel]) - exact).abs() < 1e-5 * (1.0 + exact.abs()));
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
        let mut random = Random::new(seed);
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
