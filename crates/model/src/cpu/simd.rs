//! Vectors of 16 lanes at three instruction levels that give the same bits.
//!
//! A kernel is a generic function over [`Simd`], inlined into one wrapper for each level by [`kernels!`]. The level is
//! found at run time. Results agree bit for bit because every operation here is either exact (integer dot products,
//! maxima) or a correctly rounded IEEE operation (sums, products, fused multiply-add, division) on the same operands
//! in the same order; NaN payloads aside.
//!
//! Kernels avoid closures and calls that are not inlined: those would be compiled without the level's instructions.

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// Instruction level that kernels run at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// AVX-512 with VNNI.
    Avx512,
    /// AVX2 with FMA.
    Avx2,
    /// Whatever the compiler targets.
    Portable,
}

impl Level {
    /// Levels that this CPU has, the best first.
    pub(crate) fn available() -> Vec<Self> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni")
            {
                levels.push(Self::Avx512);
            }
            if avx2 {
                levels.push(Self::Avx2);
            }
        }
        levels.push(Self::Portable);
        levels
    }

    /// The best level of this CPU.
    pub(crate) fn detect() -> Self {
        Self::available()[0]
    }
}

/// Vectors of 16 floats and of 16 integers.
///
/// # Safety
/// Every method may run only on a CPU that has the level's instructions. Pointers must be valid for what is read or
/// written; no alignment is needed.
pub(crate) trait Simd: Copy {
    /// 16 floats.
    type F: Copy;
    /// 16 integers.
    type I: Copy;
    /// 64 signed weights: 4 for each lane.
    type W: Copy;
    /// 64 unsigned weights: 4 for each lane.
    type U: Copy;
    /// Whether the level has 32 vector registers of 16 lanes; else tiles are kept small.
    const WIDE: bool;

