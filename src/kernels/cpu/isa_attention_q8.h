// Attention over keys and values of 8 bits: integer products for scores and mix. Queries and
// weights are rounded to 16 bits (Act16, two byte products), so that the stored codes are the only
// rounding that counts; integer sums are exact, so every instruction set gives the same bits.

/// A rounded query: codes, then per 32 columns what their integer sum starts with, then the factor
/// of the whole row.
struct QueryQ8 {
  static HADAL_INLINE int64_t starts_at(int64_t d_pad) { return d_pad / 32 * Act16::kCodes; }
  static HADAL_INLINE int64_t factor_at(int64_t d_pad) { return starts_at(d_pad) + d_pad / 32 * 4; }
  static HADAL_INLINE int64_t bytes(int64_t d_pad) { return (factor_at(d_pad) + 4 + 63) / 64 * 64; }
};

/// Largest magnitude of n values; NaN when they hold infinities or NaN.
HADAL_INLINE float peak_of(const float* x, int64_t n) {
  F top = zero();
  F bad = zero();
  for (int64_t i = 0; i < n; i += kLanes) {
    const F v = load(x + i);
    top = max(abs(v), top);
    bad = add(bad, sub(v, v));
  }
  return any_unordered(bad) ? __builtin_nanf("") : max_finite_lanes(top);
}

constexpr int kVectors32 = 32 / kLanes;

/// Rounds 32 values times `inverse` to `out` and returns their integer sum.
HADAL_INLINE int32_t round_32(const float* x, float inverse, uint8_t* out) {
  I rounded[kVectors32];
  I sum = splat_int(0);
  HADAL_UNROLL
  for (int i = 0; i < kVectors32; ++i) {
    rounded[i] = to_int(mul(load(x + i * kLanes), splat(inverse)));
    sum = add_int(sum, rounded[i]);
  }
  Act16::store(rounded, out);
  return sum_int_lanes(sum);
}

void round_query(const float* q, int64_t d_pad, float scale, uint8_t* out) {
  const float peak = peak_of(q, d_pad);
  auto* start = reinterpret_cast<int32_t*>(out + QueryQ8::starts_at(d_pad));
  float factor = peak / Act16::kMax * scale;
  if (!(peak > 0x1p-100f)) {  // nothing to round, or nothing that is a number
    __builtin_memset(out, 0, static_cast<size_t>(QueryQ8::factor_at(d_pad)));
    if (peak == peak) factor = 0.0f;
  } else {
    for (int64_t b = 0; b < d_pad / 32; ++b) {
      start[b] = -kKvBias * round_32(q + b * 32, Act16::kMax / peak, out + b * Act16::kCodes);
    }
  }
  __builtin_memcpy(out + QueryQ8::factor_at(d_pad), &factor, 4);
}

#if HADAL_ISA_AVX512 || HADAL_ISA_NEON
constexpr int kQueriesQ8 = 12;
#else
constexpr int kQueriesQ8 = 6;
#endif

/// Bytes to fetch ahead per step over 32 columns of 16 positions: codes, and a share of the scales.
constexpr int64_t kAheadQ8 = 32 * 16 + 64;

/// Scores of 16 positions for Q queries.
template <int Q>
void score_piece_q8(const uint8_t* queries, int64_t query_bytes, int64_t d_pad,
                    const uint8_t* block, const uint8_t* ahead, float* scores) {
  const uint8_t* scales = block + 16 * d_pad;
  HADAL_ROLL
  for (int part = 0; part < kParts; ++part) {
    F total[Q];
    HADAL_UNROLL
    for (int q = 0; q < Q; ++q) total[q] = zero();
    for (int64_t b = 0; b < d_pad / 32; ++b) {
      if (part == 0 && ahead != nullptr) fetch_ahead(ahead + b * kAheadQ8, kAheadQ8);
      B codes[8];
      HADAL_UNROLL
      for (int g = 0; g < 8; ++g) {
        codes[g] = load_bytes(block + (b * 8 + g) * 64 + part * kLanes * 4);
      }
      unbias(codes);
      const F scale = load_f16(scales + (b * 16 + part * kLanes) * 2);
      const uint8_t* x = queries + b * Act16::kCodes;
      const uint8_t* start = queries + QueryQ8::starts_at(d_pad) + b * 4;
      HADAL_UNROLL
      for (int q = 0; q < Q; ++q) {
        const I sum = Act16::template dot<0, 8>(codes, x + q * query_bytes,
                                                splat_int(load_word(start + q * query_bytes)));
        total[q] = fma(to_float(sum), scale, total[q]);
      }
    }
    const uint8_t* factor = queries + QueryQ8::factor_at(d_pad);
    HADAL_UNROLL
    for (int q = 0; q < Q; ++q) {
      store(scores + q * cpu::kKeyTile + part * kLanes,
            mul(total[q], splat(load_scalar(factor + q * query_bytes))));
    }
  }
}

void score_all_q8(const AttentionTile& tile, int seen, float* scores) {
  const int64_t bytes = QueryQ8::bytes(tile.d_pad);
  for (int p = 0; p < seen; p += 16) {
    in_pieces<kQueriesQ8>(0, tile.n, [&]<int Q>(int64_t q) {
      score_piece_q8<Q>(tile.queries + q * bytes, bytes, tile.d_pad, tile.keys[p / 16],
                        q == 0 ? tile.values[p / 16] : nullptr, scores + q * cpu::kKeyTile + p);
    });
  }
}

