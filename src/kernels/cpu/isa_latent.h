// Attention over records that have become floats: latents (multi-head latent attention), or keys
// and values computed from them. A record becomes float once per tile and stays a row: for the
// scores the queries lie side by side, for the mix the columns do. The arithmetic of a query is
// that of isa_attention.h.

/// Columns [column, column + kLanes) of a record as floats.
HADAL_INLINE F load_columns(int kv, const uint8_t* record, int64_t d_pad, int64_t column) {
  if (kv == cpu::kKvF32) return load(reinterpret_cast<const float*>(record) + column);
  if (kv == cpu::kKvF16) return load_f16(record + column * 2);
  if (kv == cpu::kKvBF16) return load_bf16(record + column * 2);
  if (kv == cpu::kKvIndex) {
    const uint8_t* high = record + 16 + column;
    const I code = add_int(shift_left_int(load_i8_int(high), 8), load_i8_int(high + d_pad));
    return mul(to_float(code), splat(load_scalar(record)));
  }
  uint16_t scale;
  __builtin_memcpy(&scale, record + d_pad + column / 32 * 2, 2);
  return mul(to_float(load_i8_int(record + column)), splat(f16_scalar(scale)));
}

/// Each 4 lanes of x go 4 * kStride floats further.
template <int kStride>
HADAL_INLINE void store_quarters(F x, float* out) {
#if HADAL_ISA_AVX512
  _mm_storeu_ps(out, _mm512_castps512_ps128(x));
  _mm_storeu_ps(out + 4 * kStride, _mm512_extractf32x4_ps(x, 1));
  _mm_storeu_ps(out + 8 * kStride, _mm512_extractf32x4_ps(x, 2));
  _mm_storeu_ps(out + 12 * kStride, _mm512_extractf32x4_ps(x, 3));
#elif HADAL_ISA_NEON
  store(out, x);
#else
  _mm_storeu_ps(out, _mm256_castps256_ps128(x));
  _mm_storeu_ps(out + 4 * kStride, _mm256_extractf128_ps(x, 1));
#endif
}

/// out[c * kStride] = the four rows' lane c, for each lane.
template <int kStride>
HADAL_INLINE void store_transposed(const F row[4], float* out) {
  const F low01 = unpack_low(row[0], row[1]);
  const F high01 = unpack_high(row[0], row[1]);
  const F low23 = unpack_low(row[2], row[3]);
  const F high23 = unpack_high(row[2], row[3]);
  const F column[4] = {unpack_low_pairs(low01, low23), unpack_high_pairs(low01, low23),
                       unpack_low_pairs(high01, high23), unpack_high_pairs(high01, high23)};
  HADAL_UNROLL
  for (int c = 0; c < 4; ++c) {
    store_quarters<kStride>(column[c], out + c * kStride);
  }
}

template <int kv>
void unpack_records_of(const uint8_t* const* records, int64_t d_pad, float* out) {
  for (int64_t column = 0; column < d_pad; column += kLanes) {
    HADAL_UNROLL
    for (int p = 0; p < 16; p += 4) {
      F row[4];
      HADAL_UNROLL
      for (int i = 0; i < 4; ++i) row[i] = load_columns(kv, records[p + i], d_pad, column);
      store_transposed<16>(row, out + column * 16 + p);
    }
  }
}

void unpack_records(int kv, const uint8_t* const* records, int64_t d_pad, float* out) {
  if (kv == cpu::kKvF32) {
    unpack_records_of<cpu::kKvF32>(records, d_pad, out);
  } else if (kv == cpu::kKvF16) {
    unpack_records_of<cpu::kKvF16>(records, d_pad, out);
  } else if (kv == cpu::kKvBF16) {
    unpack_records_of<cpu::kKvBF16>(records, d_pad, out);
  } else if (kv == cpu::kKvQ8_0) {
    unpack_records_of<cpu::kKvQ8_0>(records, d_pad, out);
  } else {
    unpack_records_of<cpu::kKvIndex>(records, d_pad, out);
  }
}

void store_record(int kv, const float* x, int64_t d_pad, uint8_t* record) {
  if (kv != cpu::kKvQ8_0) return store_value(kv, x, d_pad, 0, record);
  for (int64_t b = 0; b < d_pad / 32; ++b) {
    uint16_t half[kLanes];
    store_half(half, splat(peak_of(x + b * 32, 32) / 127.0f));
    __builtin_memcpy(record + d_pad + b * 2, half, 2);
    const float scale = f16_scalar(half[0]);
    const bool usable = scale > 0.0f && scale < __builtin_inff();
    uint8_t codes[32];
    codes_of(x + b * 32, usable ? 1.0f / scale : 0.0f, codes);
    for (int i = 0; i < 32; ++i) record[b * 32 + i] = static_cast<uint8_t>(codes[i] ^ 0x80);
  }
}

