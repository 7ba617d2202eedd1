// Attention tiles (2205.14135): queries of one KV group against up to kKeyTile positions. Lanes run
// over positions for the scores (keys transposed) and over the head's width for the mix, so no
// horizontal sums are needed. A query's arithmetic does not depend on its neighbours in the tile.

/// Rows become columns, in place, for a square of kLanes x kLanes.
HADAL_INLINE void transpose(F r[kLanes]) {
  F pairs[kLanes];
  F quads[kLanes];
  HADAL_UNROLL
  for (int i = 0; i < kLanes; i += 2) {
    pairs[i] = unpack_low(r[i], r[i + 1]);
    pairs[i + 1] = unpack_high(r[i], r[i + 1]);
  }
  HADAL_UNROLL
  for (int i = 0; i < kLanes; i += 4) {
    quads[i] = unpack_low_pairs(pairs[i], pairs[i + 2]);
    quads[i + 1] = unpack_high_pairs(pairs[i], pairs[i + 2]);
    quads[i + 2] = unpack_low_pairs(pairs[i + 1], pairs[i + 3]);
    quads[i + 3] = unpack_high_pairs(pairs[i + 1], pairs[i + 3]);
  }
  // quads[4i + j], 128-bit lane L: column 4L + j of rows 4i .. 4i + 3.
  HADAL_UNROLL
  for (int j = 0; j < 4; ++j) {
#if HADAL_ISA_AVX512
    const F even_a = _mm512_shuffle_f32x4(quads[j], quads[4 + j], 0x88);
    const F odd_a = _mm512_shuffle_f32x4(quads[j], quads[4 + j], 0xDD);
    const F even_b = _mm512_shuffle_f32x4(quads[8 + j], quads[12 + j], 0x88);
    const F odd_b = _mm512_shuffle_f32x4(quads[8 + j], quads[12 + j], 0xDD);
    r[j] = _mm512_shuffle_f32x4(even_a, even_b, 0x88);
    r[4 + j] = _mm512_shuffle_f32x4(odd_a, odd_b, 0x88);
    r[8 + j] = _mm512_shuffle_f32x4(even_a, even_b, 0xDD);
    r[12 + j] = _mm512_shuffle_f32x4(odd_a, odd_b, 0xDD);
#elif HADAL_ISA_NEON
    r[j] = quads[j];
#else
    r[j] = _mm256_permute2f128_ps(quads[j], quads[4 + j], 0x20);
    r[4 + j] = _mm256_permute2f128_ps(quads[j], quads[4 + j], 0x31);
#endif
  }
}

HADAL_INLINE F load_any(const void* base, int f16, int64_t at) {
  return f16 ? load_f16(static_cast<const uint16_t*>(base) + at)
             : load(static_cast<const float*>(base) + at);
}
HADAL_INLINE float load_one(const void* base, int f16, int64_t at) {
  return f16 ? f16_scalar(static_cast<const uint16_t*>(base)[at])
             : static_cast<const float*>(base)[at];
}

void keys_transposed(const void* keys, int f16, int64_t count, int64_t d, int64_t first,
                     float* out) {
  int64_t t = 0;
  for (; t + kLanes <= count; t += kLanes) {
    int64_t i = 0;
    for (; i + kLanes <= d; i += kLanes) {
      F square[kLanes];
      HADAL_UNROLL
      for (int j = 0; j < kLanes; ++j) square[j] = load_any(keys, f16, (t + j) * d + i);
      transpose(square);
      HADAL_UNROLL
      for (int j = 0; j < kLanes; ++j) store(out + (i + j) * cpu::kKeyTile + first + t, square[j]);
    }
    for (; i < d; ++i) {
      for (int j = 0; j < kLanes; ++j) {
        out[i * cpu::kKeyTile + first + t + j] = load_one(keys, f16, (t + j) * d + i);
      }
    }
  }
  for (; t < count; ++t) {
    for (int64_t i = 0; i < d; ++i) {
      out[i * cpu::kKeyTile + first + t] = load_one(keys, f16, t * d + i);
    }
  }
}

void values_padded(const void* values, int f16, int64_t count, int64_t d, int64_t d_pad,
                   float* out) {
  for (int64_t t = 0; t < count; ++t) {
    int64_t i = 0;
    for (; i + kLanes <= d; i += kLanes) {
      store(out + t * d_pad + i, load_any(values, f16, t * d + i));
    }
    for (; i < d; ++i) out[t * d_pad + i] = load_one(values, f16, t * d + i);
  }
}

void store_f16(const float* source, int64_t n, uint16_t* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_half(out + i, load(source + i));
  for (; i < n; ++i) out[i] = to_f16_scalar(source[i]);
}

#if HADAL_ISA_AVX512 || HADAL_ISA_NEON
constexpr int kQueryTile = 6;
constexpr int kWideVectors = 4;  // 24 of 32 registers
#else
constexpr int kQueryTile = 3;
constexpr int kWideVectors = 4;  // 12 of 16 registers
#endif

