// Kernels of the candle backend: what a layer does between its products, and attention.
//
// Compiled when a model is loaded by NVRTC, without headers, for its sizes:
//   HEAD     width of a head, a multiple of 32 and at most 128
//   PAGE     positions of a page
//   CHUNK    positions of a partial result, a multiple of STRIP
//   TILE     queries of a block of the attention kernel
//   HALVES   times 16 queries of each of its warps: 1, or 2 where there are many queries to share a strip
//
// Numbers are single precision, or BF16 (`half_t`) where they are factors of a product. A pool holds pages x layers x
// {keys, values} x PAGE x key-value heads x HEAD numbers of BF16.
//
// Determinism: every sum is taken in a fixed order that depends on absolute positions alone, so a row has the same
// result whatever shares its batch. Blocks write to places of their own; there are no atomics. The compiler must not fuse
// products and sums by itself (--fmad=false): where it does depends on the form of the kernel.

#define WARP_QUERIES (HALVES * 16)
// Queries are kept in registers where these are enough; they go through the place of the first strip then.
#define KEEPS_QUERIES (HALVES == 1)
#define SHARED_ROWS ((KEEPS_QUERIES ? 0 : TILE) + 2 * 2 * STRIP)
#define THREADS (TILE / WARP_QUERIES * 32)  // of the attention kernel
#define STRIP 64                  // positions that are in shared memory at a time
#define ROW (HEAD + 8)            // numbers between rows in shared memory: neighbours start in different banks
#define EIGHTS (HEAD / 8)          // groups of eight numbers of a head: what a thread copies at a time
#define BLOCK_HEADS 4              // heads of a block of the kernels that work on heads
#define ROW_THREADS 256           // of the kernels that work on a row
static_assert(HEAD % 32 == 0 && HEAD <= 128, "heads are products of 16 x 16, and must fit registers");
static_assert(STRIP % PAGE == 0 && CHUNK % STRIP == 0, "chunks are strips, and strips are pages");
static_assert(TILE % WARP_QUERIES == 0 && TILE <= 2 * 2 * STRIP, "a warp has all its queries");

// First number of a page's keys in a layer. The values follow PAGE * kv_heads * HEAD numbers later.
__device__ inline size_t page_start(u32 place, u32 layers, u32 layer, u32 kv_heads) {
  return ((size_t)place * layers + layer) * 2 * PAGE * kv_heads * HEAD;
}

// Rows of the embedding. Grid: rows; block: ROW_THREADS.
extern "C" __global__ void embed(const half_t *embedding, const u32 *tokens, float *residual, u32 width) {
  const half_t *from = embedding + (size_t)tokens[blockIdx.x] * width;
  float *to = residual + (size_t)blockIdx.x * width;
  for (u32 i = threadIdx.x; i < width; i += ROW_THREADS) to[i] = widen(from[i]);
}

// Divides rows by the root of their mean square and multiplies them with `weight`. Grid: rows; block: ROW_THREADS.
//
//   of   which row each block takes, or null for its own
extern "C" __global__ void normalise(const float *residual, const u32 *of, const float *weight, half_t *out, u32 width,
                                     float epsilon) {
  __shared__ float squares[ROW_THREADS];
  const float *from = residual + (size_t)(of ? of[blockIdx.x] : blockIdx.x) * width;
  half_t *to = out + (size_t)blockIdx.x * width;
  float sum = 0.0f;
  for (u32 i = threadIdx.x; i < width; i += ROW_THREADS) sum += from[i] * from[i];
  squares[threadIdx.x] = sum;
  for (u32 half = ROW_THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) squares[threadIdx.x] += squares[threadIdx.x + half];
  }
  __syncthreads();
  float inverse = 1.0f / sqrtf(squares[0] / width + epsilon);
  for (u32 i = threadIdx.x; i < width; i += ROW_THREADS) to[i] = narrow(from[i] * inverse * weight[i]);
}

