// Runs the kernels of kernels.cu on a CPU, for the tests: the same source, one thread for each CUDA thread, block after
// block. What it shows is that indices, barriers and arithmetic are right; it says nothing about speed. What a warp
// does as one is done here by its threads together, by the layouts that the PTX manual gives.
//
// Usage: emulate INPUT OUTPUT. Both files hold arrays, each a 64-bit count of bytes and the bytes. Input: the scalars
// (rows, heads, kv_heads, layers, layer, biased, normed, partials, items, chosen as u32), epsilon and scale (f32), then
// the arrays that the kernels take, in their order. Output: the pool, the rotated queries, the attention, and what the
// kernels for rows make of the array `qkv`: the embedding's rows, normalised rows, gated rows, digests.

#include <barrier>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

struct Index { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(8) float2 { float x, y; };

static thread_local Index threadIdx;
static thread_local Index blockIdx;
static std::unique_ptr<std::barrier<>> block_barrier;

static void __syncthreads() { block_barrier->arrive_and_wait(); }
static uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static float2 make_float2(float x, float y) { return {x, y}; }
static float __uint_as_float(unsigned x) { float y; std::memcpy(&y, &x, 4); return y; }
static unsigned __float_as_uint(float x) { unsigned y; std::memcpy(&y, &x, 4); return y; }

// A warp: what its lanes show one another. Two places take turns, so that one barrier for each exchange does.
struct Shown { unsigned words[6]; const unsigned short *row; };
struct Warp {
  std::barrier<> together{32};
  Shown shown[2][32];
};
static std::vector<std::unique_ptr<Warp>> warps;
static thread_local unsigned turn;

static const Shown *show(const Shown &mine) {
  Warp &warp = *warps[threadIdx.x / 32];
  Shown *all = warp.shown[turn++ % 2];
  all[threadIdx.x % 32] = mine;
  warp.together.arrive_and_wait();
  return all;
}

static float widened(unsigned words, unsigned half) { return __uint_as_float(words >> 16 * half << 16); }

static void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  const Shown *all = show({{a[0], a[1], a[2], a[3], b0, b1}, nullptr});
  unsigned lane = threadIdx.x % 32;
  for (unsigned i = 0; i < 4; i++) {
    unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (unsigned k = 0; k < 16; k++) {
      unsigned of_a = row % 8 * 4 + k % 8 / 2, of_b = column * 4 + k % 8 / 2;
      c[i] += widened(all[of_a].words[row / 8 + k / 8 * 2], k % 2) * widened(all[of_b].words[4 + k / 8], k % 2);
    }
  }
}

static void load_from(unsigned (&to)[4], const unsigned short *row, bool transposed) {
  const Shown *all = show({{}, row});
  unsigned lane = threadIdx.x % 32;
  for (unsigned matrix = 0; matrix < 4; matrix++) {
    unsigned low, high;
    if (transposed) {
      low = all[matrix * 8 + lane % 4 * 2].row[lane / 4];
      high = all[matrix * 8 + lane % 4 * 2 + 1].row[lane / 4];
    } else {
      low = all[matrix * 8 + lane / 4].row[lane % 4 * 2];
      high = all[matrix * 8 + lane / 4].row[lane % 4 * 2 + 1];
    }
    to[matrix] = low | high << 16;
  }
}

static void load_matrices(unsigned (&to)[4], const unsigned short *row) { load_from(to, row, false); }
static void load_transposed(unsigned (&to)[4], const unsigned short *row) { load_from(to, row, true); }

static float other_lane(float x, int distance) {
  return __uint_as_float(show({{__float_as_uint(x)}, nullptr})[threadIdx.x % 32 ^ distance].words[0]);
}

static float power(float x) { return exp2f(x); }

static void copy_async(unsigned short *to, const unsigned short *from, bool there) {
  if (there) std::memcpy(to, from, 16);
  else std::memset(to, 0, 16);
}
static void end_group() {}
static void wait_for_group() {}

#define EMULATED
#define SHARED_BYTES(name) static uint4 name[SHARED_ROWS * ROW / 8]
#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)
static unsigned pack(float low, float high);
#include "kernels.cu"
static unsigned pack(float low, float high) { return narrow(low) | (unsigned)narrow(high) << 16; }

static void launch(unsigned grid_x, unsigned grid_y, unsigned threads, const std::function<void()> &kernel) {
  block_barrier = std::make_unique<std::barrier<>>(threads);
  warps.clear();
  for (unsigned warp = 0; warp < threads / 32; warp++) warps.push_back(std::make_unique<Warp>());
  // A barrier that kernels do not use keeps one block's threads from running into the next block.
  std::barrier<> between(threads);
  std::vector<std::thread> all;
  for (unsigned t = 0; t < threads; t++) {
    all.emplace_back([&, t] {
      threadIdx = {t, 0};
      for (unsigned y = 0; y < grid_y; y++) {
        for (unsigned x = 0; x < grid_x; x++) {
          blockIdx = {x, y};
          kernel();
          between.arrive_and_wait();
        }
      }
    });
  }
  for (auto &thread : all) thread.join();
}

