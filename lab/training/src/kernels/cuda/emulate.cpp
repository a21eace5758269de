// Runs the kernels of training on a CPU (see the model crate's emulation.hpp).
//
// Usage: emulate INPUT OUTPUT. Both files hold arrays, each a 64-bit count of bytes and the bytes. Input: the scalars (rows,
// heads, kv_heads, width of the logits as u32), the reals (epsilon, the two scales of scores, scale of the losses, growth of
// dropout, then the seven numbers of AdamW as f32), seed and threshold of dropout (u32), and the arrays below in their order.

#include "emulation.hpp"

#include "kernels.cu"

int main(int count, char **arguments) {
  if (count != 3) return 2;
  FILE *input = std::fopen(arguments[1], "rb");
  if (!input) return 2;
  Array scalars = take(input), reals = take(input), draws = take(input);
  u32 rows = scalars.as<u32>()[0], heads = scalars.as<u32>()[1], kv_heads = scalars.as<u32>()[2];
  u32 vocabulary = scalars.as<u32>()[3];
  float *real = reals.as<float>();
  u32 *draw = draws.as<u32>();
  u32 width = heads * HEAD, kv_width = kv_heads * HEAD, numbers = rows * width, pairs = numbers / 2;
  // Single precision: rows x width each, but for keys and values, the weight of the norm, and what is named otherwise.
  Array x = take(input), keys = take(input), values = take(input), gradient = take(input), weight = take(input);
  Array cosines = take(input), sines = take(input), until = take(input), furthest = take(input);
  Array items = take(input), firsts = take(input);
  Array logits = take(input), targets = take(input), moments = take(input);
  // BF16, rows x width.
  Array gates = take(input), ups = take(input), by_gated = take(input);
  std::fclose(input);

  auto single = [](u32 count) { return array((size_t)count * 4); };
  auto half = [](u32 count) { return array((size_t)count * 2); };
  u32 head_blocks = (heads + BLOCK_HEADS - 1) / BLOCK_HEADS, kv_blocks = (kv_heads + BLOCK_HEADS - 1) / BLOCK_HEADS;
  u32 head_threads = BLOCK_HEADS * HEAD / 2, tiles = (rows + TILE - 1) / TILE;

  Array normal = half(numbers), by_x = single(numbers);
  launch(rows, 1, ROW_THREADS, [&] { normalise(x.as<float>(), weight.as<float>(), normal.as<void>(), width, real[0], 1); });
  launch(rows, 1, ROW_THREADS, [&] {
    normalise_backward(x.as<float>(), weight.as<float>(), gradient.as<float>(), x.as<float>(), by_x.as<float>(), width,
                       real[0]);
  });

  Array q = half(numbers), k = half(rows * kv_width), v = half(rows * kv_width), by_out = half(numbers);
  launch(rows, head_blocks, head_threads,
         [&] { split(x.as<float>(), cosines.as<float>(), sines.as<float>(), q.as<half_t>(), rows, heads); });
  launch(rows, kv_blocks, head_threads,
         [&] { split(keys.as<float>(), cosines.as<float>(), sines.as<float>(), k.as<half_t>(), rows, kv_heads); });
  launch(rows, kv_blocks, head_threads,
         [&] { split(values.as<float>(), nullptr, nullptr, v.as<half_t>(), rows, kv_heads); });
  launch(rows, head_blocks, head_threads,
         [&] { split(gradient.as<float>(), nullptr, nullptr, by_out.as<half_t>(), rows, heads); });

  Array out = half(numbers), sums = single(rows * heads), part = single(rows * heads);
  Array by_q = half(numbers), by_k = half(rows * kv_width), by_v = half(rows * kv_width);
  launch(tiles, heads, THREADS, [&] {
    attend(q.as<half_t>(), k.as<half_t>(), v.as<half_t>(), until.as<u32>(), furthest.as<u32>(), out.as<half_t>(),
           sums.as<float>(), rows, heads, kv_heads, real[1]);
  });
  launch((rows * heads + ROW_THREADS / 32 - 1) / (ROW_THREADS / 32), 1, ROW_THREADS,
         [&] { along(out.as<half_t>(), by_out.as<half_t>(), part.as<float>(), rows * heads); });
  launch(tiles, heads, THREADS, [&] {
    attend_backward_queries(q.as<half_t>(), k.as<half_t>(), v.as<half_t>(), by_out.as<half_t>(), sums.as<float>(),
                            part.as<float>(), until.as<u32>(), furthest.as<u32>(), by_q.as<half_t>(), rows, heads, kv_heads,
                            real[1], real[2]);
  });
  u32 count_of_items = items.size / 12;
  Array key_parts = single(count_of_items * kv_heads * TILE * HEAD), value_parts = single(count_of_items * kv_heads * TILE * HEAD);
  launch(count_of_items, kv_heads, THREADS, [&] {
    attend_backward_keys(q.as<half_t>(), k.as<half_t>(), v.as<half_t>(), by_out.as<half_t>(), sums.as<float>(),
                         part.as<float>(), until.as<u32>(), items.as<u32>(), key_parts.as<float>(), value_parts.as<float>(),
                         rows, heads, kv_heads, real[1]);
  });
  launch(tiles, kv_heads, THREADS,
         [&] { collect(key_parts.as<float>(), firsts.as<u32>(), by_k.as<half_t>(), rows, kv_heads, real[2]); });
  launch(tiles, kv_heads, THREADS,
         [&] { collect(value_parts.as<float>(), firsts.as<u32>(), by_v.as<half_t>(), rows, kv_heads, 1.0f); });
  Array merged = half(numbers), merged_by_q = single(numbers);
  launch(rows, head_blocks, head_threads,
         [&] { join(out.as<half_t>(), nullptr, nullptr, merged.as<void>(), rows, heads, 1); });
  launch(rows, head_blocks, head_threads, [&] {
    join(by_q.as<half_t>(), cosines.as<float>(), sines.as<float>(), merged_by_q.as<void>(), rows, heads, 0);
  });

  Array gated = half(numbers), by_gates = half(numbers), by_ups = half(numbers);
  u32 blocks = (pairs + ROW_THREADS - 1) / ROW_THREADS;
  launch(blocks, 1, ROW_THREADS, [&] { gate(gates.as<u32>(), ups.as<u32>(), gated.as<u32>(), pairs); });
  launch(blocks, 1, ROW_THREADS, [&] {
    gate_backward(gates.as<u32>(), ups.as<u32>(), by_gated.as<u32>(), by_gates.as<u32>(), by_ups.as<u32>(), pairs);
  });

  Array dropped = single(numbers), dropped_halves = half(numbers);
  blocks = (numbers + ROW_THREADS - 1) / ROW_THREADS;
  launch(blocks, 1, ROW_THREADS,
         [&] { drop(x.as<void>(), dropped.as<void>(), numbers, draw[0], draw[1], draw[2], real[4], 0); });
  launch(blocks, 1, ROW_THREADS,
         [&] { drop(gates.as<void>(), dropped_halves.as<void>(), numbers, draw[0], draw[1], draw[2], real[4], 1); });

  Array losses = single(rows), by_logits = half(rows * vocabulary);
  launch(rows, 1, ROW_THREADS, [&] {
    cross_entropy(logits.as<float>(), targets.as<u32>(), losses.as<float>(), by_logits.as<half_t>(), vocabulary, real[3]);
  });

  // Two arrays each: the second is half of the first, and its results lie behind.
  Array square_parts = single(6), prepared = half(numbers + pairs);
  Array stepped = single(numbers + pairs), first = single(numbers + pairs), second = single(numbers + pairs);
  auto address = [](Array &all) { return (u64)all.as<float>(); };
  u32 bits = __float_as_uint(real[3]);
  u64 squared[] = {address(x), numbers, address(x), pairs};
  u64 scaled[] = {address(x), numbers, 0, bits, address(x), pairs, numbers, bits};
  u64 updated[] = {address(x), address(gradient), address(gradient), address(moments), numbers, 0,
                   address(x), address(gradient), address(gradient), address(moments), pairs,   numbers};
  launch(3, 2, ROW_THREADS, [&] { squares(squared, square_parts.as<float>()); });
  launch(2, 2, ROW_THREADS, [&] { prepare(scaled, prepared.as<half_t>()); });
  launch(2, 2, ROW_THREADS, [&] {
    adamw(updated, stepped.as<float>(), first.as<float>(), second.as<float>(), real[5], real[6], real[7], real[8], real[9],
          real[10], real[11]);
  });

  FILE *output = std::fopen(arguments[2], "wb");
  if (!output) return 2;
  for (Array *all : {&normal, &by_x, &q, &k, &v, &merged, &sums, &merged_by_q, &by_k, &by_v, &gated, &by_gates, &by_ups,
                     &dropped, &dropped_halves, &losses, &by_logits, &square_parts, &prepared, &stepped, &first, &second}) {
    put(output, *all);
  }
  return std::fclose(output) ? 2 : 0;
}
