// Attention tiles (2205.14135): queries of one KV group against up to kKeyTile positions, read as
// the pool stores them (kv_pool.h). Lanes run over positions for the scores and over the head's
// width for the mix. A query's arithmetic does not depend on its neighbours in the tile, and is the
// same in every instruction set of the same rounding.
//
// Work of a tile, per query: kKeyTile scores, then weights; room for the rounded weights (Q8_0);
// arrays of one value per query.
#include "kernels/cpu/isa_attention_vec.h"

struct AttentionWork {
  float* scores;     // n x kKeyTile
  uint8_t* rounded;  // n x kRoundedBytes
  float* keep;       // n: what the running sums are multiplied with
  float* unit;       // n: of the rounded weights
  int32_t* start;    // n: -bias * sum of the rounded weights

  static constexpr int64_t kRoundedBytes = cpu::kKeyTile / 32 * Act16::kCodes;
  static constexpr int64_t kPerQuery = cpu::kKeyTile + kRoundedBytes / 4 + 3;

  AttentionWork(float* memory, int64_t n)
      : scores(memory),
        rounded(reinterpret_cast<uint8_t*>(scores + n * cpu::kKeyTile)),
        keep(reinterpret_cast<float*>(rounded + n * kRoundedBytes)),
        unit(keep + n),
        start(reinterpret_cast<int32_t*>(unit + n)) {}
};

int64_t attention_work_floats(int64_t n) {
  return (n + 15) / 16 * 16 * AttentionWork::kPerQuery;
}

/// Calls body<Q>(q) so that [0, n) is covered by pieces of Q queries, the largest first.
template <int Q, typename Body>
HADAL_INLINE void in_pieces(int64_t q, int64_t n, const Body& body) {
  for (; q + Q <= n; q += Q) body.template operator()<Q>(q);
  if constexpr (Q > 1) {
    constexpr int kLess = Q == 12 ? 6 : Q == 6 ? 4 : Q == 4 ? 2 : Q == 3 ? 2 : 1;
    in_pieces<kLess>(q, n, body);
  }
}

HADAL_INLINE F load_kv(const float* p) {
  return load(p);
}
HADAL_INLINE F load_kv(const uint16_t* p) {
  return load_f16(p);
}
struct BrainFloat {
  uint16_t bits;
};
HADAL_INLINE F load_kv(const BrainFloat* p) {
  return load_bf16(p);
}

/// As F16, or as BF16 rounded to nearest even (NaN stays NaN).
HADAL_INLINE void store_short(int kv, uint16_t* out, F x) {
  if (kv == cpu::kKvF16) return store_half(out, x);
  float lane[kLanes];
  store(lane, x);
  for (int i = 0; i < kLanes; ++i) {
    uint32_t bits;
    __builtin_memcpy(&bits, lane + i, 4);
    const bool number = (bits & 0x7FFFFFFFu) <= 0x7F800000u;
    const uint32_t rounded = bits + 0x7FFFu + (bits >> 16 & 1u);
    out[i] = static_cast<uint16_t>((number ? rounded : bits | 0x400000u) >> 16);
  }
}

// A register tile: kQueries x kWide sums, kWide positions or columns.
#if HADAL_ISA_AVX512
constexpr int kQueries = 12, kWide = 32;  // 24 sums of 32 registers
#elif HADAL_ISA_NEON
constexpr int kQueries = 6, kWide = 16;  // 24 sums of 32 registers
#else
constexpr int kQueries = 6, kWide = 16;  // 12 sums of 16 registers
#endif
constexpr int kWideVectors = kWide / kLanes;

// While scores are computed, the values of the same positions come from memory; while values are
// mixed, the next tile's keys do. Both in the first piece only.

/// scores[q][p] = q . key p for kWide positions.
template <typename T, int Q>
void score_piece(const float* q, int64_t stride, const uint8_t* const* blocks, const uint8_t* ahead,
                 float* scores) {
  const T* keys[kWideVectors];
  HADAL_UNROLL
  for (int v = 0; v < kWideVectors; ++v) {
    keys[v] = reinterpret_cast<const T*>(blocks[v * kLanes / 16]) + v * kLanes % 16;
  }
  F sum[Q][kWideVectors];
  HADAL_UNROLL
  for (int i = 0; i < Q; ++i) {
    HADAL_UNROLL
    for (int v = 0; v < kWideVectors; ++v) sum[i][v] = zero();
  }
  constexpr int64_t kStep = kWide * sizeof(T);
  for (int64_t c = 0; c < stride; ++c) {
    if (ahead != nullptr) fetch_ahead(ahead + c * kStep, kStep);
    F key[kWideVectors];
    HADAL_UNROLL
    for (int v = 0; v < kWideVectors; ++v) key[v] = load_kv(keys[v] + c * 16);
    HADAL_UNROLL
    for (int i = 0; i < Q; ++i) {
      const F factor = splat(q[i * stride + c]);
      HADAL_UNROLL
      for (int v = 0; v < kWideVectors; ++v) sum[i][v] = fma(factor, key[v], sum[i][v]);
    }
  }
  HADAL_UNROLL
  for (int i = 0; i < Q; ++i) {
    HADAL_UNROLL
    for (int v = 0; v < kWideVectors; ++v) {
      store(scores + i * cpu::kKeyTile + v * kLanes, sum[i][v]);
    }
  }
}

