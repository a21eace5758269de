// Kernels of training: what a step does between its products, and attention with its gradients.
//
// Compiled by NVRTC behind the model crate's warp.cu, for heads of one width:
//   HEAD     width of a head, a multiple of 16 and at most 128
//
// Numbers are single precision, or BF16 (`half_t`) where they are factors of a product. A row sees the rows of its own
// segment up to itself and those of the segments that it comes from. Segments lie in depth-first order, so that is a
// matter of two numbers: row i sees row j where j <= i and i < until[j], the end of all that comes from j's segment.
//
// Determinism: every sum is taken in a fixed order, by one block; there are no atomics.

#define TILE 64                   // rows of a block of the attention kernels, 16 for each warp
#define STRIP 32                  // rows that pass by them at a time
#define THREADS (TILE / 16 * 32)  // of the attention kernels
#define ROW (HEAD + 8)            // numbers between rows in shared memory: neighbours start in different banks
#define EIGHTS (HEAD / 8)         // groups of eight numbers of a head: what a thread copies at a time
#define SHARED_ROWS (2 * TILE + 2 * STRIP)
#define BLOCK_HEADS 4             // heads of a block of the kernels that work on heads
#define ROW_THREADS 256           // of the kernels that work on a row, and on single numbers
#define BINARY 1.4426950408889634f  // the binary logarithm of e

static_assert(HEAD % 16 == 0 && HEAD <= 128, "heads are products of 16 x 16, and must fit registers");

// Sums of a block's threads, two at a time; every thread gets them.
__device__ inline float2 sum_of_block(float first, float second) {
  __shared__ float2 sums[ROW_THREADS];
  __syncthreads();
  sums[threadIdx.x] = make_float2(first, second);
  for (u32 half = ROW_THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      sums[threadIdx.x].x += sums[threadIdx.x + half].x;
      sums[threadIdx.x].y += sums[threadIdx.x + half].y;
    }
  }
  __syncthreads();
  return sums[0];
}

__device__ inline void put(void *out, size_t at, float value, u32 halved) {
  if (halved) {
    ((half_t *)out)[at] = narrow(value);
  } else {
    ((float *)out)[at] = value;
  }
}

// Divides rows by the root of their mean square and multiplies them with `weight`; to BF16 if `halved`. Grid: rows; block:
// ROW_THREADS.
extern "C" __global__ void normalise(const float *x, const float *weight, void *out, u32 width, float epsilon, u32 halved) {
  size_t first = (size_t)blockIdx.x * width;
  float squares = 0.0f;
  for (u32 i = threadIdx.x; i < width; i += ROW_THREADS) squares += x[first + i] * x[first + i];
  float inverse = 1.0f / sqrtf(sum_of_block(squares, 0.0f).x / width + epsilon);
  for (u32 i = threadIdx.x; i < width; i += ROW_THREADS) put(out, first + i, x[first + i] * inverse * weight[i], halved);
}

// Gradient of `normalise` by x, given that of its output; added to `onto` if that is not null. Grid: rows; block:
// ROW_THREADS.
extern "C" __global__ void normalise_backward(const float *x, const float *weight, const float *gradient, const float *onto,
                                              float *out, u32 width, float epsilon) {
  size_t first = (size_t)blockIdx.x * width;
  float squares = 0.0f, along = 0.0f;
  for (u32 i = threadIdx.x; i < width; i += ROW_THREADS) {
    squares += x[first + i] * x[first + i];
    along += gradient[first + i] * weight[i] * x[first + i];
  }
  float2 sums = sum_of_block(squares, along);
  float inverse = 1.0f / sqrtf(sums.x / width + epsilon), back = sums.y * inverse * inverse / width;
  for (u32 i = threadIdx.x; i < width; i += ROW_THREADS) {
    float by_x = (gradient[first + i] * weight[i] - x[first + i] * back) * inverse;
    out[first + i] = onto ? onto[first + i] + by_x : by_x;
  }
}

