//! Products of factors in bfloat16 with sums in single precision, by the dot products of AVX-512 BF16.

use std::ops::Range;
use std::sync::Arc;

use half::bf16;

use super::{Factor, Operand, Output, Packed, Target};
use crate::kernels::Right;

impl Factor for bf16 {
    type Word = [bf16; 2];
    const WORD: usize = 2;

    #[inline(always)]
    fn word(mut inputs: impl Iterator<Item = Self>) -> [bf16; 2] {
        let mut next = || inputs.next().unwrap_or(bf16::ZERO);
        [next(), next()]
    }

    fn is_supported() -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bf16")
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            false
        }
    }

    fn right(packed: Arc<Packed<Self>>) -> Right {
        Right::Short(packed)
    }

    fn packed(right: &Right) -> Option<&Packed<Self>> {
        match right {
            Right::Short(packed) => Some(packed),
            _ => None,
        }
    }

    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "it is never supported"))]
    unsafe fn multiply<T: Output>(
        operands: &[Operand<'_, Self>],
        rows: Range<usize>,
        tile: usize,
        target_tile: usize,
        target: &Target<'_, T>,
    ) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: passed on.
        unsafe {
            x86::rows(operands, rows, tile, target_tile, target);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256bh, __m256i, __m512, __m512bh, __m512i, _mm256_mask_storeu_epi16, _mm512_add_ps,
        _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_load_si512, _mm512_mask_storeu_ps,
        _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_setzero_ps,
    };
    use std::mem::transmute;
    use std::ops::Range;

    use half::bf16;

    use super::super::{LANES, Lane, Operand, Output, TILE, Target, VECTORS};

    /// Rows that meet a tile together.
    const ROWS: usize = 8;

    /// See [`super::Factor::multiply`].
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn rows<T: Output>(
        operands: &[Operand<'_, bf16>],
        rows: Range<usize>,
        tile: usize,
        target_tile: usize,
        target: &Target<'_, T>,
    ) {
        let width = (target.outputs - target_tile * TILE).min(TILE);
        for start in rows.clone().step_by(ROWS) {
            let strip = start..rows.end.min(start + ROWS);
            // SAFETY: passed on; the tile has that many vectors.
            unsafe {
                match width.div_ceil(LANES) {
                    1 => vectors::<T, 1>(operands, strip, tile, target_tile, target),
                    2 => vectors::<T, 2>(operands, strip, tile, target_tile, target),
                    _ => vectors::<T, VECTORS>(operands, strip, tile, target_tile, target),
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn vectors<T: Output, const V: usize>(
        operands: &[Operand<'_, bf16>],
        strip: Range<usize>,
        tile: usize,
        target_tile: usize,
        target: &Target<'_, T>,
    ) {
        let mut sums = [[_mm512_setzero_ps(); V]; ROWS];
        for operand in operands {
            let pairs = operand.right.words();
            debug_assert!(tile < operand.right.tiles());
            // Rows beyond the strip repeat its last one and are not stored.
            let rows: [*const i32; ROWS] = std::array::from_fn(|offset| {
                let row = (strip.start + offset).min(strip.end - 1);
                // SAFETY: the left side has that row; a row is a whole number of pairs.
                unsafe { operand.left.as_ptr().add(row * operand.right.inputs).cast() }
            });
            // SAFETY: all tiles before are whole, and this one has `V` vectors for each pair.
            unsafe {
                let lanes: *const Lane<[bf16; 2]> = operand.right.lanes.as_ptr().add(tile * VECTORS * pairs);
                accumulate(rows, lanes, pairs, &mut sums);
            }
        }
        for (sums, row) in sums.into_iter().zip(strip) {
            for (vector, sum) in sums.into_iter().enumerate() {
                let column = target_tile * TILE + vector * LANES;
                let mask = (!0_u16) >> (LANES - (target.outputs - column).min(LANES));
                // SAFETY: masked to the columns that the row has.
                unsafe { store(sum, row * target.outputs + column, mask, target) }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[inline]
    unsafe fn accumulate<const V: usize>(
        rows: [*const i32; ROWS],
        lanes: *const Lane<[bf16; 2]>,
        pairs: usize,
        sums: &mut [[__m512; V]; ROWS],
    ) {
        let mut local = *sums;
        for index in 0..pairs {
            let mut right = [_mm512_setzero_ps(); V];
            for (vector, right) in right.iter_mut().enumerate() {
                // SAFETY: the caller's: the tile has `pairs` times `V` vectors, aligned. All bits are valid floats.
                *right = unsafe {
                    transmute::<__m512i, __m512>(_mm512_load_si512(lanes.add(index * V + vector).cast()))
                };
            }
            for (row, sums) in rows.iter().zip(&mut local) {
                // SAFETY: the caller's: each row has `pairs` pairs.
                let left = _mm512_set1_epi32(unsafe { row.add(index).read_unaligned() });
                for (right, sum) in right.iter().zip(sums) {
                    // SAFETY: vectors of the same size; all bits are valid.
                    let (left, right) = unsafe {
                        (transmute::<__m512i, __m512bh>(left), transmute::<__m512, __m512bh>(*right))
                    };
                    *sum = _mm512_dpbf16_ps(*sum, left, right);
                }
            }
        }
        *sums = local;
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[inline]
    unsafe fn store<T: Output>(mut sum: __m512, at: usize, mask: u16, target: &Target<'_, T>) {
        if let Some(onto) = target.onto {
            // SAFETY: it is as long as the target, and the mask keeps to the row.
            sum = _mm512_add_ps(sum, unsafe { _mm512_maskz_loadu_ps(mask, onto.as_ptr().add(at)) });
        }
        // SAFETY: the place is inside the target, whose type is as `IS_BF16` says.
        unsafe {
            let place = target.place.add(at);
            if T::IS_BF16 {
                let short = _mm512_cvtneps_pbh(sum);
                _mm256_mask_storeu_epi16(place.cast(), mask, transmute::<__m256bh, __m256i>(short));
            } else {
                _mm512_mask_storeu_ps(place.cast(), mask, sum);
            }
        }
    }
}