/// mix[q][column ..] = mix * keep[q] + sum of weight * value over positions [begin, end).
template <typename T, int Q>
void mix_piece(const AttentionTile& tile, const float* weights, const float* keep, int begin,
               int end, int64_t column, const uint8_t* const* ahead, float* mix) {
  const int64_t d = tile.d_pad;
  F sum[Q][kWideVectors];
  HADAL_UNROLL
  for (int i = 0; i < Q; ++i) {
    const F factor = splat(keep[i]);
    HADAL_UNROLL
    for (int v = 0; v < kWideVectors; ++v) {
      sum[i][v] = mul(load(mix + i * d + column + v * kLanes), factor);
    }
  }
  constexpr int64_t kStep = kWide * sizeof(T);
  const int64_t block_bytes = 16 * d * static_cast<int64_t>(sizeof(T));
  for (int p = begin; p < end;) {
    const uint8_t* next = nullptr;  // 16 steps of the next tile's blocks, one block after the other
    if (ahead != nullptr) {
      const int64_t offset = (column / kWide * cpu::kKeyTile + p / 16 * 16) * kStep;
      next = ahead[offset / block_bytes] + offset % block_bytes;
    }
    const int block_end = (p / 16 + 1) * 16 < end ? (p / 16 + 1) * 16 : end;
    const T* values = reinterpret_cast<const T*>(tile.values[p / 16]) + p % 16 * d + column;
    for (; p < block_end; ++p, values += d) {
      if (next != nullptr) fetch_ahead(next + p % 16 * kStep, kStep);
      F value[kWideVectors];
      HADAL_UNROLL
      for (int v = 0; v < kWideVectors; ++v) value[v] = load_kv(values + v * kLanes);
      HADAL_UNROLL
      for (int i = 0; i < Q; ++i) {
        const F factor = splat(weights[i * cpu::kKeyTile + p]);
        HADAL_UNROLL
        for (int v = 0; v < kWideVectors; ++v) sum[i][v] = fma(factor, value[v], sum[i][v]);
      }
    }
  }
  HADAL_UNROLL
  for (int i = 0; i < Q; ++i) {
    HADAL_UNROLL
    for (int v = 0; v < kWideVectors; ++v) store(mix + i * d + column + v * kLanes, sum[i][v]);
  }
}

template <typename T>
void score_all(const AttentionTile& tile, int seen, float* scores) {
  const auto* q = reinterpret_cast<const float*>(tile.queries);
  for (int p = 0; p < seen; p += kWide) {
    in_pieces<kQueries>(0, tile.n, [&]<int Q>(int64_t i) {
      score_piece<T, Q>(q + i * tile.d_pad, tile.d_pad, tile.keys + p / 16,
                        i == 0 ? tile.values[p / 16] : nullptr, scores + i * cpu::kKeyTile + p);
    });
  }
}

/// Every query adds exactly the positions it sees: what lies in the others may be no number.
template <typename T>
void mix_all(const AttentionTile& tile, const AttentionWork& work) {
  const float one = 1.0f;
  for (int64_t column = 0; column < tile.d_pad; column += kWide) {
    in_pieces<kQueries>(0, tile.n, [&]<int Q>(int64_t q) {
      const float* weights = work.scores + q * cpu::kKeyTile;
      float* mix = tile.mix + q * tile.d_pad;
      int common = tile.visible[q];
      for (int i = 1; i < Q; ++i) {
        common = tile.visible[q + i] < common ? tile.visible[q + i] : common;
      }
      mix_piece<T, Q>(tile, weights, work.keep + q, 0, common, column,
                      q == 0 && tile.next_keys[0] != nullptr ? tile.next_keys : nullptr, mix);
      for (int i = 0; i < Q; ++i) {
        if (tile.visible[q + i] == common) continue;
        mix_piece<T, 1>(tile, weights + i * cpu::kKeyTile, &one, common, tile.visible[q + i],
                        column, nullptr, mix + i * tile.d_pad);
      }
    });
  }
}