// Rows x heads x HEAD to heads x rows x HEAD of BF16, rotated if there are cosines and sines (rows x HEAD / 2). Grid: rows
// x as many as make `heads`; block: BLOCK_HEADS x HEAD / 2.
extern "C" __global__ void split(const float *x, const float *cosines, const float *sines, half_t *out, u32 rows,
                                 u32 heads) {
  u32 row = blockIdx.x, head = blockIdx.y * BLOCK_HEADS + threadIdx.x / (HEAD / 2), pair = threadIdx.x % (HEAD / 2);
  if (head >= heads) return;
  const float *from = x + ((size_t)row * heads + head) * HEAD;
  float a = from[pair], b = from[pair + HEAD / 2];
  if (cosines) {
    float cosine = cosines[(size_t)row * (HEAD / 2) + pair], sine = sines[(size_t)row * (HEAD / 2) + pair];
    float first = a * cosine - b * sine;
    b = b * cosine + a * sine;
    a = first;
  }
  half_t *to = out + ((size_t)head * rows + row) * HEAD;
  to[pair] = narrow(a);
  to[pair + HEAD / 2] = narrow(b);
}

// The inverse of `split`; to BF16 if `halved`.
extern "C" __global__ void join(const half_t *x, const float *cosines, const float *sines, void *out, u32 rows, u32 heads,
                                u32 halved) {
  u32 row = blockIdx.x, head = blockIdx.y * BLOCK_HEADS + threadIdx.x / (HEAD / 2), pair = threadIdx.x % (HEAD / 2);
  if (head >= heads) return;
  const half_t *from = x + ((size_t)head * rows + row) * HEAD;
  float a = widen(from[pair]), b = widen(from[pair + HEAD / 2]);
  if (cosines) {
    float cosine = cosines[(size_t)row * (HEAD / 2) + pair], sine = sines[(size_t)row * (HEAD / 2) + pair];
    float first = a * cosine + b * sine;
    b = b * cosine - a * sine;
    a = first;
  }
  size_t to = ((size_t)row * heads + head) * HEAD;
  put(out, to + pair, a, halved);
  put(out, to + pair + HEAD / 2, b, halved);
}

// Gated activation, two numbers a thread. Grid: as many as make `pairs`; block: ROW_THREADS.
extern "C" __global__ void gate(const u32 *gates, const u32 *ups, u32 *out, u32 pairs) {
  u32 pair = blockIdx.x * ROW_THREADS + threadIdx.x;
  if (pair >= pairs) return;
  half_t result[2];
  for (int i = 0; i < 2; i++) {
    float x = widen((half_t)(gates[pair] >> 16 * i)), up = widen((half_t)(ups[pair] >> 16 * i));
    result[i] = narrow(x / (1.0f + expf(-x)) * up);
  }
  out[pair] = (u32)result[0] | (u32)result[1] << 16;
}

// Gradients of `gate` by gates and ups, as `gate`.
extern "C" __global__ void gate_backward(const u32 *gates, const u32 *ups, const u32 *gradients, u32 *by_gates, u32 *by_ups,
                                         u32 pairs) {
  u32 pair = blockIdx.x * ROW_THREADS + threadIdx.x;
  if (pair >= pairs) return;
  half_t by_gate[2], by_up[2];
  for (int i = 0; i < 2; i++) {
    float x = widen((half_t)(gates[pair] >> 16 * i)), up = widen((half_t)(ups[pair] >> 16 * i));
    float gradient = widen((half_t)(gradients[pair] >> 16 * i));
    float share = 1.0f / (1.0f + expf(-x)), activated = x * share;
    by_gate[i] = narrow(gradient * up * (share + activated - activated * share));
    by_up[i] = narrow(gradient * activated);
  }
  by_gates[pair] = (u32)by_gate[0] | (u32)by_gate[1] << 16;
  by_ups[pair] = (u32)by_up[0] | (u32)by_up[1] << 16;
}

