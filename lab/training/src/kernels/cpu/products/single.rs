//! Products in single precision, in vectors as wide as the CPU has them.

use std::ops::Range;
use std::sync::Arc;

use pulp::{Arch, Simd, WithSimd};

use super::{Factor, LANES, Lane, Operand, Output, Packed, TILE, Target};
use crate::kernels::Right;

impl Factor for f32 {
    type Word = f32;
    const WORD: usize = 1;

    #[inline(always)]
    fn word(mut inputs: impl Iterator<Item = Self>) -> f32 {
        inputs.next().unwrap_or(0.0)
    }

    fn is_supported() -> bool {
        true
    }

    fn right(packed: Arc<Packed<Self>>) -> Right {
        Right::Packed(packed)
    }

    fn packed(right: &Right) -> Option<&Packed<Self>> {
        match right {
            Right::Packed(packed) => Some(packed),
            _ => None,
        }
    }

    unsafe fn multiply<T: Output>(
        operands: &[Operand<'_, Self>],
        rows: Range<usize>,
        tile: usize,
        target_tile: usize,
        target: &Target<'_, T>,
    ) {
        Arch::new().dispatch(Tile { operands, rows, tile, target_tile, target });
    }
}

/// Some rows of one tile of a product.
struct Tile<'a, T> {
    operands: &'a [Operand<'a, f32>],
    rows: Range<usize>,
    tile: usize,
    target_tile: usize,
    target: &'a Target<'a, T>,
}

impl<T: Output> WithSimd for Tile<'_, T> {
    type Output = ();

    /// As many rows together as leave registers for a vector of the tile and a number of the left side.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = (self.target.outputs - self.target_tile * TILE).min(TILE);
        match (S::F32_LANES, width.div_ceil(LANES)) {
            (16, 1) => self.rows::<S, 8, 1, 1>(simd),
            (16, 2) => self.rows::<S, 8, 2, 1>(simd),
            (16, _) => self.rows::<S, 8, 3, 1>(simd),
            (8, 1) => self.rows::<S, 4, 2, 2>(simd),
            (8, 2) => self.rows::<S, 3, 4, 2>(simd),
            (8, _) => self.rows::<S, 2, 6, 2>(simd),
            (4, 1) => self.rows::<S, 4, 4, 4>(simd),
            (4, 2) => self.rows::<S, 2, 8, 4>(simd),
            (4, _) => self.rows::<S, 2, 12, 4>(simd),
            (_, 1) => self.rows::<S, 1, 16, 16>(simd),
            (_, 2) => self.rows::<S, 1, 32, 16>(simd),
            (_, _) => self.rows::<S, 1, 48, 16>(simd),
        }
    }
}

impl<T: Output> Tile<'_, T> {
    /// With `R` rows at a time and `V` vectors, `P` of which are a lane of the tile.
    #[inline(always)]
    fn rows<S: Simd, const R: usize, const V: usize, const P: usize>(self, simd: S) {
        assert_eq!(S::F32_LANES * P, LANES, "vectors of this width are not of these tiles");
        for start in self.rows.clone().step_by(R) {
            let strip = start..self.rows.end.min(start + R);
            let mut sums = [[simd.splat_f32s(0.0); V]; R];
            for Operand { left, right } in self.operands {
                // Rows beyond the strip repeat its last one and are not stored.
                let rows: [&[f32]; R] = std::array::from_fn(|offset| {
                    let row = (strip.start + offset).min(strip.end - 1);
                    &left[row * right.inputs..][..right.inputs]
                });
                sums = accumulate::<S, R, V, P>(simd, rows, right.tile(self.tile), sums);
            }
            for (sums, row) in sums.iter().zip(strip) {
                self.store::<S>(sums, row);
            }
        }
    }

    #[inline(always)]
    fn store<S: Simd>(&self, sums: &[S::f32s], row: usize) {
        let column = self.target_tile * TILE;
        let width = (self.target.outputs - column).min(TILE);
        let at = row * self.target.outputs + column;
        // SAFETY: the row and the tile lie inside the target and are this thread's alone, by the contract of `Factor::multiply`.
        let place = unsafe { std::slice::from_raw_parts_mut(self.target.place.add(at), width) };
        let sums = pulp::bytemuck::cast_slice::<S::f32s, f32>(sums);
        match self.target.onto {
            Some(onto) => {
                for ((place, sum), onto) in place.iter_mut().zip(sums).zip(&onto[at..][..width]) {
                    *place = T::store(*sum + *onto);
                }
            }
            None => place.iter_mut().zip(sums).for_each(|(place, sum)| *place = T::store(*sum)),
        }
    }
}

/// Adds a tile's products with some rows.
#[inline(always)]
fn accumulate<S: Simd, const R: usize, const V: usize, const P: usize>(
    simd: S,
    rows: [&[f32]; R],
    lanes: &[Lane<f32>],
    mut sums: [[S::f32s; V]; R],
) -> [[S::f32s; V]; R] {
    let count = lanes.len() / (V / P);
    let rows = rows.map(|row| &row[..count]);
    for (index, lanes) in lanes.chunks_exact(V / P).enumerate() {
        let right: [S::f32s; V] = std::array::from_fn(
            #[inline(always)]
            |vector| S::as_simd_f32s(&lanes[vector / P].0).0[vector % P],
        );
        for (row, sums) in rows.iter().zip(&mut sums) {
            let left = simd.splat_f32s(row[index]);
            for (right, sum) in right.iter().zip(sums) {
                *sum = simd.mul_add_e_f32s(left, *right, *sum);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::products::Strided;
    use crate::random::Random;

    #[test]
    fn all_widths_of_vectors_give_the_same_products() {
        let mut random = Random::new(6);
        let mut numbers = |count: usize| (0..count).map(|_| random.symmetric()).collect::<Vec<f32>>();
        for (rows, inputs, outputs) in [(1, 1, 1), (5, 7, 16), (9, 40, 30), (19, 33, 48), (3, 2, 100)] {
            let (left, right, onto) =
                (numbers(rows * inputs), numbers(inputs * outputs), numbers(rows * outputs));
            let packed = Packed::new(Strided { values: &right, strides: (outputs, 1) }, inputs, outputs, 1.0);
            let operands = [Operand { left: &left, right: &packed }];
            let compute = |multiply: &dyn Fn(Tile<'_, f32>)| {
                let mut result = vec![f32::NAN; rows * outputs];
                let target = Target { place: result.as_mut_ptr(), outputs, onto: Some(&onto) };
                for tile in 0..packed.tiles() {
                    let target = &target;
                    multiply(Tile { operands: &operands, rows: 0..rows, tile, target_tile: tile, target });
                }
                result
            };
            let found = compute(&|tile| Arch::new().dispatch(tile));
            // Without vectors a product is rounded before it is added.
            let plain = compute(&|tile| Simd::vectorize(pulp::Scalar::new(), tile));
            let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
            assert!(found.iter().zip(&plain).all(close), "{rows} {inputs} {outputs}");
            #[cfg(target_arch = "x86_64")]
            if let Some(simd) = pulp::x86::V3::try_new() {
                let narrow = compute(&|tile| Simd::vectorize(simd, tile));
                assert_eq!(found, narrow, "{rows} {inputs} {outputs}");
            }
        }
    }
}