/// The running maximum and, in work.keep, the factor that it puts on the running sums.
void update_maximum(const AttentionTile& tile, const AttentionWork& work) {
  for (int64_t q = 0; q < tile.n; ++q) {
    float* scores = work.scores + q * cpu::kKeyTile;
    const int visible = tile.visible[q];
    F top = splat(-__builtin_inff());
    int p = 0;
    for (; p + kLanes <= visible; p += kLanes) top = max(load(scores + p), top);
    for (; p % 16 != 0 || p < visible; p += kLanes) {
      const F masked = keep_first(load(scores + p), visible - p);
      store(scores + p, masked);
      top = max(masked, top);
    }
    const float before = tile.maximum[q];
    const float now = max_finite_lanes(top);  // no NaN: max() leaves `top` for them
    const float maximum = now > before ? now : before;
    tile.maximum[q] = maximum;
    work.keep[q] = visible > 0 ? before - maximum : 0.0f;
  }
  for (int64_t q = 0; q < tile.n; q += kLanes) {
    float lane[kLanes] = {};
    const int64_t count = tile.n - q < kLanes ? tile.n - q : kLanes;
    for (int64_t i = 0; i < count; ++i) lane[i] = work.keep[q + i];
    store(lane, exp(load(lane)));
    for (int64_t i = 0; i < count; ++i) work.keep[q + i] = lane[i];
  }
}

/// Scores become weights: e^(score - maximum), 0 up to a multiple of 16 positions.
void weigh(const AttentionTile& tile, const AttentionWork& work) {
  for (int64_t q = 0; q < tile.n; ++q) {
    float* scores = work.scores + q * cpu::kKeyTile;
    const F shift = splat(tile.maximum[q]);
    F total[kParts];
    HADAL_UNROLL
    for (int part = 0; part < kParts; ++part) total[part] = zero();
    for (int p = 0; p < tile.visible[q]; p += 16) {
      HADAL_UNROLL
      for (int part = 0; part < kParts; ++part) {
        const F weight = exp(sub(load(scores + p + part * kLanes), shift));
        total[part] = add(total[part], weight);
        store(scores + p + part * kLanes, weight);
      }
    }
    tile.sum[q] = tile.sum[q] * work.keep[q] + sum_panel(total);
  }
}

#include "kernels/cpu/isa_attention_q8.h"

void attention_tile(const AttentionTile& tile) {
  int seen = 0;
  for (int64_t q = 0; q < tile.n; ++q) seen = tile.visible[q] > seen ? tile.visible[q] : seen;
  if (seen == 0) return;
  const AttentionWork work(tile.work, (tile.n + 15) / 16 * 16);
  if (tile.kv == cpu::kKvF32) score_all<float>(tile, seen, work.scores);
  if (tile.kv == cpu::kKvF16) score_all<uint16_t>(tile, seen, work.scores);
  if (tile.kv == cpu::kKvBF16) score_all<BrainFloat>(tile, seen, work.scores);
  if (tile.kv == cpu::kKvQ8_0) score_all_q8(tile, seen, work.scores);
  update_maximum(tile, work);
  weigh(tile, work);
  if (tile.kv == cpu::kKvF32) mix_all<float>(tile, work);
  if (tile.kv == cpu::kKvF16) mix_all<uint16_t>(tile, work);
  if (tile.kv == cpu::kKvBF16) mix_all<BrainFloat>(tile, work);
  if (tile.kv == cpu::kKvQ8_0) {
    round_weights(tile, seen, work);
    mix_all_q8(tile, seen, work);
  }
}

int64_t query_bytes(int kv, int64_t d_pad) {
  return kv == cpu::kKvQ8_0 ? QueryQ8::bytes(d_pad) : d_pad * 4;
}

void prepare_query(int kv, const float* q, int64_t d_pad, float scale, uint8_t* out) {
  if (kv == cpu::kKvQ8_0) return round_query(q, d_pad, scale, out);
  auto* scaled = reinterpret_cast<float*>(out);
  for (int64_t i = 0; i < d_pad; i += kLanes) store(scaled + i, mul(load(q + i), splat(scale)));
}

void store_key(int kv, const float* k, int64_t d_pad, int slot, uint8_t* block) {
  if (kv == cpu::kKvQ8_0) return store_key_q8(k, d_pad, slot, block);
  if (kv == cpu::kKvF32) {
    auto* out = reinterpret_cast<float*>(block) + slot;
    for (int64_t i = 0; i < d_pad; ++i) out[i * 16] = k[i];
    return;
  }
  auto* out = reinterpret_cast<uint16_t*>(block) + slot;
  for (int64_t i = 0; i < d_pad; i += kLanes) {
    uint16_t half[kLanes];
    store_short(kv, half, load(k + i));
    for (int j = 0; j < kLanes; ++j) out[(i + j) * 16] = half[j];
  }
}

void store_value(int kv, const float* v, int64_t d_pad, int slot, uint8_t* block) {
  if (kv == cpu::kKvQ8_0) return store_value_q8(v, d_pad, slot, block);
  if (kv == cpu::kKvF32) {
    auto* out = reinterpret_cast<float*>(block) + slot * d_pad;
    for (int64_t i = 0; i < d_pad; i += kLanes) store(out + i, load(v + i));
    return;
  }
  auto* out = reinterpret_cast<uint16_t*>(block) + slot * d_pad;
  for (int64_t i = 0; i < d_pad; i += kLanes) store_short(kv, out + i, load(v + i));
}
