//! The same on x86-64. Every block below is safe for one reason: the caller of a [`Simd`] method guarantees the
//! instructions and the pointers.

use std::arch::x86_64::*;

use super::Simd;

/// AVX-512 with VNNI.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512;

/// AVX2 with FMA: two registers for a vector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2;

impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;
    type W = __m512i;
    type U = __m512i;
    const WIDE: bool = true;

    intrinsics! {
        fn load(from: *const f32) -> __m512 { _mm512_loadu_ps(from) }
        fn store(to: *mut f32, value: __m512) { _mm512_storeu_ps(to, value) }
        fn splat(value: f32) -> __m512 { _mm512_set1_ps(value) }
        fn add(a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        fn sub(a: __m512, b: __m512) -> __m512 { _mm512_sub_ps(a, b) }
        fn mul(a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
        fn div(a: __m512, b: __m512) -> __m512 { _mm512_div_ps(a, b) }
        fn fma(a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        fn max(a: __m512, b: __m512) -> __m512 { _mm512_max_ps(a, b) }
        fn min(a: __m512, b: __m512) -> __m512 { _mm512_min_ps(a, b) }
        fn round(a: __m512) -> __m512 {
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
        }
        fn exp2i(a: __m512) -> __m512 {
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        }
        fn first(count: usize, a: __m512, b: __m512) -> __m512 {
            _mm512_mask_blend_ps(((1_u32 << count.min(16)) - 1) as __mmask16, b, a)
        }
        fn load_half(from: *const u16) -> __m512 { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
        fn to_float(a: __m512i) -> __m512 { _mm512_cvtepi32_ps(a) }
        fn load_weights(from: *const u8) -> __m512i { _mm512_loadu_si512(from.cast()) }
        fn dot(acc: __m512i, weights: __m512i, activations: i32) -> __m512i {
            _mm512_dpbusd_epi32(acc, weights, _mm512_set1_epi32(activations))
        }
        fn correct(acc: __m512i, correction: i32) -> __m512i {
            _mm512_add_epi32(acc, _mm512_set1_epi32(correction))
        }
        fn load_halves(from: *const u8) -> [__m512i; 2] {
            let bytes = _mm512_loadu_si512(from.cast());
            let mask = _mm512_set1_epi8(15);
            [_mm512_and_si512(bytes, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask)]
        }
        fn dot_small(acc: __m512i, weights: __m512i, activations: i32) -> __m512i {
            Self::dot(acc, weights, activations)
        }
        fn zero() -> __m512i { _mm512_setzero_si512() }
        fn times_256(acc: __m512i) -> __m512i { _mm512_slli_epi32::<8>(acc) }
        fn to_bytes(from: *const f32, inverse: f32, high: *mut i8, low: *mut i8) -> [i32; 2] {
            let inverse = _mm512_set1_ps(inverse);
            let half = _mm512_set1_epi32(128);
            let lowest = _mm512_set1_epi32(-127);
            let mut sums = [_mm512_setzero_si512(); 2];
            let mut at = 0;
            while at < 32 {
                let word = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from.add(at)), inverse));
                let top = _mm512_srai_epi32::<8>(_mm512_add_epi32(word, half));
                let rest = _mm512_sub_epi32(word, _mm512_slli_epi32::<8>(top));
                let rest = _mm512_max_epi32(rest, lowest);
                _mm_storeu_si128(high.add(at).cast(), _mm512_cvtepi32_epi8(top));
                _mm_storeu_si128(low.add(at).cast(), _mm512_cvtepi32_epi8(rest));
                sums[0] = _mm512_add_epi32(sums[0], top);
                sums[1] = _mm512_add_epi32(sums[1], rest);
                at += 16;
            }
            [_mm512_reduce_add_epi32(sums[0]), _mm512_reduce_add_epi32(sums[1])]
        }
        fn magnitude(from: *const f32) -> u32 {
            let mask = _mm512_set1_epi32(0x7fff_ffff);
            let low = _mm512_and_si512(_mm512_loadu_si512(from.cast()), mask);
            let high = _mm512_and_si512(_mm512_loadu_si512(from.add(16).cast()), mask);
            _mm512_reduce_max_epu32(_mm512_max_epu32(low, high))
        }
        fn prefetch(at: *const u8) { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}

/// AVX2 with FMA and dot products of bytes (AVX-VNNI).
#[derive(Clone, Copy, Debug)]
pub(crate) struct AvxVnni;

type Pair = [__m256; 2];
type IntPair = [__m256i; 2];

impl Simd for Avx2 {
    type F = Pair;
    type I = IntPair;
    /// The weights, and their magnitudes.
    type W = [IntPair; 2];
    type U = IntPair;
    const WIDE: bool = false;

    intrinsics! {
        fn load(from: *const f32) -> Pair { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
        fn store(to: *mut f32, value: Pair) {
            _mm256_storeu_ps(to, value[0]);
            _mm256_storeu_ps(to.add(8), value[1]);
        }
        fn splat(value: f32) -> Pair { [_mm256_set1_ps(value); 2] }
        fn add(a: Pair, b: Pair) -> Pair { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
        fn sub(a: Pair, b: Pair) -> Pair { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
        fn mul(a: Pair, b: Pair) -> Pair { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
        fn div(a: Pair, b: Pair) -> Pair { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
        fn fma(a: Pair, b: Pair, c: Pair) -> Pair {
            [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])]
        }
        fn max(a: Pair, b: Pair) -> Pair { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
        fn min(a: Pair, b: Pair) -> Pair { [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])] }
        fn round(a: Pair) -> Pair {
            const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
            [_mm256_round_ps::<NEAREST>(a[0]), _mm256_round_ps::<NEAREST>(a[1])]
        }
        fn exp2i(a: Pair) -> Pair {
            let bias = _mm256_set1_epi32(127);
            let low = _mm256_add_epi32(_mm256_cvtps_epi32(a[0]), bias);
            let high = _mm256_add_epi32(_mm256_cvtps_epi32(a[1]), bias);
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(high)),
            ]
        }
        fn first(count: usize, a: Pair, b: Pair) -> Pair {
            let count = _mm256_set1_epi32(count.min(16) as i32);
            let low = _mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
            let high = _mm256_cmpgt_epi32(count, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15));
            [
                _mm256_blendv_ps(b[0], a[0], _mm256_castsi256_ps(low)),
                _mm256_blendv_ps(b[1], a[1], _mm256_castsi256_ps(high)),
            ]
        }
        fn load_half(from: *const u16) -> Pair {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast())),
            ]
        }
        fn to_float(a: IntPair) -> Pair { [_mm256_cvtepi32_ps(a[0]), _mm256_cvtepi32_ps(a[1])] }
        fn load_weights(from: *const u8) -> [IntPair; 2] {
            let offset = _mm256_set1_epi8(i8::MIN);
            let low = _mm256_xor_si256(_mm256_loadu_si256(from.cast()), offset);
            let high = _mm256_xor_si256(_mm256_loadu_si256(from.add(32).cast()), offset);
            [[low, high], [_mm256_abs_epi8(low), _mm256_abs_epi8(high)]]
        }
        fn dot(acc: IntPair, weights: [IntPair; 2], activations: i32) -> IntPair {
            // Both factors lie in -127..=127, so sums of two products fit 16 bits.
            let [signed, magnitude] = weights;
            let activations = _mm256_set1_epi32(activations);
            let ones = _mm256_set1_epi16(1);
            let low = _mm256_maddubs_epi16(magnitude[0], _mm256_sign_epi8(activations, signed[0]));
            let high = _mm256_maddubs_epi16(magnitude[1], _mm256_sign_epi8(activations, signed[1]));
            [
                _mm256_add_epi32(acc[0], _mm256_madd_epi16(low, ones)),
                _mm256_add_epi32(acc[1], _mm256_madd_epi16(high, ones)),
            ]
        }
        fn correct(acc: IntPair, _correction: i32) -> IntPair { acc }
        fn load_halves(from: *const u8) -> [IntPair; 2] {
            let mask = _mm256_set1_epi8(15);
            let a = _mm256_loadu_si256(from.cast());
            let b = _mm256_loadu_si256(from.add(32).cast());
            [
                [_mm256_and_si256(a, mask), _mm256_and_si256(b, mask)],
                [
                    _mm256_and_si256(_mm256_srli_epi16::<4>(a), mask),
                    _mm256_and_si256(_mm256_srli_epi16::<4>(b), mask),
                ],
            ]
        }
        fn dot_small(acc: IntPair, weights: IntPair, activations: i32) -> IntPair {
            let activations = _mm256_set1_epi32(activations);
            let ones = _mm256_set1_epi16(1);
            let low = _mm256_maddubs_epi16(weights[0], activations);
            let high = _mm256_maddubs_epi16(weights[1], activations);
            [
                _mm256_add_epi32(acc[0], _mm256_madd_epi16(low, ones)),
                _mm256_add_epi32(acc[1], _mm256_madd_epi16(high, ones)),
            ]
        }
        fn zero() -> IntPair { [_mm256_setzero_si256(); 2] }
        fn times_256(acc: IntPair) -> IntPair {
            [_mm256_slli_epi32::<8>(acc[0]), _mm256_slli_epi32::<8>(acc[1])]
        }
        fn to_bytes(from: *const f32, inverse: f32, high: *mut i8, low: *mut i8) -> [i32; 2] {
            let inverse = _mm256_set1_ps(inverse);
            let half = _mm256_set1_epi32(128);
            let lowest = _mm256_set1_epi32(-127);
            let mut tops = [_mm256_setzero_si256(); 4];
            let mut rests = tops;
            let mut sums = [_mm256_setzero_si256(); 2];
            let mut at = 0;
            while at < 4 {
                let word = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from.add(8 * at)), inverse));
                tops[at] = _mm256_srai_epi32::<8>(_mm256_add_epi32(word, half));
                let rest = _mm256_sub_epi32(word, _mm256_slli_epi32::<8>(tops[at]));
                rests[at] = _mm256_max_epi32(rest, lowest);
                sums[0] = _mm256_add_epi32(sums[0], tops[at]);
                sums[1] = _mm256_add_epi32(sums[1], rests[at]);
                at += 1;
            }
            // Packing works within halves of a register; the permutation puts the groups of four in order.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let packed = _mm256_packs_epi16(
                _mm256_packs_epi32(tops[0], tops[1]),
                _mm256_packs_epi32(tops[2], tops[3]),
            );
            _mm256_storeu_si256(high.cast(), _mm256_permutevar8x32_epi32(packed, order));
            let packed = _mm256_packs_epi16(
                _mm256_packs_epi32(rests[0], rests[1]),
                _mm256_packs_epi32(rests[2], rests[3]),
            );
            _mm256_storeu_si256(low.cast(), _mm256_permutevar8x32_epi32(packed, order));
            let mut totals = [0; 2];
            let mut half = 0;
            while half < 2 {
                let mut lanes = [0_i32; 8];
                _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sums[half]);
                for lane in lanes {
                    totals[half] += lane;
                }
                half += 1;
            }
            totals
        }
        fn magnitude(from: *const f32) -> u32 {
            let mask = _mm256_set1_epi32(0x7fff_ffff);
            let mut largest = _mm256_setzero_si256();
            let mut at = 0;
            while at < 32 {
                let next = _mm256_and_si256(_mm256_loadu_si256(from.add(at).cast()), mask);
                largest = _mm256_max_epu32(largest, next);
                at += 8;
            }
            let mut lanes = [0_u32; 8];
            _mm256_storeu_si256(lanes.as_mut_ptr().cast(), largest);
            let mut greatest = 0;
            for lane in lanes {
                if lane > greatest {
                    greatest = lane;
                }
            }
            greatest
        }
        fn prefetch(at: *const u8) { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}

