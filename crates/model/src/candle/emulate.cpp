// Runs the kernels of kernels.cu on a CPU (see emulation.hpp).
//
// Usage: emulate INPUT OUTPUT. Both files hold arrays, each a 64-bit count of bytes and the bytes. Input: the scalars
// (rows, heads, kv_heads, layers, layer, biased, normed, partials, items, chosen as u32), epsilon and scale (f32), then
// the arrays that the kernels take, in their order. Output: the pool, the rotated queries, the attention, and what the
// kernels for rows make of the array `qkv`: the embedding's rows, normalised rows, gated rows, digests.

#include "emulation.hpp"

#include "kernels.cu"

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