// Value that decides whether dropout leaves the value at an index: `dropout_bits` of the processor's kernels.
__device__ inline u32 dropout_bits(u32 low, u32 high, u32 index) {
  u32 x = index ^ low;
  x = x * 0x9e3779b1u ^ high;
  x ^= x >> 16;
  x *= 0x85ebca6bu;
  x ^= x >> 13;
  x *= 0xc2b2ae35u;
  return x ^ (x >> 16);
}

// Zero for a share of the numbers, the others times `growth`; of BF16 if `halved`. Grid: as many as make `count`; block:
// ROW_THREADS.
extern "C" __global__ void drop(const void *x, void *out, u32 count, u32 low, u32 high, u32 threshold, float growth,
                                u32 halved) {
  u32 i = blockIdx.x * ROW_THREADS + threadIdx.x;
  if (i >= count) return;
  float value = halved ? widen(((const half_t *)x)[i]) : ((const float *)x)[i];
  put(out, i, dropout_bits(low, high, i) < threshold ? 0.0f : value * growth, halved);
}

// Cross entropy of rows of logits with their targets, in nats, and the gradient of their sum times `scale`. Grid: rows;
// block: ROW_THREADS.
extern "C" __global__ void cross_entropy(const float *logits, const u32 *targets, float *losses, half_t *gradient, u32 width,
                                         float scale) {
  __shared__ float greatest[ROW_THREADS];
  const float *row = logits + (size_t)blockIdx.x * width;
  float top = LOWEST, sum = 0.0f;
  for (u32 i = threadIdx.x; i < width; i += ROW_THREADS) top = fmaxf(top, row[i]);
  greatest[threadIdx.x] = top;
  for (u32 half = ROW_THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) greatest[threadIdx.x] = fmaxf(greatest[threadIdx.x], greatest[threadIdx.x + half]);
  }
  __syncthreads();
  top = greatest[0];
  for (u32 i = threadIdx.x; i < width; i += ROW_THREADS) sum += expf(row[i] - top);
  sum = sum_of_block(sum, 0.0f).x;
  u32 target = targets[blockIdx.x];
  if (threadIdx.x == 0) losses[blockIdx.x] = top + logf(sum) - row[target];
  half_t *out = gradient + (size_t)blockIdx.x * width;
  for (u32 i = threadIdx.x; i < width; i += ROW_THREADS) {
    out[i] = narrow(scale * (expf(row[i] - top) / sum - (i == target ? 1.0f : 0.0f)));
  }
}

// The kernels below work on many arrays of single precision at once, which a table tells. Grid: parts x arrays; block:
// ROW_THREADS. Results lie one array behind the other, where the table says.