/// c[q][lanes] (+)= a[q][i] * b[i][lanes] for Q rows and V vectors, i in order.
template <int Q, int V, bool kAdd>
HADAL_INLINE void multiply(const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                           int64_t depth, float* c, int64_t c_stride) {
  F sum[Q][V];
  HADAL_UNROLL
  for (int q = 0; q < Q; ++q) {
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) sum[q][v] = kAdd ? load(c + q * c_stride + v * kLanes) : zero();
  }
  for (int64_t i = 0; i < depth; ++i) {
    F row[V];
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) row[v] = load(b + i * b_stride + v * kLanes);
    HADAL_UNROLL
    for (int q = 0; q < Q; ++q) {
      const F factor = splat(a[q * a_stride + i]);
      HADAL_UNROLL
      for (int v = 0; v < V; ++v) sum[q][v] = fma(factor, row[v], sum[q][v]);
    }
  }
  HADAL_UNROLL
  for (int q = 0; q < Q; ++q) {
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) store(c + q * c_stride + v * kLanes, sum[q][v]);
  }
}

template <int Q, bool kAdd>
void multiply_rows(const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                   int64_t depth, float* c, int64_t c_stride, int64_t width) {
  int64_t i = 0;
  for (; i + kWideVectors * kLanes <= width; i += kWideVectors * kLanes) {
    multiply<Q, kWideVectors, kAdd>(a, a_stride, b + i, b_stride, depth, c + i, c_stride);
  }
  for (; i < width; i += kLanes) {
    multiply<Q, 1, kAdd>(a, a_stride, b + i, b_stride, depth, c + i, c_stride);
  }
}

/// `width` is a multiple of the lanes.
template <bool kAdd>
void multiply_all(const float* a, int64_t n, int64_t a_stride, const float* b, int64_t b_stride,
                  int64_t depth, float* c, int64_t c_stride, int64_t width) {
  int64_t q = 0;
  for (; q + kQueryTile <= n; q += kQueryTile) {
    multiply_rows<kQueryTile, kAdd>(a + q * a_stride, a_stride, b, b_stride, depth,
                                    c + q * c_stride, c_stride, width);
  }
  for (; q < n; ++q) {
    multiply_rows<1, kAdd>(a + q * a_stride, a_stride, b, b_stride, depth, c + q * c_stride,
                           c_stride, width);
  }
}

/// Turns one query's scores into weights, and rescales its running sums.
HADAL_INLINE void softmax_step(const AttentionTile& tile, int64_t q) {
  constexpr int kVectors = cpu::kKeyTile / kLanes;
  float* scores = tile.scores + q * cpu::kKeyTile;
  const int visible = tile.visible[q];
  F s[kVectors];
  F top = splat(-__builtin_inff());
  HADAL_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    s[v] = keep_first(load(scores + v * kLanes), visible - v * kLanes);
    top = max(s[v], top);
  }
  const float before = tile.maximum[q];
  const float now = max_lanes(top);
  const float maximum = now > before ? now : before;
  F total = zero();
  const F shift = splat(maximum);
  HADAL_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    const F weight = exp(sub(s[v], shift));
    total = add(total, weight);
    store(scores + v * kLanes, weight);
  }
  float lane[kLanes];
  store(lane, exp(splat(before - maximum)));
  const float keep = before == maximum ? 1.0f : lane[0];
  tile.maximum[q] = maximum;
  tile.sum[q] = tile.sum[q] * keep + sum_lanes(total);
  if (keep != 1.0f) {
    float* mix = tile.mix + q * tile.d_pad;
    for (int64_t i = 0; i < tile.d_pad; i += kLanes) {
      store(mix + i, mul(load(mix + i), splat(keep)));
    }
  }
}

void attention_tile(const AttentionTile& tile) {
  int64_t seen = 0;
  for (int64_t q = 0; q < tile.n; ++q) seen = tile.visible[q] > seen ? tile.visible[q] : seen;
  const int64_t width = (seen + 15) / 16 * 16;
  multiply_all<false>(tile.q, tile.n, tile.d_pad, tile.keys_t, cpu::kKeyTile, tile.d_pad,
                      tile.scores, cpu::kKeyTile, width);
  for (int64_t q = 0; q < tile.n; ++q) {
    if (tile.visible[q] > 0) {
      softmax_step(tile, q);
    } else {
      for (int i = 0; i < cpu::kKeyTile; i += kLanes) {
        store(tile.scores + q * cpu::kKeyTile + i, zero());
      }
    }
  }
  multiply_all<true>(tile.scores, tile.n, cpu::kKeyTile, tile.values, tile.d_pad, seen, tile.mix,
                     tile.d_pad, tile.d_pad);
}