template <int kv>
void read_record_of(const uint8_t* record, int64_t d_pad, float* x) {
  for (int64_t c = 0; c < d_pad; c += kLanes) store(x + c, load_columns(kv, record, d_pad, c));
}

void read_record(int kv, const uint8_t* record, int64_t d_pad, float* x) {
  if (kv == cpu::kKvF32) return read_record_of<cpu::kKvF32>(record, d_pad, x);
  if (kv == cpu::kKvF16) return read_record_of<cpu::kKvF16>(record, d_pad, x);
  if (kv == cpu::kKvBF16) return read_record_of<cpu::kKvBF16>(record, d_pad, x);
  read_record_of<cpu::kKvQ8_0>(record, d_pad, x);
}

// Columns of the queries that stay in the nearest cache while all positions pass.
constexpr int64_t kScoreColumns = 192;

/// Columns [begin, end) of q . key p for V vectors of queries and P positions, added to what
/// `partial` has of the columns before; the whole sums become scores[q][p].
template <int V, int P>
void latent_score_piece(const LatentTile& tile, int64_t q, int64_t p, int64_t begin, int64_t end,
                        float* partial, float* scores) {
  const float* queries[V];
  HADAL_UNROLL
  for (int v = 0; v < V; ++v) {
    const int64_t first = q + v * kLanes;
    queries[v] = tile.queries + first / 16 * 16 * tile.d_key + first % 16;
  }
  const float* keys = tile.keys + p * tile.stride;
  partial += p * V * kLanes;
  F sum[V][P];
  HADAL_UNROLL
  for (int i = 0; i < P; ++i) {
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) {
      sum[v][i] = begin == 0 ? zero() : load(partial + (i * V + v) * kLanes);
    }
  }
  for (int64_t c = begin; c < end; ++c) {
    F query[V];
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) query[v] = load(queries[v] + c * 16);
    HADAL_UNROLL
    for (int i = 0; i < P; ++i) {
      const F key = splat(keys[i * tile.stride + c]);
      HADAL_UNROLL
      for (int v = 0; v < V; ++v) sum[v][i] = fma(query[v], key, sum[v][i]);
    }
  }
  HADAL_UNROLL
  for (int v = 0; v < V; ++v) {
    HADAL_UNROLL
    for (int i = 0; i < P; i += 4) {
      if (end == tile.d_key) {
        store_transposed<cpu::kKeyTile>(&sum[v][i],
                                        scores + (q + v * kLanes) * cpu::kKeyTile + p + i);
      } else {
        HADAL_UNROLL
        for (int j = i; j < i + 4; ++j) store(partial + (j * V + v) * kLanes, sum[v][j]);
      }
    }
  }
}

template <int V, int P>
void latent_score_group(const LatentTile& tile, int64_t q, int seen, float* scores) {
  alignas(64) float partial[cpu::kKeyTile * V * kLanes];
  for (int64_t begin = 0; begin < tile.d_key; begin += kScoreColumns) {
    const int64_t left = tile.d_key - begin;
    const int64_t end = begin + (left < kScoreColumns ? left : kScoreColumns);
    for (int p = 0; p < seen; p += P) {
      latent_score_piece<V, P>(tile, q, p, begin, end, partial, scores);
    }
  }
}

/// For the first `seen` positions, rounded up to 16, and all queries, rounded up likewise.
void latent_scores(const LatentTile& tile, int seen, float* scores) {
  constexpr int kFew = 16 / kLanes;              // vectors of 16 queries
  constexpr int kPositions = kFew == 1 ? 8 : 4;  // 8 or 16 sums
  int64_t q = 0;
  if constexpr (kFew == 1) {
    for (; q + 16 < tile.n; q += 32) latent_score_group<2, kPositions>(tile, q, seen, scores);
  }
  for (; q < tile.n; q += 16) latent_score_group<kFew, kPositions>(tile, q, seen, scores);
}

