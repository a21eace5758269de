//! Vectors of 16 lanes at several instruction levels that give the same bits.
//!
//! A kernel is a generic function over [`Simd`], inlined into one wrapper for each level by [`kernels!`]. The level is
//! found at run time. Results agree bit for bit because every operation here is either exact (integer dot products,
//! maxima) or a correctly rounded IEEE operation (sums, products, fused multiply-add, division) on the same operands
//! in the same order; NaN payloads aside.
//!
//! Kernels avoid closures and calls that are not inlined: those would be compiled without the level's instructions.

use std::fmt;

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
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512, AvxVnni};

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// Instruction level that kernels run at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each architecture makes its own levels")]
pub(crate) enum Level {
    /// AVX-512 with VNNI.
    Avx512,
    /// AVX2 with FMA and AVX-VNNI.
    AvxVnni,
    /// AVX2 with FMA.
    Avx2,
    /// NEON with dot products.
    Neon,
    /// Whatever the compiler targets.
    Portable,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "avx512-vnni",
            Self::AvxVnni => "avx-vnni",
            Self::Avx2 => "avx2",
            Self::Neon => "neon-dotprod",
            Self::Portable => "portable",
        })
    }
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
            if avx2 && is_x86_feature_detected!("avxvnni") {
                levels.push(Self::AvxVnni);
            }
            if avx2 {
                levels.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            levels.push(Self::Neon);
        }
        levels.push(Self::Portable);
        levels
    }

    /// The best level of this CPU; the log is told which, since speed follows from it.
    pub(crate) fn detect() -> Self {
        let level = Self::available()[0];
        tracing::info!(instructions = %level, "kernels of the engine");
        if level == Self::Portable {
            tracing::warn!(
                architecture = std::env::consts::ARCH,
                "the engine has no kernels for the vector instructions of this CPU and takes many times as long for the same answers; \
                 choose a machine, or a CPU model of the hypervisor, with AVX2 and FMA, with AVX-512 and VNNI, or with NEON's dot products"
            );
        }
        level
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
            #[target_feature(enable = "avxvnni,avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments, reason = "kernels take pointers and strides")]
            unsafe fn avx_vnni($($arg: $type),*) {
                // SAFETY: as above.
                unsafe { $kernel::<$crate::cpu::simd::AvxVnni>($($arg),*) }
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon,dotprod")]
            #[allow(clippy::too_many_arguments, reason = "kernels take pointers and strides")]
            unsafe fn neon($($arg: $type),*) {
                // SAFETY: as above.
                unsafe { $kernel::<$crate::cpu::simd::Neon>($($arg),*) }
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
                $crate::cpu::simd::Level::AvxVnni => unsafe { avx_vnni($($arg),*) },
                #[cfg(target_arch = "aarch64")]
                // SAFETY: as above.
                $crate::cpu::simd::Level::Neon => unsafe { neon($($arg),*) },
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
