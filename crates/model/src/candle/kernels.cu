// Kernels of the candle backend: rotating and writing keys and values, and attention.
//
// Compiled when a model is loaded by NVRTC, without headers, for its sizes:
//   HEAD     width of a head, a multiple of 32 and at most 128
//   KV_BF16  1 if keys and values are BF16, 0 if they are single precision
//   PAGE     positions of a page
//   CHUNK    positions of a partial result, a multiple of PAGE
//   TILE     queries of a block: two for each group of LANES threads
//
// A pool holds pages x layers x {keys, values} x PAGE x key-value heads x HEAD numbers.
//
// Determinism: every sum is taken by one thread in a fixed order that depends on absolute positions alone, so a row
// has the same result whatever shares its batch. Blocks write to places of their own; there are no atomics.

typedef unsigned int u32;

#define LANES 8                  // threads that work on one query
#define THREADS (TILE / 2 * LANES)
#define STRIDE (HEAD + 4)        // floats between rows in shared memory: neighbours start in different banks
#define LOWEST __uint_as_float(0xff800000u)  // minus infinity; NVRTC has no INFINITY
#define OWN (HEAD / LANES / 4)   // groups of four dimensions of the result that a thread owns

static_assert(PAGE == 2 * LANES, "a thread scores two positions of a page");
static_assert(HEAD % 32 == 0 && HEAD <= 128, "heads are split over the lanes, and must fit shared memory");
static_assert(CHUNK % PAGE == 0 && TILE % 2 == 0, "chunks are whole pages, and threads take two queries");

#if KV_BF16
typedef unsigned short kv_t;

__device__ inline float widen(kv_t x) { return __uint_as_float((u32)x << 16); }