// Sums of squares of the parts of arrays. Table: address, count.
extern "C" __global__ void squares(const u64 *table, float *out) {
  const u64 *entry = table + blockIdx.y * 2;
  const float *x = (const float *)entry[0];
  u32 count = (u32)entry[1];
  float sum = 0.0f;
  for (u32 i = blockIdx.x * ROW_THREADS + threadIdx.x; i < count; i += gridDim.x * ROW_THREADS) sum += x[i] * x[i];
  sum = sum_of_block(sum, 0.0f).x;
  if (threadIdx.x == 0) out[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

// Arrays times a number, as BF16. Table: address, count, first place of the result, bits of the number.
extern "C" __global__ void prepare(const u64 *table, half_t *out) {
  const u64 *entry = table + blockIdx.y * 4;
  const float *x = (const float *)entry[0];
  u32 count = (u32)entry[1];
  float scale = __uint_as_float((u32)entry[3]);
  for (u32 i = blockIdx.x * ROW_THREADS + threadIdx.x; i < count; i += gridDim.x * ROW_THREADS) {
    out[entry[2] + i] = narrow(x[i] * scale);
  }
}

// One step of AdamW. Table: addresses of parameter, gradient, first and second moment, count, first place of the results.
//
//   shrink     what the gradient is multiplied with
//   kept       share of the parameter that decay leaves
//   root       what the root of the second moment is multiplied with, against its start
//   rate       of learning, likewise
extern "C" __global__ void adamw(const u64 *table, float *parameters, float *firsts, float *seconds, float shrink,
                                 float beta1, float beta2, float kept, float root, float epsilon, float rate) {
  const u64 *entry = table + blockIdx.y * 6;
  const float *parameter = (const float *)entry[0], *gradient = (const float *)entry[1];
  const float *first = (const float *)entry[2], *second = (const float *)entry[3];
  u32 count = (u32)entry[4];
  for (u32 i = blockIdx.x * ROW_THREADS + threadIdx.x; i < count; i += gridDim.x * ROW_THREADS) {
    float by = gradient[i] * shrink;
    float mean = first[i] * beta1 + by * (1.0f - beta1), square = second[i] * beta2 + by * by * (1.0f - beta2);
    firsts[entry[5] + i] = mean;
    seconds[entry[5] + i] = square;
    parameters[entry[5] + i] = parameter[i] * kept - mean / (sqrtf(square) * root + epsilon) * rate;
  }
}

// What every row's output and its gradient have along each other: heads x rows. Grid: as many as make `count` = heads x
// rows, a warp for each; block: ROW_THREADS.
extern "C" __global__ void along(const half_t *output, const half_t *gradient, float *out, u32 count) {
  u32 row = blockIdx.x * (ROW_THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  float sum = 0.0f;
  if (row < count) {
    for (u32 i = lane; i < HEAD; i += 32) {
      sum += widen(output[(size_t)row * HEAD + i]) * widen(gradient[(size_t)row * HEAD + i]);
    }
  }
  for (int distance = 16; distance > 0; distance /= 2) sum += other_lane(sum, distance);
  if (row < count && lane == 0) out[row] = sum;
}

// `count` rows of a head, from row `first`, to shared memory; zeros beyond the last. `matrix` is rows x HEAD.
__device__ inline void bring(half_t *to, const half_t *matrix, u32 first, u32 count, u32 rows) {
  for (u32 i = threadIdx.x; i < count * EIGHTS; i += THREADS) {
    u32 row = i / EIGHTS, eight = i % EIGHTS * 8;
    uint4 x = make_uint4(0, 0, 0, 0);
    if (first + row < rows) x = *(const uint4 *)(matrix + (size_t)(first + row) * HEAD + eight);
    *(uint4 *)(to + row * ROW + eight) = x;
  }
}

// Products of a warp's 16 rows with each of a strip's: c[n] are those of 8.
__device__ inline void compare(float (&c)[STRIP / 8][4], const half_t *own, const half_t *strip) {
  u32 lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < STRIP / 8; n++) {
    for (int i = 0; i < 4; i++) c[n][i] = 0.0f;
  }
#pragma unroll
  for (int k = 0; k < HEAD / 16; k++) {
    u32 left[4];
    load_matrices(left, own + lane % 16 * ROW + k * 16 + lane / 16 * 8);
#pragma unroll
    for (int n = 0; n < STRIP / 16; n++) {
      u32 right[4];
      load_matrices(right, strip + (n * 16 + lane / 16 * 8 + lane % 8) * ROW + k * 16 + lane / 8 % 2 * 8);
      multiply(c[2 * n], left, right[0], right[1]);
      multiply(c[2 * n + 1], left, right[2], right[3]);
    }
  }
}

// Adds a strip's rows, weighted for each of a warp's 16.
__device__ inline void gather(float (&sum)[EIGHTS][4], const float (&weight)[STRIP / 8][4], const half_t *strip) {
  u32 lane = threadIdx.x % 32;
#pragma unroll
  for (int p = 0; p < STRIP / 16; p++) {
    u32 left[4];
#pragma unroll
    for (int n = 0; n < 2; n++) {
      left[2 * n] = pack(weight[2 * p + n][0], weight[2 * p + n][1]);
      left[2 * n + 1] = pack(weight[2 * p + n][2], weight[2 * p + n][3]);
    }
#pragma unroll
    for (int n = 0; n < HEAD / 16; n++) {
      u32 right[4];
      load_transposed(right, strip + (p * 16 + lane % 16) * ROW + n * 16 + lane / 16 * 8);
      multiply(sum[2 * n], left, right[0], right[1]);
      multiply(sum[2 * n + 1], left, right[2], right[3]);
    }
  }
}

// A warp's 16 rows times `scale`, from row `first`, two numbers at a time.
__device__ inline void store(half_t *matrix, const float (&sum)[EIGHTS][4], const float (&scale)[2], u32 first, u32 rows) {
  u32 lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < 2; j++) {
    u32 row = first + lane / 4 + j * 8;
    if (row >= rows) continue;
    u32 *to = (u32 *)(matrix + (size_t)row * HEAD) + lane % 4;
#pragma unroll
    for (int n = 0; n < EIGHTS; n++) to[n * 4] = pack(sum[n][2 * j] * scale[j], sum[n][2 * j + 1] * scale[j]);
  }
}

// Attention within a pack. Grid: tiles of rows x heads; block: THREADS; shared memory: SHARED_ROWS x ROW numbers of BF16.
//
//   queries, out  heads x rows x HEAD
//   keys, values  kv_heads x rows x HEAD
//   until         rows
//   furthest      strips: the greatest `until` of each
//   scale         of the scores, times the binary logarithm of e: weights are powers of two
//   sums          heads x rows: natural logarithms of the sums of exponentials
extern "C" __global__ void __launch_bounds__(THREADS)
    attend(const half_t *queries, const half_t *keys, const half_t *values, const u32 *until, const u32 *furthest,
           half_t *out, float *sums, u32 rows, u32 heads, u32 kv_heads, float scale) {
  SHARED_BYTES(shared);
  half_t *own = (half_t *)shared, *key_strip = own + TILE * ROW, *value_strip = key_strip + STRIP * ROW;
  u32 first = blockIdx.x * TILE, head = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32 * 16;
  size_t own_head = (size_t)head * rows, other_head = (size_t)(head / (heads / kv_heads)) * rows;
  bring(own, queries + own_head * HEAD, first, TILE, rows);
  float top[2] = {LOWEST, LOWEST}, sum[2] = {0.0f, 0.0f}, result[EIGHTS][4];
#pragma unroll
  for (int n = 0; n < EIGHTS; n++) {
    for (int i = 0; i < 4; i++) result[n][i] = 0.0f;
  }
  for (u32 base = 0; base < first + TILE && base < rows; base += STRIP) {
    if (furthest[base / STRIP] <= first) continue;
    __syncthreads();
    bring(key_strip, keys + other_head * HEAD, base, STRIP, rows);
    bring(value_strip, values + other_head * HEAD, base, STRIP, rows);
    __syncthreads();
    float score[STRIP / 8][4], highest[2] = {LOWEST, LOWEST}, against[2];
    compare(score, own + warp * ROW, key_strip);
#pragma unroll
    for (int n = 0; n < STRIP / 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        u32 row = first + warp + lane / 4 + i / 2 * 8, other = base + n * 8 + lane % 4 * 2 + i % 2;
        score[n][i] = other <= row && other < rows && row < until[other] ? score[n][i] * scale : LOWEST;
        highest[i / 2] = fmaxf(highest[i / 2], score[n][i]);
      }
    }
#pragma unroll
    for (int j = 0; j < 2; j++) {
      highest[j] = fmaxf(highest[j], other_lane(highest[j], 1));
      highest[j] = fmaxf(highest[j], other_lane(highest[j], 2));
      float before = top[j];
      top[j] = fmaxf(before, highest[j]);
      against[j] = top[j] == LOWEST ? 0.0f : top[j];
      float shrink = power(before - against[j]);
      sum[j] *= shrink;
#pragma unroll
      for (int n = 0; n < EIGHTS; n++) {
        result[n][2 * j] *= shrink;
        result[n][2 * j + 1] *= shrink;
      }
    }
#pragma unroll
    for (int n = 0; n < STRIP / 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        score[n][i] = power(score[n][i] - against[i / 2]);
        sum[i / 2] += score[n][i];
      }
    }
    gather(result, score, value_strip);
  }
  float share[2];