/// Weights times the scales of their values, rounded to 16 bits with one unit per query.
void round_weights(const AttentionTile& tile, int seen, const AttentionWork& work) {
  for (int64_t q = 0; q < tile.n; ++q) {
    float* weights = work.scores + q * cpu::kKeyTile;
    const int visible = tile.visible[q];
    F top = zero();
    F bad = zero();
    int p = 0;
    for (; p < visible; p += kLanes) {
      const auto* scales = reinterpret_cast<const float*>(tile.values[p / 16] + 16 * tile.d_pad);
      F weight = mul(load(weights + p), load(scales + p % 16));
      if (visible - p < kLanes) weight = max(zero(), keep_first(weight, visible - p));
      top = max(weight, top);
      bad = add(bad, weight);
      store(weights + p, weight);
    }
    for (; p < (seen + 31) / 32 * 32; p += kLanes) store(weights + p, zero());
    const float peak = any_unordered(bad) ? __builtin_nanf("") : max_finite_lanes(top);
    const bool some = peak > 0x1p-100f;
    uint8_t* rounded = work.rounded + q * AttentionWork::kRoundedBytes;
    int32_t sum = 0;
    for (p = 0; p < seen; p += 32) {
      uint8_t* out = rounded + p / 32 * Act16::kCodes;
      if (some) {
        sum += round_32(weights + p, Act16::kMax / peak, out);
      } else {
        __builtin_memset(out, 0, Act16::kCodes);
      }
    }
    work.start[q] = -kKvBias * sum;
    work.unit[q] = some || peak != peak ? peak / Act16::kMax : 0.0f;
  }
}

/// mix = mix * keep + unit * sum of rounded weight * code, one vector of columns.
template <int Q>
void mix_piece_q8(const AttentionTile& tile, int seen, const AttentionWork& work, int64_t first,
                  int64_t column) {
  const uint8_t* rounded = work.rounded + first * AttentionWork::kRoundedBytes;
  I sum[Q];
  HADAL_UNROLL
  for (int q = 0; q < Q; ++q) sum[q] = splat_int(work.start[first + q]);
  // This step's share of the next tile's codes and scales (17/16 of its elements).
  constexpr int64_t kStep = 34 * kLanes;
  const int64_t block_steps = tile.d_pad / (2 * kLanes);
  const bool fetches = first == 0 && tile.next_keys[0] != nullptr;
  for (int p = 0; p < seen; p += 32) {
    if (fetches) {
      const int64_t step = column / kLanes * (cpu::kKeyTile / 32) + p / 32;
      fetch_ahead(tile.next_keys[step / block_steps] + step % block_steps * kStep, kStep);
    }
    B codes[8];
    HADAL_UNROLL
    for (int g = 0; g < 8; ++g) {
      codes[g] = load_bytes(tile.values[p / 16 + g / 4] + (g % 4 * tile.d_pad + column) * 4);
    }
    unbias(codes);
    const uint8_t* x = rounded + p / 32 * Act16::kCodes;
    HADAL_UNROLL
    for (int q = 0; q < Q; ++q) {
      sum[q] = Act16::template dot<0, 8>(codes, x + q * AttentionWork::kRoundedBytes, sum[q]);
    }
  }
  HADAL_UNROLL
  for (int q = 0; q < Q; ++q) {
    float* mix = tile.mix + (first + q) * tile.d_pad + column;
    const F before = mul(load(mix), splat(work.keep[first + q]));
    store(mix, fma(to_float(sum[q]), splat(work.unit[first + q]), before));
  }
}

void mix_all_q8(const AttentionTile& tile, int seen, const AttentionWork& work) {
  for (int64_t column = 0; column < tile.d_pad; column += kLanes) {
    in_pieces<kQueriesQ8>(0, tile.n,
                          [&]<int Q>(int64_t q) { mix_piece_q8<Q>(tile, seen, work, q, column); });
  }
}

/// Codes of 32 values by the inverse of their scale, biased by 128.
HADAL_INLINE void codes_of(const float* x, float inverse, uint8_t codes[32]) {
  HADAL_UNROLL
  for (int i = 0; i < kVectors32; ++i) {
    const F scaled = mul(load(x + i * kLanes), splat(inverse));
    int32_t lane[kLanes];
    store_bytes(lane, to_int(max(splat(-127.0f), min(splat(127.0f), scaled))));
    for (int j = 0; j < kLanes; ++j) codes[i * kLanes + j] = static_cast<uint8_t>(lane[j] + 128);
  }
}

void store_key_q8(const float* k, int64_t d_pad, int slot, uint8_t* block) {
  for (int64_t b = 0; b < d_pad / 32; ++b) {
    const float peak = peak_of(k + b * 32, 32);
    uint16_t half[kLanes];
    store_half(half, splat(peak / 127.0f));
    __builtin_memcpy(block + 16 * d_pad + (b * 16 + slot) * 2, half, 2);
    float lane[kLanes];
    store(lane, load_f16(half));
    uint8_t codes[32];
    const bool usable = lane[0] > 0.0f && lane[0] < __builtin_inff();
    codes_of(k + b * 32, usable ? 1.0f / lane[0] : 0.0f, codes);
    for (int g = 0; g < 8; ++g)
      __builtin_memcpy(block + (b * 8 + g) * 64 + slot * 4, codes + 4 * g, 4);
  }
}

void store_value_q8(const float* v, int64_t d_pad, int slot, uint8_t* block) {
  const float peak = peak_of(v, d_pad);
  const float scale = peak <= 0x1p-100f ? 0.0f : peak / 127.0f;
  __builtin_memcpy(block + 16 * d_pad + slot * 4, &scale, 4);
  const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
  uint8_t* out = block + slot / 4 * 4 * d_pad + slot % 4;
  for (int64_t b = 0; b < d_pad / 32; ++b) {
    uint8_t codes[32];
    codes_of(v + b * 32, inverse, codes);
    for (int i = 0; i < 32; ++i) out[(b * 32 + i) * 4] = codes[i];
  }
}