// To the nearest, ties to even. A NaN stays one.
__device__ inline kv_t narrow(float x) {
  u32 bits = __float_as_uint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (kv_t)((bits >> 16) | 0x40u);
  return (kv_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

__device__ inline float4 load4(const kv_t *from) {
  ushort4 x = *(const ushort4 *)from;
  return make_float4(widen(x.x), widen(x.y), widen(x.z), widen(x.w));
}
#else
typedef float kv_t;
__device__ inline kv_t narrow(float x) { return x; }
__device__ inline float4 load4(const kv_t *from) { return *(const float4 *)from; }
#endif

// First number of a page's keys in a layer. The values follow PAGE * kv_heads * HEAD numbers later.
__device__ inline size_t page_start(u32 place, u32 layers, u32 layer, u32 kv_heads) {
  return ((size_t)place * layers + layer) * 2 * PAGE * kv_heads * HEAD;
}

// Rotates queries and keys, writes keys and values to their slots. Grid: rows x (heads + 2 * kv_heads); block: HEAD / 2.
//
//   qkv         rows x (heads + 2 * kv_heads) x HEAD
//   query_norm, key_norm  HEAD, weights of the normalisation of each head, used if `normed`
//   cosines, sines        rows x HEAD / 2
//   slots       rows: place of the page times PAGE, plus the position in it
//   queries     rows x heads x HEAD
extern "C" __global__ void store(const float *qkv, const float *query_norm, const float *key_norm,
                                 const float *cosines, const float *sines, const u32 *slots, kv_t *pool,
                                 float *queries, u32 heads, u32 kv_heads, u32 layers, u32 layer, u32 normed,
                                 float epsilon) {
  __shared__ float squares[HEAD / 2];
  u32 row = blockIdx.x, head = blockIdx.y, pair = threadIdx.x;
  const float *from = qkv + ((size_t)row * (heads + 2 * kv_heads) + head) * HEAD;
  float a = from[pair], b = from[pair + HEAD / 2];
  bool is_query = head < heads, is_value = head >= heads + kv_heads;
  if (normed && !is_value) {
    squares[pair] = a * a + b * b;
    __syncthreads();
    float sum = 0.0f;
    for (u32 i = 0; i < HEAD / 2; i++) sum += squares[i];
    float root = sqrtf(sum / HEAD + epsilon);
    const float *weight = is_query ? query_norm : key_norm;
    a = a / root * weight[pair];
    b = b / root * weight[pair + HEAD / 2];
  }
  if (!is_value) {
    float cosine = cosines[(size_t)row * (HEAD / 2) + pair], sine = sines[(size_t)row * (HEAD / 2) + pair];
    float first = a * cosine - b * sine;
    b = b * cosine + a * sine;
    a = first;
  }
  if (is_query) {
    float *to = queries + ((size_t)row * heads + head) * HEAD;
    to[pair] = a;
    to[pair + HEAD / 2] = b;
    return;
  }
  u32 kv_head = is_value ? head - heads - kv_heads : head - heads;
  u32 position = slots[row] % PAGE + (is_value ? PAGE : 0);
  kv_t *to = pool + page_start(slots[row] / PAGE, layers, layer, kv_heads) +
             ((size_t)position * kv_heads + kv_head) * HEAD;
  to[pair] = narrow(a);
  to[pair + HEAD / 2] = narrow(b);
}

// Attention of up to TILE queries to one segment: a chunk of positions in given pages. Grid: items x kv_heads; block:
// THREADS. The queries of a key-value head are those of all the segment's rows, `group` for each.
//
//   queries   rows x heads x HEAD
//   items     items x 3: segment, first query, number of queries (at most TILE)
//   segments  segments x (3 + CHUNK / PAGE): first position, one past the last, first member, pages
//   members   rows of the segments, one segment after another
//   rows      rows x 2: positions that the row sees, number of its first partial result
//   top, sum  partials x heads: greatest score, sum of the weights relative to it
//   values    partials x heads x HEAD: weighted sum of the values
//
// A strip is one page. Its keys and values are in shared memory in single precision, for all queries of the block.
extern "C" __global__ void __launch_bounds__(THREADS)
    attend(const float *queries, const kv_t *pool, const u32 *items, const u32 *segments, const u32 *members,
           const u32 *rows, float *top_out, float *sum_out, float *values_out, u32 heads, u32 kv_heads, u32 layers,
           u32 layer, float scale) {
  __shared__ float4 query_rows[TILE * STRIDE / 4];
  __shared__ float4 key_rows[PAGE * STRIDE / 4];
  __shared__ float4 value_rows[PAGE * STRIDE / 4];
  __shared__ float weights[TILE][PAGE + 1];
  float *query_floats = (float *)query_rows;

  const u32 *item = items + blockIdx.x * 3;
  const u32 *segment = segments + item[0] * (3 + CHUNK / PAGE);
  u32 first_query = item[1], count = item[2], start = segment[0], end = segment[1];
  const u32 *rows_of_segment = members + segment[2];
  u32 group = heads / kv_heads, kv_head = blockIdx.y;

  for (u32 i = threadIdx.x; i < TILE * HEAD; i += THREADS) {
    u32 q = i / HEAD, dim = i % HEAD;
    float value = 0.0f;
    if (q < count) {
      u32 row = rows_of_segment[(first_query + q) / group], head = kv_head * group + (first_query + q) % group;
      value = queries[((size_t)row * heads + head) * HEAD + dim] * scale;
    }
    query_floats[q * STRIDE + dim] = value;
  }

  // This thread's two queries. A query beyond the last sees nothing.
  u32 lane = threadIdx.x % LANES, mine[2] = {threadIdx.x / LANES, threadIdx.x / LANES + TILE / 2};
  u32 seen[2], row_of[2];
  float top[2], sum[2];
  float4 result[2][OWN];
  for (int j = 0; j < 2; j++) {
    row_of[j] = mine[j] < count ? rows_of_segment[(first_query + mine[j]) / group] : 0;
    seen[j] = mine[j] < count ? rows[row_of[j] * 2] : 0;
    top[j] = LOWEST;
    sum[j] = 0.0f;
    for (int k = 0; k < OWN; k++) result[j][k] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  }

  for (u32 strip = 0; start + strip * PAGE < end; strip++) {
    u32 base = start + strip * PAGE, held = end - base < PAGE ? end - base : PAGE;
    const kv_t *page = pool + page_start(segment[3 + strip], layers, layer, kv_heads);
    __syncthreads();  // the strip before is done with
    for (u32 i = threadIdx.x; i < 2 * PAGE * HEAD / 4; i += THREADS) {
      u32 p = i / (HEAD / 4), quad = i % (HEAD / 4);
      float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      if (p % PAGE < held) x = load4(page + ((size_t)p * kv_heads + kv_head) * HEAD + quad * 4);
      float4 *to = p < PAGE ? key_rows : value_rows;
      to[p % PAGE * (STRIDE / 4) + quad] = x;
    }
    __syncthreads();

    // Scores of two queries at the positions `lane` and `lane + LANES`.
    float score[2][2] = {{0.0f, 0.0f}, {0.0f, 0.0f}};
    for (int quad = 0; quad < HEAD / 4; quad++) {
      float4 k0 = key_rows[lane * (STRIDE / 4) + quad], k1 = key_rows[(lane + LANES) * (STRIDE / 4) + quad];
      for (int j = 0; j < 2; j++) {
        float4 q = query_rows[mine[j] * (STRIDE / 4) + quad];
        score[j][0] += q.x * k0.x + q.y * k0.y + q.z * k0.z + q.w * k0.w;
        score[j][1] += q.x * k1.x + q.y * k1.y + q.z * k1.z + q.w * k1.w;
      }
    }
    for (int j = 0; j < 2; j++) {
      weights[mine[j]][lane] = score[j][0];
      weights[mine[j]][lane + LANES] = score[j][1];
    }
    __syncthreads();

    // Visible positions of this strip, and what the greatest score so far becomes.
    u32 visible[2];
    for (int j = 0; j < 2; j++) {
      visible[j] = seen[j] > base ? seen[j] - base : 0;
      if (visible[j] > held) visible[j] = held;
      if (visible[j] == 0) continue;
      float before = top[j];
      for (u32 p = 0; p < visible[j]; p++) top[j] = fmaxf(top[j], weights[mine[j]][p]);
      float shrink = expf(before - top[j]);
      sum[j] *= shrink;
      for (int k = 0; k < OWN; k++) {
        result[j][k].x *= shrink;
        result[j][k].y *= shrink;
        result[j][k].z *= shrink;
        result[j][k].w *= shrink;
      }
    }
    __syncthreads();  // all have read the scores
    for (int j = 0; j < 2; j++) {
      weights[mine[j]][lane] = expf(score[j][0] - top[j]);
      weights[mine[j]][lane + LANES] = expf(score[j][1] - top[j]);
    }
    __syncthreads();

    for (u32 p = 0; p < PAGE; p++) {
      for (int j = 0; j < 2; j++) {
        if (p >= visible[j]) continue;
        float weight = weights[mine[j]][p];
        sum[j] += weight;
        for (int k = 0; k < OWN; k++) {
          float4 v = value_rows[p * (STRIDE / 4) + k * LANES + lane];
          result[j][k].x += weight * v.x;
          result[j][k].y += weight * v.y;
          result[j][k].z += weight * v.z;
          result[j][k].w += weight * v.w;
        }
      }
    }
  }

  for (int j = 0; j < 2; j++) {
    if (mine[j] >= count) continue;
    u32 head = kv_head * group + (first_query + mine[j]) % group;
    size_t partial = ((size_t)rows[row_of[j] * 2 + 1] + start / CHUNK) * heads + head;
    float4 *to = (float4 *)(values_out + partial * HEAD);
    for (int k = 0; k < OWN; k++) to[k * LANES + lane] = result[j][k];
    if (lane == 0) {
      top_out[partial] = top[j];
      sum_out[partial] = sum[j];
    }
  }
}

// Merges the partial results of a row in the order of its chunks. Grid: rows x heads; block: HEAD.
extern "C" __global__ void merge(const float *top, const float *sum, const float *values, const u32 *rows,
                                 float *out, u32 heads) {
  u32 row = blockIdx.x, head = blockIdx.y, dim = threadIdx.x;
  u32 chunks = (rows[row * 2] + CHUNK - 1) / CHUNK;
  size_t first = (size_t)rows[row * 2 + 1] * heads + head;
  float greatest = LOWEST, weight = 0.0f, result = 0.0f;
  for (u32 c = 0; c < chunks; c++) greatest = fmaxf(greatest, top[first + (size_t)c * heads]);
  for (u32 c = 0; c < chunks; c++) {
    size_t partial = first + (size_t)c * heads;
    float scale = expf(top[partial] - greatest);
    weight += sum[partial] * scale;
    result += values[partial * HEAD + dim] * scale;
  }
  out[((size_t)row * heads + head) * HEAD + dim] = result / weight;
}