/// mix[q][column ..] = mix * keep[q] + sum of weight * value over positions [begin, end). Without
/// `keep` there is no mix yet.
template <int Q>
void latent_mix_piece(const LatentTile& tile, const float* weights, const float* keep, int begin,
                      int end, int64_t column, float* mix) {
  const int64_t d = tile.d_value;
  const float* values = tile.values + column;
  F sum[Q][kWideVectors];
  HADAL_UNROLL
  for (int v = 0; v < kWideVectors; ++v) {
    HADAL_UNROLL
    for (int i = 0; i < Q; ++i) {
      sum[i][v] =
          keep == nullptr ? zero() : mul(load(mix + i * d + column + v * kLanes), splat(keep[i]));
    }
  }
  for (int p = begin; p < end; ++p) {
    F value[kWideVectors];
    HADAL_UNROLL
    for (int v = 0; v < kWideVectors; ++v) value[v] = load(values + p * tile.stride + v * kLanes);
    HADAL_UNROLL
    for (int i = 0; i < Q; ++i) {
      const F factor = splat(weights[i * cpu::kKeyTile + p]);
      HADAL_UNROLL
      for (int v = 0; v < kWideVectors; ++v) sum[i][v] = fma(factor, value[v], sum[i][v]);
    }
  }
  HADAL_UNROLL
  for (int i = 0; i < Q; ++i) {
    HADAL_UNROLL
    for (int v = 0; v < kWideVectors; ++v) store(mix + i * d + column + v * kLanes, sum[i][v]);
  }
}

/// Every query adds exactly the positions it sees: what lies in the others may be no number.
void latent_mix_all(const LatentTile& tile, const AttentionWork& work) {
  const float one = 1.0f;
  for (int64_t column = 0; column < tile.d_value; column += kWide) {
    in_pieces<kQueries>(0, tile.n, [&]<int Q>(int64_t q) {
      const float* weights = work.scores + q * cpu::kKeyTile;
      float* mix = tile.mix + q * tile.d_value;
      int common = tile.visible[q];
      for (int i = 1; i < Q; ++i) {
        common = tile.visible[q + i] < common ? tile.visible[q + i] : common;
      }
      latent_mix_piece<Q>(tile, weights, tile.fresh ? nullptr : work.keep + q, 0, common, column,
                          mix);
      for (int i = 0; i < Q; ++i) {
        if (tile.visible[q + i] == common) continue;
        latent_mix_piece<1>(tile, weights + i * cpu::kKeyTile, &one, common, tile.visible[q + i],
                            column, mix + i * tile.d_value);
      }
    });
  }
}

void latent_tile(const LatentTile& tile) {
  int seen = 0;
  for (int64_t q = 0; q < tile.n; ++q) seen = tile.visible[q] > seen ? tile.visible[q] : seen;
  if (seen == 0) return;
  const AttentionWork work(tile.work, (tile.n + 15) / 16 * 16);
  latent_scores(tile, seen, work.scores);
  const AttentionTile softmax = {.kv = cpu::kKvF32,
                                 .n = tile.n,
                                 .d_pad = tile.d_value,
                                 .queries = nullptr,
                                 .keys = {},
                                 .values = {},
                                 .next_keys = {},
                                 .visible = tile.visible,
                                 .work = tile.work,
                                 .maximum = tile.maximum,
                                 .sum = tile.sum,
                                 .mix = tile.mix};
  update_maximum(softmax, work);
  weigh(softmax, work);
  latent_mix_all(tile, work);
}

/// scores[q][p] = q . key p for the first `seen` positions of a tile.
HADAL_INLINE void unpacked_scores(const float* queries, int64_t n, int64_t d, const float* keys,
                                  int seen, float* scores) {
  const uint8_t* blocks[cpu::kKeyTile / cpu::kKvBlock];
  for (int64_t b = 0; b < cpu::kKeyTile / cpu::kKvBlock; ++b) {
    blocks[b] = reinterpret_cast<const uint8_t*>(keys + b * d * 16);
  }
  for (int p = 0; p < seen; p += kWide) {
    in_pieces<kQueries>(0, n, [&]<int Q>(int64_t i) {
      score_piece<float, Q>(queries + i * d, d, blocks + p / 16, nullptr,
                            scores + i * cpu::kKeyTile + p);
    });
  }
}

void index_tile(const float* q, const float* weights, int64_t heads, int64_t d_pad,
                const float* keys, int positions, float* work, float* out) {
  unpacked_scores(q, heads, d_pad, keys, positions, work);
  for (int p = 0; p < positions; p += kLanes) {
    F sum = zero();
    for (int64_t h = 0; h < heads; ++h) {
      sum = fma(splat(weights[h]), max(load(work + h * cpu::kKeyTile + p), zero()), sum);
    }
    store(out + p, sum);
  }
}
