// Runs kernels on a CPU, for the tests: the same source, one thread for each CUDA thread, block after block. What it shows
// is that indices, barriers and arithmetic are right; it says nothing about speed. What a warp does as one is done here by
// its threads together, by the layouts that the PTX manual gives. Kernels are included after this.

#pragma once

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
static Index gridDim;
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
#include "warp.cu"
static unsigned pack(float low, float high) { return narrow(low) | (unsigned)narrow(high) << 16; }

static void launch(unsigned grid_x, unsigned grid_y, unsigned threads, const std::function<void()> &kernel) {
  gridDim = {grid_x, grid_y};
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
