// What kernels have in common: numbers of BF16, and what only a warp can do. Compiled before them, by NVRTC and without
// headers. A test emulates a warp (emulation.hpp).

typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short half_t;

#define LOWEST __uint_as_float(0xff800000u)  // minus infinity; NVRTC has no INFINITY

__device__ inline float widen(half_t x) { return __uint_as_float((u32)x << 16); }

// To the nearest, ties to even. A NaN stays one.
__device__ inline half_t narrow(float x) {
  u32 bits = __float_as_uint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (half_t)((bits >> 16) | 0x40u);
  return (half_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#ifndef EMULATED
#define SHARED_BYTES(name) extern __shared__ uint4 name[]

// What only a warp can do. A test emulates them.

// c += a x b, of 16 x 8, 16 x 16 and 16 x 8.
__device__ inline void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline u32 in_shared(const half_t *place) { return (u32)__cvta_generic_to_shared(place); }

// Four matrices of 8 x 8; lane i names row i % 8 of matrix i / 8.
__device__ inline void load_matrices(u32 (&to)[4], const half_t *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(in_shared(row)));
}

__device__ inline void load_transposed(u32 (&to)[4], const half_t *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(in_shared(row)));
}

// Eight numbers to shared memory, or zeros. Nothing is read then, but `from` must be an address.
__device__ inline void copy_async(half_t *to, const half_t *from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(in_shared(to)), "l"(from), "r"(there ? 16 : 0));
}

__device__ inline void end_group() { asm volatile("cp.async.commit_group;"); }
// Waits until at most one group of copies is under way.
__device__ inline void wait_for_group() { asm volatile("cp.async.wait_group 1;"); }

__device__ inline u32 pack(float low, float high) {
  u32 both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
}

// A power of two, by the processor's own instruction.
__device__ inline float power(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

__device__ inline float other_lane(float x, int distance) { return __shfl_xor_sync(0xffffffffu, x, distance); }
#endif