#pragma unroll
  for (int j = 0; j < 2; j++) {
    sum[j] += other_lane(sum[j], 1);
    sum[j] += other_lane(sum[j], 2);
    share[j] = 1.0f / sum[j];
    u32 row = first + warp + lane / 4 + j * 8;
    if (row < rows && lane % 4 == 0) sums[own_head + row] = (top[j] + log2f(sum[j])) / BINARY;
  }
  store(out + own_head * HEAD, result, share, first + warp, rows);
}

// A weight, from a score and what the sums of its row are: zero where the row does not see the other.
__device__ inline float weight_of(float score, float scale, float sum, bool seen) {
  return seen ? power(score * scale - sum * BINARY) : 0.0f;
}

// Gradient by the queries. As `attend`, with
//
//   gradient, by_queries  heads x rows x HEAD
//   sums, along           heads x rows
//   factor                of the scores
extern "C" __global__ void __launch_bounds__(THREADS)
    attend_backward_queries(const half_t *queries, const half_t *keys, const half_t *values, const half_t *gradient,
                            const float *sums, const float *along, const u32 *until, const u32 *furthest,
                            half_t *by_queries, u32 rows, u32 heads, u32 kv_heads, float scale, float factor) {
  SHARED_BYTES(shared);
  half_t *own = (half_t *)shared, *by_own = own + TILE * ROW, *key_strip = by_own + TILE * ROW;
  half_t *value_strip = key_strip + STRIP * ROW;
  u32 first = blockIdx.x * TILE, head = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32 * 16;
  size_t own_head = (size_t)head * rows, other_head = (size_t)(head / (heads / kv_heads)) * rows;
  bring(own, queries + own_head * HEAD, first, TILE, rows);
  bring(by_own, gradient + own_head * HEAD, first, TILE, rows);
  float sum[2], part[2], result[EIGHTS][4];
#pragma unroll
  for (int j = 0; j < 2; j++) {
    u32 row = first + warp + lane / 4 + j * 8;
    sum[j] = row < rows ? sums[own_head + row] : 0.0f;
    part[j] = row < rows ? along[own_head + row] : 0.0f;
  }
#pragma unroll
  for (int n = 0; n < EIGHTS; n++) {
    for (int i = 0; i < 4; i++) result[n][i] = 0.0f;
  }
  for (u32 base = 0; base < first + TILE && base < rows; base += STRIP) {
    if (furthest[base / STRIP] <= first) continue;
    __syncthreads();
    bring(key_strip, keys + other_head * HEAD, base, STRIP, rows);
    bring(value_strip, values + other_head * HEAD, base, STRIP, rows);
    __syncthreads();
    float score[STRIP / 8][4], by_weight[STRIP / 8][4];
    compare(score, own + warp * ROW, key_strip);
    compare(by_weight, by_own + warp * ROW, value_strip);
#pragma unroll
    for (int n = 0; n < STRIP / 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        u32 row = first + warp + lane / 4 + i / 2 * 8, other = base + n * 8 + lane % 4 * 2 + i % 2;
        bool seen = other <= row && row < rows && row < until[other];
        score[n][i] = weight_of(score[n][i], scale, sum[i / 2], seen) * (by_weight[n][i] - part[i / 2]);
      }
    }
    gather(result, score, key_strip);
  }
  float factors[2] = {factor, factor};
  store(by_queries + own_head * HEAD, result, factors, first + warp, rows);
}

