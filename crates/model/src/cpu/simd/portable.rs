//! Vectors for any CPU, one lane at a time.

use super::{LANES, Simd};

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
        out.iter_mut().for_each(|lane| *lane <<= 8);
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
