// Runs the kernels of kernels.cu on a CPU, for the tests: the same source, one thread for each CUDA thread, block after
// block. What it shows is that indices, barriers and arithmetic are right; it says nothing about speed.
//
// Usage: emulate INPUT OUTPUT. Both files hold arrays, each a 64-bit count of bytes and the bytes. Input: the scalars
// (rows, heads, kv_heads, layers, layer, normed, partials, items as u32), epsilon and scale (f32), then the arrays that
// the kernels take, in their order. Output: the pool, the rotated queries and the result.

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
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) ushort4 { unsigned short x, y, z, w; };

static thread_local Index threadIdx;
static thread_local Index blockIdx;
static std::unique_ptr<std::barrier<>> block_barrier;

static void __syncthreads() { block_barrier->arrive_and_wait(); }
static float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
[[maybe_unused]] static float __uint_as_float(unsigned x) { float y; std::memcpy(&y, &x, 4); return y; }
[[maybe_unused]] static unsigned __float_as_uint(float x) { unsigned y; std::memcpy(&y, &x, 4); return y; }

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(threads)
#include "kernels.cu"

static void launch(unsigned grid_x, unsigned grid_y, unsigned threads, const std::function<void()> &kernel) {
  block_barrier = std::make_unique<std::barrier<>>(threads);
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
  u32 rows = n[0], heads = n[1], kv_heads = n[2], layers = n[3], layer = n[4], normed = n[5], partials = n[6], items = n[7];
  float epsilon = reals.as<float>()[0], scale = reals.as<float>()[1];
  Array qkv = take(input), query_norm = take(input), key_norm = take(input), cosines = take(input), sines = take(input);
  Array slots = take(input), pool = take(input);
  Array item = take(input), segment = take(input), member = take(input), row = take(input);
  std::fclose(input);

  Array queries = array((size_t)rows * heads * HEAD * 4), out = array((size_t)rows * heads * HEAD * 4);
  Array top = array((size_t)partials * heads * 4), sum = array((size_t)partials * heads * 4);
  Array values = array((size_t)partials * heads * HEAD * 4);
  launch(rows, heads + 2 * kv_heads, HEAD / 2, [&] {
    store(qkv.as<float>(), query_norm.as<float>(), key_norm.as<float>(), cosines.as<float>(), sines.as<float>(),
          slots.as<u32>(), pool.as<kv_t>(), queries.as<float>(), heads, kv_heads, layers, layer, normed, epsilon);
  });
  launch(items, kv_heads, THREADS, [&] {
    attend(queries.as<float>(), pool.as<kv_t>(), item.as<u32>(), segment.as<u32>(), member.as<u32>(), row.as<u32>(),
           top.as<float>(), sum.as<float>(), values.as<float>(), heads, kv_heads, layers, layer, scale);
  });
  launch(rows, heads, HEAD, [&] {
    merge(top.as<float>(), sum.as<float>(), values.as<float>(), row.as<u32>(), out.as<float>(), heads);
  });

  FILE *output = std::fopen(arguments[2], "wb");
  if (!output) return 2;
  put(output, pool);
  put(output, queries);
  put(output, out);
  return std::fclose(output) ? 2 : 0;
}