impl Simd for AvxVnni {
    type F = Pair;
    type I = IntPair;
    type W = IntPair;
    type U = IntPair;
    const WIDE: bool = false;

    intrinsics! {
        fn load_weights(from: *const u8) -> IntPair {
            [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())]
        }
        fn dot(acc: IntPair, weights: IntPair, activations: i32) -> IntPair {
            let activations = _mm256_set1_epi32(activations);
            [
                _mm256_dpbusd_avx_epi32(acc[0], weights[0], activations),
                _mm256_dpbusd_avx_epi32(acc[1], weights[1], activations),
            ]
        }
        fn correct(acc: IntPair, correction: i32) -> IntPair {
            let correction = _mm256_set1_epi32(correction);
            [_mm256_add_epi32(acc[0], correction), _mm256_add_epi32(acc[1], correction)]
        }
        fn dot_small(acc: IntPair, weights: IntPair, activations: i32) -> IntPair {
            Self::dot(acc, weights, activations)
        }
        // The rest is the same.
        fn load(from: *const f32) -> Pair { Avx2::load(from) }
        fn store(to: *mut f32, value: Pair) { Avx2::store(to, value) }
        fn splat(value: f32) -> Pair { Avx2::splat(value) }
        fn add(a: Pair, b: Pair) -> Pair { Avx2::add(a, b) }
        fn sub(a: Pair, b: Pair) -> Pair { Avx2::sub(a, b) }
        fn mul(a: Pair, b: Pair) -> Pair { Avx2::mul(a, b) }
        fn div(a: Pair, b: Pair) -> Pair { Avx2::div(a, b) }
        fn fma(a: Pair, b: Pair, c: Pair) -> Pair { Avx2::fma(a, b, c) }
        fn max(a: Pair, b: Pair) -> Pair { Avx2::max(a, b) }
        fn min(a: Pair, b: Pair) -> Pair { Avx2::min(a, b) }
        fn round(a: Pair) -> Pair { Avx2::round(a) }
        fn exp2i(a: Pair) -> Pair { Avx2::exp2i(a) }
        fn first(count: usize, a: Pair, b: Pair) -> Pair { Avx2::first(count, a, b) }
        fn load_half(from: *const u16) -> Pair { Avx2::load_half(from) }
        fn to_float(a: IntPair) -> Pair { Avx2::to_float(a) }
        fn load_halves(from: *const u8) -> [IntPair; 2] { Avx2::load_halves(from) }
        fn zero() -> IntPair { Avx2::zero() }
        fn times_256(acc: IntPair) -> IntPair { Avx2::times_256(acc) }
        fn to_bytes(from: *const f32, inverse: f32, high: *mut i8, low: *mut i8) -> [i32; 2] { Avx2::to_bytes(from, inverse, high, low) }
        fn magnitude(from: *const f32) -> u32 { Avx2::magnitude(from) }
        fn prefetch(at: *const u8) { Avx2::prefetch(at) }
    }
}