// A tile's parts of the gradients by keys and values, from some of the rows that see it: what many see, such as an instruction
// that all examples begin with, is the work of many blocks. Grid: items x kv_heads; the rest as above, with
//
//   items      items x 3: first row of the tile, first row that looks, one past the last
//   by_keys, by_values  items x kv_heads x TILE x HEAD, single precision
extern "C" __global__ void __launch_bounds__(THREADS)
    attend_backward_keys(const half_t *queries, const half_t *keys, const half_t *values, const half_t *gradient,
                         const float *sums, const float *along, const u32 *until, const u32 *items, float *by_keys,
                         float *by_values, u32 rows, u32 heads, u32 kv_heads, float scale) {
  SHARED_BYTES(shared);
  half_t *own = (half_t *)shared, *own_values = own + TILE * ROW, *query_strip = own_values + TILE * ROW;
  half_t *gradient_strip = query_strip + STRIP * ROW;
  const u32 *item = items + blockIdx.x * 3;
  u32 first = item[0], end = item[2], kv_head = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32 * 16;
  u32 group = heads / kv_heads, ends[2];
  size_t own_head = (size_t)kv_head * rows;
  bring(own, keys + own_head * HEAD, first, TILE, rows);
  bring(own_values, values + own_head * HEAD, first, TILE, rows);
#pragma unroll
  for (int j = 0; j < 2; j++) {
    u32 row = first + warp + lane / 4 + j * 8;
    ends[j] = row < rows ? until[row] : 0;
  }
  float by_key[EIGHTS][4], by_value[EIGHTS][4];
#pragma unroll
  for (int n = 0; n < EIGHTS; n++) {
    for (int i = 0; i < 4; i++) by_key[n][i] = by_value[n][i] = 0.0f;
  }
  for (u32 head = kv_head * group; head < (kv_head + 1) * group; head++) {
    size_t other_head = (size_t)head * rows;
    for (u32 base = item[1]; base < end; base += STRIP) {
      __syncthreads();
      bring(query_strip, queries + other_head * HEAD, base, STRIP, rows);
      bring(gradient_strip, gradient + other_head * HEAD, base, STRIP, rows);
      __syncthreads();
      float weight[STRIP / 8][4], by_weight[STRIP / 8][4];
      compare(weight, own + warp * ROW, query_strip);
      compare(by_weight, own_values + warp * ROW, gradient_strip);
#pragma unroll
      for (int n = 0; n < STRIP / 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          u32 row = first + warp + lane / 4 + i / 2 * 8, other = base + n * 8 + lane % 4 * 2 + i % 2;
          bool seen = row <= other && other < ends[i / 2];
          size_t at = other_head + (seen ? other : first);
          weight[n][i] = weight_of(weight[n][i], scale, sums[at], seen);
          by_weight[n][i] = weight[n][i] * (by_weight[n][i] - along[at]);
        }
      }
      gather(by_value, weight, gradient_strip);
      gather(by_key, by_weight, query_strip);
    }
  }
  size_t part = ((size_t)blockIdx.x * kv_heads + kv_head) * TILE * HEAD + (warp + lane / 4) * HEAD + lane % 4 * 2;
