//! The same on 64-bit ARM with dot products (ARMv8.2): four registers for a vector. Every block below is safe for one reason: the caller
//! of a [`Simd`] method guarantees the instructions and the pointers.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Simd;

/// NEON with dot products.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon;

type Four = [float32x4_t; 4];
type IntFour = [int32x4_t; 4];
type ByteFour = [int8x16_t; 4];

/// The same of each register.
macro_rules! each {
    (|$($name:ident),+| $value:expr) => {
        [each!(0 |$($name),+| $value), each!(1 |$($name),+| $value), each!(2 |$($name),+| $value), each!(3 |$($name),+| $value)]
    };
    ($at:literal |$($name:ident),+| $value:expr) => {{
        $(let $name = $name[$at];)+
        $value
    }};
}

/// Adds in each lane the dot product of 4 bytes and 4 bytes. The intrinsic is not stable yet.
#[inline(always)]
unsafe fn sdot(acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let sum;
    // SAFETY: the caller guarantees the instruction, which reads and writes registers alone.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inlateout(vreg) acc => sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// 64 bytes.
#[inline(always)]
unsafe fn bytes(from: *const u8) -> [uint8x16_t; 4] {
    // SAFETY: the caller guarantees 64 readable bytes, and every 64-bit ARM processor has the instructions.
    unsafe { [vld1q_u8(from), vld1q_u8(from.add(16)), vld1q_u8(from.add(32)), vld1q_u8(from.add(48))] }
}

/// Four half-precision numbers, widened.
#[inline(always)]
unsafe fn widen(halves: uint16x4_t) -> float32x4_t {
    let wide;
    // SAFETY: an instruction of every 64-bit ARM processor, which reads and writes registers alone.
    unsafe {
        asm!(
            "fcvtl {wide:v}.4s, {halves:v}.4h",
            wide = lateout(vreg) wide,
            halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    wide
}

impl Simd for Neon {
    type F = Four;
    type I = IntFour;
    type W = ByteFour;
    type U = ByteFour;
    const WIDE: bool = false;

    intrinsics! {
        fn load(from: *const f32) -> Four {
            [vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))]
        }
        fn store(to: *mut f32, value: Four) {
            vst1q_f32(to, value[0]);
            vst1q_f32(to.add(4), value[1]);
            vst1q_f32(to.add(8), value[2]);
            vst1q_f32(to.add(12), value[3]);
        }
        fn splat(value: f32) -> Four { [vdupq_n_f32(value); 4] }
        fn add(a: Four, b: Four) -> Four { each!(|a, b| vaddq_f32(a, b)) }
        fn sub(a: Four, b: Four) -> Four { each!(|a, b| vsubq_f32(a, b)) }
        fn mul(a: Four, b: Four) -> Four { each!(|a, b| vmulq_f32(a, b)) }
        fn div(a: Four, b: Four) -> Four { each!(|a, b| vdivq_f32(a, b)) }
        fn fma(a: Four, b: Four, c: Four) -> Four { each!(|a, b, c| vfmaq_f32(c, a, b)) }
        fn max(a: Four, b: Four) -> Four { each!(|a, b| vbslq_f32(vcgtq_f32(a, b), a, b)) }
        fn min(a: Four, b: Four) -> Four { each!(|a, b| vbslq_f32(vcltq_f32(a, b), a, b)) }
        fn round(a: Four) -> Four { each!(|a| vrndnq_f32(a)) }
        fn exp2i(a: Four) -> Four {
            each!(|a| {
                let exponent = vaddq_s32(vcvtq_s32_f32(a), vdupq_n_s32(127));
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent))
            })
        }
        fn first(count: usize, a: Four, b: Four) -> Four {
            let lanes: [[u32; 4]; 4] = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]];
            let count = vdupq_n_u32(count.min(16) as u32);
            each!(|a, b, lanes| vbslq_f32(vcltq_u32(vld1q_u32(lanes.as_ptr()), count), a, b))
        }
        fn load_half(from: *const u16) -> Four {
            let halves =
                [vld1_u16(from), vld1_u16(from.add(4)), vld1_u16(from.add(8)), vld1_u16(from.add(12))];
            each!(|halves| widen(halves))
        }
        fn to_float(a: IntFour) -> Four { each!(|a| vcvtq_f32_s32(a)) }
        fn load_weights(from: *const u8) -> ByteFour {
            let offset = vdupq_n_u8(0x80);
            let bytes = bytes(from);
            each!(|bytes| vreinterpretq_s8_u8(veorq_u8(bytes, offset)))
        }
        fn dot(acc: IntFour, weights: ByteFour, activations: i32) -> IntFour {
            let activations = vreinterpretq_s8_s32(vdupq_n_s32(activations));
            each!(|acc, weights| sdot(acc, weights, activations))
        }
        fn correct(acc: IntFour, _correction: i32) -> IntFour { acc }
        fn load_halves(from: *const u8) -> [ByteFour; 2] {
            let mask = vdupq_n_u8(15);
            let bytes = bytes(from);
            let low = each!(|bytes| vreinterpretq_s8_u8(vandq_u8(bytes, mask)));
            let high = each!(|bytes| vreinterpretq_s8_u8(vshrq_n_u8::<4>(bytes)));
            [low, high]
        }
        fn dot_small(acc: IntFour, weights: ByteFour, activations: i32) -> IntFour {
            Self::dot(acc, weights, activations)
        }
        fn zero() -> IntFour { [vdupq_n_s32(0); 4] }
        fn times_256(acc: IntFour) -> IntFour { each!(|acc| vshlq_n_s32::<8>(acc)) }
        fn to_bytes(from: *const f32, inverse: f32, high: *mut i8, low: *mut i8) -> [i32; 2] {
            let mut sums = [vdupq_n_s32(0); 2];
            let mut at = 0;
            while at < 32 {
                let mut tops = [vdup_n_s16(0); 2];
                let mut rests = tops;
                let mut half = 0;
                while half < 2 {
                    let value = vmulq_n_f32(vld1q_f32(from.add(at + 4 * half)), inverse);
                    let word = vcvtnq_s32_f32(value);
                    let top = vshrq_n_s32::<8>(vaddq_s32(word, vdupq_n_s32(128)));
                    let rest = vmaxq_s32(vsubq_s32(word, vshlq_n_s32::<8>(top)), vdupq_n_s32(-127));
                    sums[0] = vaddq_s32(sums[0], top);
                    sums[1] = vaddq_s32(sums[1], rest);
                    tops[half] = vmovn_s32(top);
                    rests[half] = vmovn_s32(rest);
                    half += 1;
                }
                vst1_s8(high.add(at), vmovn_s16(vcombine_s16(tops[0], tops[1])));
                vst1_s8(low.add(at), vmovn_s16(vcombine_s16(rests[0], rests[1])));
                at += 8;
            }
            [vaddvq_s32(sums[0]), vaddvq_s32(sums[1])]
        }
        fn magnitude(from: *const f32) -> u32 {
            let mask = vdupq_n_u32(0x7fff_ffff);
            let mut largest = vdupq_n_u32(0);
            let mut at = 0;
            while at < 32 {
                let next = vandq_u32(vreinterpretq_u32_f32(vld1q_f32(from.add(at))), mask);
                largest = vmaxq_u32(largest, next);
                at += 4;
            }
            vmaxvq_u32(largest)
        }
        fn prefetch(at: *const u8) {
            asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
        }
    }
}