// Arrays have exactly their own size on the heap, so that a sanitizer sees what is read or written beyond.
struct Array {
  std::unique_ptr<char[]> bytes;
  size_t size;
  template <typename T> T *as() { return reinterpret_cast<T *>(bytes.get()); }
};

static Array array(size_t size) { return {std::make_unique<char[]>(size), size}; }

static Array take(FILE *file) {
  unsigned long long size = 0;
  if (std::fread(&size, 8, 1, file) != 1) std::exit(2);
  Array all = array(size);
  if (std::fread(all.bytes.get(), 1, size, file) != size) std::exit(2);
  return all;
}

static void put(FILE *file, const Array &all) {
  unsigned long long size = all.size;
  std::fwrite(&size, 8, 1, file);
  std::fwrite(all.bytes.get(), 1, size, file);
}

int main(int count, char **arguments) {
  if (count != 3) return 2;
  FILE *input = std::fopen(arguments[1], "rb");
  if (!input) return 2;
  Array scalars = take(input), reals = take(input);
  u32 *n = scalars.as<u32>();
  u32 rows = n[0], heads = n[1], kv_heads = n[2], layers = n[3], layer = n[4];
  u32 biased = n[5], normed = n[6], partials = n[7], items = n[8], chosen = n[9];
  float epsilon = reals.as<float>()[0], scale = reals.as<float>()[1];
  Array qkv = take(input), bias = take(input), query_norm = take(input), key_norm = take(input), rotation = take(input);
  Array slots = take(input), pool = take(input);
  Array item = take(input), segment = take(input), member = take(input), row = take(input);
  Array of = take(input), weight = take(input), embedding = take(input);
  std::fclose(input);

  Array queries = array((size_t)rows * heads * HEAD * 2), out = array((size_t)rows * heads * HEAD * 2);
  Array top = array((size_t)partials * heads * 4), sum = array((size_t)partials * heads * 4);
  Array values = array((size_t)partials * heads * HEAD * 4);
  launch(rows, (heads + 2 * kv_heads + BLOCK_HEADS - 1) / BLOCK_HEADS, BLOCK_HEADS * HEAD / 2, [&] {
    store(qkv.as<float>(), biased ? bias.as<float>() : nullptr, normed ? query_norm.as<float>() : nullptr,
          normed ? key_norm.as<float>() : nullptr, rotation.as<float>(), row.as<u32>(), slots.as<u32>(),
          pool.as<half_t>(), queries.as<half_t>(), heads, kv_heads, layers, layer, epsilon);
  });
  launch(items, kv_heads, THREADS, [&] {
    attend(queries.as<half_t>(), pool.as<half_t>(), item.as<u32>(), segment.as<u32>(), member.as<u32>(), row.as<u32>(),
           top.as<float>(), sum.as<float>(), values.as<float>(), heads, kv_heads, layers, layer, scale);
  });
  launch(rows, (heads + BLOCK_HEADS - 1) / BLOCK_HEADS, BLOCK_HEADS * HEAD / 4, [&] {
    merge(top.as<float>(), sum.as<float>(), values.as<float4>(), row.as<u32>(), out.as<uint2>(), heads);
  });

  u32 width = (heads + 2 * kv_heads) * HEAD;
  Array embedded = array((size_t)chosen * width * 4), rooted = array((size_t)chosen * width * 2);
  Array gated = array((size_t)rows * width * 2), digests = array((size_t)rows * 8);
  launch(chosen, 1, ROW_THREADS, [&] {
    embed(embedding.as<half_t>(), of.as<u32>(), embedded.as<float>(), width);
  });
  launch(chosen, 1, ROW_THREADS, [&] {
    normalise(qkv.as<float>(), of.as<u32>(), weight.as<float>(), rooted.as<half_t>(), width, epsilon);
  });
  // Two numbers of BF16 are as wide as one of single precision.
  launch(rows, (width / 2 + ROW_THREADS - 1) / ROW_THREADS, ROW_THREADS, [&] {
    gate(qkv.as<u32>(), gated.as<u32>(), width);
  });
  launch(rows, 1, ROW_THREADS, [&] { digest(qkv.as<u32>(), digests.as<u64>(), width); });

  FILE *output = std::fopen(arguments[2], "wb");
  if (!output) return 2;
  for (Array *all : {&pool, &queries, &out, &embedded, &rooted, &gated, &digests}) put(output, *all);
  return std::fclose(output) ? 2 : 0;
}