#pragma unroll
  for (int n = 0; n < EIGHTS; n++) {
    for (int j = 0; j < 2; j++) {
      size_t at = part + j * 8 * HEAD + n * 8;
      *(float2 *)(by_keys + at) = make_float2(by_key[n][2 * j], by_key[n][2 * j + 1]);
      *(float2 *)(by_values + at) = make_float2(by_value[n][2 * j], by_value[n][2 * j + 1]);
    }
  }
}

// Sums of the parts of each tile, in their order. Grid: tiles x kv_heads; block: THREADS.
//
//   firsts     tiles + 1: first item of each, and their number
//   parts      items x kv_heads x TILE x HEAD
//   out        kv_heads x rows x HEAD
extern "C" __global__ void collect(const float *parts, const u32 *firsts, half_t *out, u32 rows, u32 kv_heads, float factor) {
  u32 first = blockIdx.x * TILE;
  for (u32 i = threadIdx.x; i < TILE * HEAD; i += THREADS) {
    if (first + i / HEAD >= rows) return;
    float sum = 0.0f;
    for (u32 item = firsts[blockIdx.x]; item < firsts[blockIdx.x + 1]; item++) {
      sum += parts[((size_t)item * kv_heads + blockIdx.y) * TILE * HEAD + i];
    }
    out[((size_t)blockIdx.y * rows + first) * HEAD + i] = narrow(sum * factor);
  }
}