    unsafe fn load(from: *const f32) -> Self::F;
    unsafe fn store(to: *mut f32, value: Self::F);
    unsafe fn splat(value: f32) -> Self::F;
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a` where it is greater, else `b`: a NaN in `b` stays.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// `a` where it is less, else `b`: a NaN in `b` stays.
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// Nearest integers, ties to even.
    unsafe fn round(a: Self::F) -> Self::F;
    /// Two to the power of integers between -126 and 127.
    unsafe fn exp2i(a: Self::F) -> Self::F;
    /// Lanes below `count` of `a`, the others of `b`.
    unsafe fn first(count: usize, a: Self::F, b: Self::F) -> Self::F;
    /// 16 half-precision numbers.
    unsafe fn load_half(from: *const u16) -> Self::F;
    /// Integers as floats.
    unsafe fn to_float(a: Self::I) -> Self::F;
    /// 64 weights, each stored as itself plus 128.
    unsafe fn load_weights(from: *const u8) -> Self::W;
    /// Adds in each lane the dot product of its 4 weights and 4 activations. Where [`Simd::correct`] does something,
    /// the weights still have their 128.
    unsafe fn dot(acc: Self::I, weights: Self::W, activations: i32) -> Self::I;
    /// Adds what makes up for the 128 of the weights, where they still had it.
    unsafe fn correct(acc: Self::I, correction: i32) -> Self::I;
    /// 64 pairs of weights between 0 and 15: those in the low halves of the bytes, and those in the high halves.
    unsafe fn load_halves(from: *const u8) -> [Self::U; 2];
    /// Adds in each lane the dot product of its 4 weights and 4 activations.
    unsafe fn dot_small(acc: Self::I, weights: Self::U, activations: i32) -> Self::I;
    /// 16 zeros.
    unsafe fn zero() -> Self::I;
    /// Each lane times 256.
    unsafe fn times_256(acc: Self::I) -> Self::I;
    /// Rounds 32 floats times `inverse` to 16 bits, between -32,512 and 32,512, and splits them into high and low
    /// bytes between -127 and 127: 256 times the high one plus the low one. Gives the sums of both.
    unsafe fn to_bytes(from: *const f32, inverse: f32, high: *mut i8, low: *mut i8) -> [i32; 2];
    /// Largest magnitude of 32 floats, as bits: a NaN or an infinity counts as large.
    unsafe fn magnitude(from: *const f32) -> u32;
    /// Asks for a cache line to be fetched.
    unsafe fn prefetch(at: *const u8);

    /// e to the power of `x`, to about one part in 10⁷, for `x` clamped to [-87, 88].
    #[inline(always)]
    unsafe fn exp(x: Self::F) -> Self::F {
        // SAFETY: the caller guarantees the instructions.
        unsafe {
            let x = Self::min(Self::splat(88.0), Self::max(Self::splat(-87.0), x));
            let n = Self::round(Self::mul(x, Self::splat(std::f32::consts::LOG2_E)));
            // ln 2 in two parts: the first has few enough bits for n times it to be exact.
            let r = Self::fma(n, Self::splat(-355.0 / 512.0), x);
            let r = Self::fma(n, Self::splat(2.121_944_4e-4), r);
            let mut p = Self::splat(1.0 / 5040.0);
            p = Self::fma(p, r, Self::splat(1.0 / 720.0));
            p = Self::fma(p, r, Self::splat(1.0 / 120.0));
            p = Self::fma(p, r, Self::splat(1.0 / 24.0));
            p = Self::fma(p, r, Self::splat(1.0 / 6.0));
            p = Self::fma(p, r, Self::splat(0.5));
            p = Self::fma(p, r, Self::splat(1.0));
            p = Self::fma(p, r, Self::splat(1.0));
            Self::mul(p, Self::exp2i(n))
        }
    }

    /// Sum of the lanes, halves folded onto each other.
    #[inline(always)]
    unsafe fn sum(a: Self::F) -> f32 {
        let mut lanes = [0.0_f32; LANES];
        // SAFETY: the caller guarantees the instructions; the array has 16 lanes.
        unsafe { Self::store(lanes.as_mut_ptr(), a) };
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
            width /= 2;
        }
        lanes[0]
    }

    /// Greatest lane.
    #[inline(always)]
    unsafe fn greatest(a: Self::F) -> f32 {
        let mut lanes = [0.0_f32; LANES];
        // SAFETY: the caller guarantees the instructions; the array has 16 lanes.
        unsafe { Self::store(lanes.as_mut_ptr(), a) };
        let mut greatest = lanes[0];
        for lane in lanes {
            greatest = if greatest > lane { greatest } else { lane };
        }
        greatest
    }
}

/// Any CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

macro_rules! lanewise {
    (|$($name:ident),+| $value:expr) => {{
        let mut out = [0.0_f32; LANES];
        for lane in 0..LANES {
            $(let $name = $name[lane];)+
            out[lane] = $value;
        }
        out
    }};
}

impl Simd for Portable {
    type F = [f32; LANES];
    type I = [i32; LANES];
    type W = [i8; 64];
    type U = [u8; 64];
    const WIDE: bool = false;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F {
        // SAFETY: the caller guarantees 16 readable floats.
        unsafe { from.cast::<Self::F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F) {
        // SAFETY: the caller guarantees 16 writable floats.
        unsafe { to.cast::<Self::F>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        lanewise!(|a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        lanewise!(|a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        lanewise!(|a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        lanewise!(|a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        lanewise!(|a, b, c| a.mul_add(b, c))
    }
    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        lanewise!(|a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
        lanewise!(|a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn round(a: Self::F) -> Self::F {
        lanewise!(|a| a.round_ties_even())
    }
    #[inline(always)]
    unsafe fn exp2i(a: Self::F) -> Self::F {
        lanewise!(|a| f32::from_bits(((a as i32).wrapping_add(127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn first(count: usize, a: Self::F, b: Self::F) -> Self::F {
        let mut out = b;
        let count = count.min(LANES);
        out[..count].copy_from_slice(&a[..count]);
        out
    }
    #[inline(always)]
    unsafe fn load_half(from: *const u16) -> Self::F {
        let mut out = [0.0_f32; LANES];
        for (lane, value) in out.iter_mut().enumerate() {
            // SAFETY: the caller guarantees 16 readable numbers.
            *value = half::f16::from_bits(unsafe { from.add(lane).read_unaligned() }).to_f32();
        }
        out
    }
    #[inline(always)]
    unsafe fn to_float(a: Self::I) -> Self::F {
        lanewise!(|a| a as f32)
    }
    #[inline(always)]
    unsafe fn load_weights(from: *const u8) -> Self::W {
        // SAFETY: the caller guarantees 64 readable bytes.
        let bytes = unsafe { from.cast::<[u8; 64]>().read_unaligned() };
        let mut out = [0; 64];
        for at in 0..64 {
            out[at] = (bytes[at] ^ 0x80) as i8;
        }
        out
    }
    #[inline(always)]
    unsafe fn dot(acc: Self::I, weights: Self::W, activations: i32) -> Self::I {
        let mut out = acc;
        let activations = activations.to_le_bytes();
        for lane in 0..LANES {
            for at in 0..4 {
                out[lane] += i32::from(weights[4 * lane + at]) * i32::from(activations[at] as i8);
            }
        }
        out
    }
    #[inline(always)]
    unsafe fn correct(acc: Self::I, _: i32) -> Self::I {
        acc
    }
    #[inline(always)]
    unsafe fn load_halves(from: *const u8) -> [Self::U; 2] {
        // SAFETY: the caller guarantees 64 readable bytes.
        let bytes = unsafe { from.cast::<[u8; 64]>().read_unaligned() };
        let (mut low, mut high) = ([0; 64], [0; 64]);
        for at in 0..64 {
            low[at] = bytes[at] & 15;
            high[at] = bytes[at] >> 4;
        }
        [low, high]
    }
    #[inline(always)]
    unsafe fn dot_small(acc: Self::I, weights: Self::U, activations: i32) -> Self::I {
        let mut out = acc;
        let activations = activations.to_le_bytes();
        for lane in 0..LANES {
            for at in 0..4 {
                out[lane] += i32::from(weights[4 * lane + at]) * i32::from(activations[at] as i8);
            }
        }
        out
    }
    #[inline(always)]
    unsafe fn zero() -> Self::I {
        [0; LANES]
    }
    #[inline(always)]
    unsafe fn times_256(acc: Self::I) -> Self::I {
        let mut out = acc;
        for lane in 0..LANES {
            out[lane] <<= 8;
        }
        out
    }
    #[inline(always)]
    unsafe fn to_bytes(from: *const f32, inverse: f32, high: *mut i8, low: *mut i8) -> [i32; 2] {
        let mut sums = [0; 2];
        for at in 0..32 {
            // SAFETY: the caller guarantees 32 readable floats and 32 writable bytes twice.
            unsafe {
                let word = (*from.add(at) * inverse).round_ties_even() as i32;
                let top = (word + 128) >> 8;
                let rest = (word - (top << 8)).max(-127);
                *high.add(at) = top as i8;
                *low.add(at) = rest as i8;
                sums[0] += top;
                sums[1] += rest;
            }
        }
        sums
    }
    #[inline(always)]
    unsafe fn magnitude(from: *const f32) -> u32 {
        let mut largest = 0;
        for at in 0..32 {
            // SAFETY: the caller guarantees 32 readable floats.
            largest = largest.max(unsafe { *from.add(at) }.to_bits() & 0x7fff_ffff);
        }
        largest
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const u8) {}
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
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

    /// Defines methods whose bodies are intrinsics.
    macro_rules! intrinsics {
        ($(fn $name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)? $body:block)*) => {$(
            #[inline(always)]
            #[allow(unused_unsafe, reason = "a body of safe intrinsics only needs none")]
            unsafe fn $name($($arg: $type),*) $(-> $out)? {
                // SAFETY: the caller guarantees the instructions and the pointers.
                unsafe { $body }
            }
        )*};
    }

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
                _mm512_dpbusd_epi32(acc, weights, _mm512_set1_epi32(activations))
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
                let mut lanes = [[0_i32; 8]; 2];
                _mm256_storeu_si256(lanes[0].as_mut_ptr().cast(), sums[0]);
                _mm256_storeu_si256(lanes[1].as_mut_ptr().cast(), sums[1]);
                let mut totals = [0; 2];
                for lane in 0..8 {
                    totals[0] += lanes[0][lane];
                    totals[1] += lanes[1][lane];
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
}

/// Defines functions that run a generic kernel at a level: `fn name(..) = kernel;` calls `kernel::<S>(..)` with `S`
/// chosen by a first argument of type [`Level`], which must be one that this CPU has.
macro_rules! kernels {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $kernel:ident;)*) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "kernels take pointers and strides")]
        pub(crate) unsafe fn $name(level: $crate::cpu::simd::Level, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments, reason = "kernels take pointers and strides")]
            unsafe fn avx512($($arg: $type),*) {
                // SAFETY: this function has the instructions; the pointers are the caller's promise.
                unsafe { $kernel::<$crate::cpu::simd::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments, reason = "kernels take pointers and strides")]
            unsafe fn avx2($($arg: $type),*) {
                // SAFETY: as above.
                unsafe { $kernel::<$crate::cpu::simd::Avx2>($($arg),*) }
            }
            match level {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a level is only ever one that was detected; the pointers are the caller's promise.
                $crate::cpu::simd::Level::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::cpu::simd::Level::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: any CPU has these instructions.
                _ => unsafe { $kernel::<$crate::cpu::simd::Portable>($($arg),*) },
            }
        }
    )*};
}
pub(crate) use kernels;