// Gated activation: rows x {gates, ups} x `width` give rows x `width`. `width` is even. Grid: rows x as many as make
// width / 2 threads; block: ROW_THREADS.
extern "C" __global__ void gate(const u32 *gates_and_ups, u32 *out, u32 width) {
  u32 pair = blockIdx.y * ROW_THREADS + threadIdx.x, pairs = width / 2;
  if (pair >= pairs) return;
  const u32 *row = gates_and_ups + (size_t)blockIdx.x * width;
  u32 gates = row[pair], ups = row[pairs + pair];
  float result[2];
  for (int i = 0; i < 2; i++) {
    float x = widen((half_t)(gates >> 16 * i)), up = widen((half_t)(ups >> 16 * i));
    result[i] = x / (1.0f + expf(-x)) * up;
  }
  out[(size_t)blockIdx.x * pairs + pair] = (u32)narrow(result[0]) | (u32)narrow(result[1]) << 16;
}

// One number for the bits of each row, the same in whatever order it is taken. Grid: rows; block: ROW_THREADS.
extern "C" __global__ void digest(const u32 *words, u64 *out, u32 words_of_row) {
  __shared__ u64 sums[ROW_THREADS];
  const u32 *row = words + (size_t)blockIdx.x * words_of_row;
  u64 sum = 0;
  for (u32 i = threadIdx.x; i < words_of_row; i += ROW_THREADS) {
    u64 x = row[i] + ((u64)i << 32) + 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    sum += (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  }
  sums[threadIdx.x] = sum;
  for (u32 half = ROW_THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) out[blockIdx.x] = sums[0];
}

// Rotates queries and keys, writes keys and values to their slots. Grid: rows x as many as make heads + 2 * kv_heads;
// block: BLOCK_HEADS x HEAD / 2.
//
//   qkv         rows x (heads + 2 * kv_heads) x HEAD
//   bias        (heads + 2 * kv_heads) x HEAD, or null
//   query_norm, key_norm  HEAD, weights of the normalisation of each head, or null
//   rotation    positions x {cosines, sines} x HEAD / 2
//   rows        rows x 2, as `attend` has them
//   slots       rows: place of the page times PAGE, plus the position in it
//   queries     rows x heads x HEAD
extern "C" __global__ void store(const float *qkv, const float *bias, const float *query_norm, const float *key_norm,
                                 const float *rotation, const u32 *rows, const u32 *slots, half_t *pool,
                                 half_t *queries, u32 heads, u32 kv_heads, u32 layers, u32 layer, float epsilon) {
  __shared__ float squares[BLOCK_HEADS][HEAD / 2];
  u32 row = blockIdx.x, of_block = threadIdx.x / (HEAD / 2), pair = threadIdx.x % (HEAD / 2);
  u32 head = blockIdx.y * BLOCK_HEADS + of_block;
  bool is_query = head < heads, is_value = head >= heads + kv_heads, is_there = head < heads + 2 * kv_heads;
  float a = 0.0f, b = 0.0f;
  if (is_there) {
    const float *from = qkv + ((size_t)row * (heads + 2 * kv_heads) + head) * HEAD;
    a = from[pair];
    b = from[pair + HEAD / 2];
    if (bias) {
      a += bias[head * HEAD + pair];
      b += bias[head * HEAD + pair + HEAD / 2];
    }
  }
  if (query_norm) {
    squares[of_block][pair] = a * a + b * b;
    __syncthreads();
    if (!is_value) {
      const float *weight = is_query ? query_norm : key_norm;
      float sum = 0.0f;
      for (u32 i = 0; i < HEAD / 2; i++) sum += squares[of_block][i];
      float root = sqrtf(sum / HEAD + epsilon);
      a = a / root * weight[pair];
      b = b / root * weight[pair + HEAD / 2];
    }
  }
  if (!is_there) return;
  if (!is_value) {
    const float *angles = rotation + (size_t)(rows[row * 2] - 1) * HEAD;
    float cosine = angles[pair], sine = angles[HEAD / 2 + pair];
    float first = a * cosine - b * sine;
    b = b * cosine + a * sine;
    a = first;
  }
  half_t *to;
  if (is_query) {
    to = queries + ((size_t)row * heads + head) * HEAD;
  } else {
    u32 kv_head = is_value ? head - heads - kv_heads : head - heads;
    u32 position = slots[row] % PAGE + (is_value ? PAGE : 0);
    to = pool + page_start(slots[row] / PAGE, layers, layer, kv_heads) + ((size_t)position * kv_heads + kv_head) * HEAD;
  }
  to[pair] = narrow(a);
  to[pair + HEAD / 2] = narrow(b);
}

// Attention of up to TILE queries to one segment: a chunk of positions in given pages. Grid: items x kv_heads; block:
// THREADS; shared memory: SHARED_ROWS x ROW numbers of BF16. The queries of a key-value head are those of all the
// segment's rows, `group` for each.
//
//   queries   rows x heads x HEAD
//   items     items x 3: segment, first query, number of queries (at most TILE)
//   segments  segments x (3 + CHUNK / PAGE): first position, one past the last, first member, pages
//   members   rows of the segments, one segment after another
//   rows      rows x 2: positions that the row sees, number of its first partial result
//   scale     of the scores, times the binary logarithm of e: weights are powers of two
//   top, sum  partials x heads: greatest score, sum of the weights relative to it
//   values    partials x heads x HEAD: weighted sum of the values
//
// While a warp computes with one strip the next is on its way. Where a row sees nothing of a strip, the strip changes no
// bit of its result.
extern "C" __global__ void __launch_bounds__(THREADS, 4 - HALVES)
    attend(const half_t *queries, const half_t *pool, const u32 *items, const u32 *segments, const u32 *members,
           const u32 *rows, float *top_out, float *sum_out, float *values_out, u32 heads, u32 kv_heads, u32 layers,
           u32 layer, float scale) {
  SHARED_BYTES(shared);
  __shared__ size_t pages[CHUNK / PAGE];  // where this head's keys start in each page
  half_t *query_rows = (half_t *)shared, *strips = query_rows + (KEEPS_QUERIES ? 0 : TILE * ROW);

  const u32 *item = items + blockIdx.x * 3;
  const u32 *segment = segments + item[0] * (3 + CHUNK / PAGE);
  u32 first_query = item[1], count = item[2], start = segment[0], end = segment[1];
  const u32 *rows_of_segment = members + segment[2];
  u32 group = heads / kv_heads, kv_head = blockIdx.y;
  u32 lane = threadIdx.x % 32, warp_query = threadIdx.x / 32 * WARP_QUERIES;
  bool works = warp_query < count;

  for (u32 i = threadIdx.x; i < CHUNK / PAGE; i += THREADS) {
    pages[i] = page_start(segment[3 + i], layers, layer, kv_heads) + kv_head * HEAD;
  }
  for (u32 i = threadIdx.x; i < TILE * EIGHTS; i += THREADS) {
    u32 q = i / EIGHTS, eight = i % EIGHTS;
    uint4 x = make_uint4(0, 0, 0, 0);
    if (q < count) {
      u32 row = rows_of_segment[(first_query + q) / group], head = kv_head * group + (first_query + q) % group;
      x = *(const uint4 *)(queries + ((size_t)row * heads + head) * HEAD + eight * 8);
    }
    *(uint4 *)(query_rows + q * ROW + eight * 8) = x;
  }
  __syncthreads();
#if KEEPS_QUERIES
  u32 kept[HEAD / 16][4];
  if (works) {
#pragma unroll
    for (int k = 0; k < HEAD / 16; k++) {
      load_matrices(kept[k], query_rows + (warp_query + lane % 16) * ROW + k * 16 + lane / 16 * 8);
    }
  }
  __syncthreads();
#endif

  // This thread's queries are 8 apart, two of each product of 16 rows. A query beyond the last sees nothing.
  u32 seen[2 * HALVES];
  float top[2 * HALVES], sum[2 * HALVES], result[HALVES][HEAD / 8][4];
#pragma unroll
  for (int j = 0; j < 2 * HALVES; j++) {
    u32 q = warp_query + lane / 4 + j * 8;
    seen[j] = q < count ? rows[rows_of_segment[(first_query + q) / group] * 2] : 0;
    if (seen[j] > end) seen[j] = end;
    top[j] = LOWEST;
    sum[j] = 0.0f;
  }
#pragma unroll
  for (int n = 0; n < HEAD / 8; n++) {
    for (int i = 0; i < 4 * HALVES; i++) result[i / 4][n][i % 4] = 0.0f;
  }

  // What this thread copies of a strip: the same eight numbers of every so many rows. Some threads may be left over.
#define ROWS_AT_ONCE (THREADS / EIGHTS)
  u32 my_row = threadIdx.x / EIGHTS, my_eight = threadIdx.x % EIGHTS * 8;
  u32 count_of_strips = (end - start + STRIP - 1) / STRIP;
  for (u32 strip = 0; strip <= count_of_strips; strip++) {
    // The next strip, into the place that the one before this has left.
    if (strip < count_of_strips) {
      half_t *stage = strips + strip % 2 * (2 * STRIP * ROW) + my_eight;
      const half_t *from = pool + my_eight;
#pragma unroll
      for (u32 step = 0; step < (2 * STRIP + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE; step++) {
        u32 p = my_row + step * ROWS_AT_ONCE, position = strip * STRIP + p % STRIP;
        if (my_row >= ROWS_AT_ONCE || p >= 2 * STRIP) break;
        u32 in_page = position % PAGE + (p < STRIP ? 0 : PAGE);
        copy_async(stage + p * ROW, from + pages[position / PAGE] + in_page * kv_heads * HEAD, start + position < end);
      }
    }
    end_group();
    if (strip == 0) continue;
    wait_for_group();
    __syncthreads();
    if (works) {
      const half_t *keys = strips + (strip - 1) % 2 * (2 * STRIP * ROW), *values = keys + STRIP * ROW;
      u32 base = start + (strip - 1) * STRIP;
      float score[HALVES][STRIP / 8][4];
#pragma unroll
      for (int n = 0; n < STRIP / 8; n++) {
        for (int i = 0; i < 4 * HALVES; i++) score[i / 4][n][i % 4] = 0.0f;
      }
#pragma unroll
      for (int k = 0; k < HEAD / 16; k++) {
#if KEEPS_QUERIES
        u32(&query)[1][4] = *(u32(*)[1][4])kept[k];
#else
        u32 query[HALVES][4];
#pragma unroll
        for (int m = 0; m < HALVES; m++) {
          load_matrices(query[m], query_rows + (warp_query + m * 16 + lane % 16) * ROW + k * 16 + lane / 16 * 8);
        }
#endif
#pragma unroll
        for (int n = 0; n < STRIP / 16; n++) {
          u32 key[4];
          load_matrices(key, keys + (n * 16 + lane / 16 * 8 + lane % 8) * ROW + k * 16 + lane / 8 % 2 * 8);
#pragma unroll
          for (int m = 0; m < HALVES; m++) {
            multiply(score[m][2 * n], query[m], key[0], key[1]);
            multiply(score[m][2 * n + 1], query[m], key[2], key[3]);
          }
        }
      }
      float against[2 * HALVES];
#pragma unroll
      for (int m = 0; m < HALVES; m++) {
        if (seen[2 * m] < base + STRIP || seen[2 * m + 1] < base + STRIP) {
#pragma unroll
          for (int n = 0; n < STRIP / 8; n++) {
            for (int i = 0; i < 4; i++) {
              if (base + n * 8 + lane % 4 * 2 + i % 2 >= seen[2 * m + i / 2]) score[m][n][i] = LOWEST;
            }
          }
        }
        float highest[2] = {LOWEST, LOWEST}, shrink[2];
#pragma unroll
        for (int n = 0; n < STRIP / 8; n++) {
          for (int i = 0; i < 4; i++) highest[i / 2] = fmaxf(highest[i / 2], score[m][n][i]);
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
          int j = 2 * m + i;
          highest[i] = fmaxf(highest[i], other_lane(highest[i], 1));
          highest[i] = fmaxf(highest[i], other_lane(highest[i], 2));
          float before = top[j];
          top[j] = fmaxf(before, highest[i] * scale);
          against[j] = top[j] == LOWEST ? 0.0f : top[j];
          shrink[i] = power(before - against[j]);
          sum[j] *= shrink[i];
        }
#pragma unroll
        for (int n = 0; n < HEAD / 8; n++) {
          for (int i = 0; i < 4; i++) result[m][n][i] *= shrink[i / 2];
        }
      }
#pragma unroll
      for (int p = 0; p < STRIP / 16; p++) {
        u32 weights[HALVES][4];
#pragma unroll
        for (int m = 0; m < HALVES; m++) {
          float weight[2][4];
#pragma unroll
          for (int n = 0; n < 2; n++) {
            for (int i = 0; i < 4; i++) {
              int j = 2 * m + i / 2;
              weight[n][i] = power(fmaf(score[m][2 * p + n][i], scale, -against[j]));
              sum[j] += weight[n][i];
            }
            weights[m][2 * n] = pack(weight[n][0], weight[n][1]);
            weights[m][2 * n + 1] = pack(weight[n][2], weight[n][3]);
          }
        }
#pragma unroll
        for (int n = 0; n < HEAD / 16; n++) {
          u32 value[4];
          load_transposed(value, values + (p * 16 + lane % 16) * ROW + n * 16 + lane / 16 * 8);
#pragma unroll
          for (int m = 0; m < HALVES; m++) {
            multiply(result[m][2 * n], weights[m], value[0], value[1]);
            multiply(result[m][2 * n + 1], weights[m], value[2], value[3]);
          }
        }
      }
    }
    __syncthreads();  // the strip is done with
  }

  if (!works) return;
#pragma unroll
  for (int j = 0; j < 2 * HALVES; j++) {
    sum[j] += other_lane(sum[j], 1);
    sum[j] += other_lane(sum[j], 2);
    u32 q = warp_query + lane / 4 + j * 8;
    if (q >= count) continue;
    u32 row = rows_of_segment[(first_query + q) / group], head = kv_head * group + (first_query + q) % group;
    size_t partial = ((size_t)rows[row * 2 + 1] + start / CHUNK) * heads + head;
    float *to = values_out + partial * HEAD + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < HEAD / 8; n++) {
      *(float2 *)(to + n * 8) = make_float2(result[j / 2][n][j % 2 * 2], result[j / 2][n][j % 2 * 2 + 1]);
    }
    if (lane % 4 == 0) {
      top_out[partial] = top[j];
      sum_out[partial] = sum[j];
    }
  }
}

// Merges the partial results of a row in the order of its chunks. Grid: rows x as many as make `heads`; block:
// BLOCK_HEADS x HEAD / 4 threads, four dimensions for each.
extern "C" __global__ void merge(const float *top, const float *sum, const float4 *values, const u32 *rows,
                                 uint2 *out, u32 heads) {
  u32 row = blockIdx.x, head = blockIdx.y * BLOCK_HEADS + threadIdx.x / (HEAD / 4), four = threadIdx.x % (HEAD / 4);
  if (head >= heads) return;
  u32 chunks = (rows[row * 2] + CHUNK - 1) / CHUNK;
  size_t first = (size_t)rows[row * 2 + 1] * heads + head;
  float greatest = LOWEST, weight = 0.0f;
  for (u32 c = 0; c < chunks; c++) greatest = fmaxf(greatest, top[first + (size_t)c * heads]);
  float4 result = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 4
  for (u32 c = 0; c < chunks; c++) {
    size_t partial = first + (size_t)c * heads;
    float scale = exp2f(top[partial] - greatest);
    float4 value = values[partial * (HEAD / 4) + four];
    weight += sum[partial] * scale;
    result.x += value.x * scale;
    result.y += value.y * scale;
    result.z += value.z * scale;
    result.w += value.w * scale;
  }
  out[((size_t)row * heads + head) * (HEAD / 4) + four] =
      make_uint2((u32)narrow(result.x / weight) | (u32)narrow(result.y / weight) << 16,
                 (u32)narrow(result.z / weight) | (u32)narrow(result.w / weight) << 16);
}
