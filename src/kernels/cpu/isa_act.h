// Rounded activations. A policy (Act8, Act16) has: kMax, the largest integer; kCodes, the bytes of
// 32 rounded values in the order its products want; kFoldsBias, whether integer sums start at
// -bias * sum(x); store() and, by direct_block() and tile_block(), the products with codes below
// 2^kBits; and kGroup, how many blocks share a scale: those whose numbers in the row differ only
// below that power of two (at the end of a row there may be fewer).
//
// After the codes of a block come its side values: float scale; float scale * sum(x) of all 32, of
// the first 16 and of the last 16; and, where kBytes leaves room, the three sums as negated
// integers.

struct ActSide {
  static constexpr int kSums = 4;
  static constexpr int kNegatedSums = 16;
};

/// 32 bytes, the columns in order.
struct ByteColumns {
  static constexpr float kMax = 127.0f;
  static constexpr int kGroup = cpu::kGroup8;
  static constexpr int kCodes = 32;
  static constexpr int kBytes = 64;
  static constexpr bool kFoldsBias = true;

  static HADAL_INLINE void store(const I* v, uint8_t* codes) { store_low_bytes(v, codes); }
};

/// 32 high bytes, then 32 low bytes, x = 256 * high + low, both signed.
struct SplitColumns {
  static constexpr int kGroup = 1;
  static constexpr float kMax = 32512.0f;  // 127 * 256: splits into two signed bytes
  static constexpr int kCodes = 64;
  static constexpr bool kFoldsBias = false;

  static HADAL_INLINE void store(const I* v, uint8_t* codes) {
    I high[32 / kLanes];
    I low[32 / kLanes];
    HADAL_UNROLL
    for (int i = 0; i < 32 / kLanes; ++i) {
      high[i] = shift_right_int<8>(add_int(v[i], splat_int(128)));
      low[i] = sub_int(v[i], shift_left_int(high[i], 8));
    }
    store_low_bytes(high, codes);
    store_low_bytes(low, codes + 32);
  }
};

#if HADAL_ISA_NEON

#include "kernels/cpu/isa_act_neon.h"

#else

enum Nibble { kWholeCode, kLowNibble, kHighNibble };
template <Nibble kNibble>
HADAL_INLINE B nibble(B w) {
  if constexpr (kNibble == kWholeCode) return w;
  return and_bits(kNibble == kHighNibble ? shift_right_16<4>(w) : w, splat_byte(15));
}

/// Where products find their codes, by vector and group of columns: in registers,
struct DirectCodes {
  const B* w;
#if !HADAL_ISA_VNNI
  template <int kOdd>
  HADAL_INLINE I pairs(int, int g) const {
    return kOdd ? _mm256_srli_epi16(w[g], 8) : _mm256_and_si256(w[g], _mm256_set1_epi16(255));
  }
#endif
  template <Nibble kNibble>
  HADAL_INLINE B at(int, int g) const {
    return nibble<kNibble>(w[g]);
  }
};
/// or in the unpacked form.
struct TileCodes {
  const uint8_t* w;
  int64_t panel_stride;
#if !HADAL_ISA_VNNI
  template <int kOdd>
  HADAL_INLINE I pairs(int v, int g) const {
    return load_bytes(w + v / kParts * panel_stride + 128 * g + 64 * kOdd + 32 * (v % kParts));
  }
#endif
  template <Nibble kNibble>
  HADAL_INLINE B at(int v, int g) const {
    return load_bytes(w + v / kParts * panel_stride + (kNibble == kHighNibble ? 512 : 0) + 64 * g +
                      4 * kLanes * (v % kParts));
  }
};
/// Where products find a column's activations: columns at even distances,
struct EvenColumns {
  const uint8_t* x;
  int64_t stride;
  HADAL_INLINE const uint8_t* operator()(int c) const { return x + c * stride; }
  HADAL_INLINE EvenColumns behind(int bytes) const { return {x + bytes, stride}; }
  HADAL_INLINE void forget() { forget_reads(x); }
};
/// or any columns, at the same place in each.
struct TileColumns {
  const uint8_t* const* x;
  int64_t offset;
  HADAL_INLINE const uint8_t* operator()(int c) const { return x[c] + offset; }
  HADAL_INLINE TileColumns behind(int bytes) const { return {x, offset + bytes}; }
  HADAL_INLINE void forget() { forget_reads(offset); }
};

#if HADAL_ISA_VNNI

/// All codes are treated alike.
constexpr int tile_bits(int) {
  return 8;
}
/// The unpacked form of a block's codes: group after group, 16 words.
struct ByteForm {
  static constexpr int bytes(int) { return 512; }
  template <int>
  static HADAL_INLINE void store(const B w[8], int part, uint8_t* out) {
    HADAL_UNROLL
    for (int g = 0; g < 8; ++g) store_bytes(out + 64 * g + 4 * kLanes * part, w[g]);
  }
};

/// Adds code * x to sum[vector][column] for groups [g0, g0 + n) of a block.
template <int, int g0, int n, int V, int C, typename Codes, typename Columns>
HADAL_INLINE void add_products(Codes codes, Columns x, I sum[V][C]) {
  HADAL_UNROLL
  for (int g = g0; g < g0 + n; ++g) {
    B w[V];
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) w[v] = codes.template at<kWholeCode>(v, g);
    HADAL_UNROLL
    for (int c = 0; c < C; ++c) {
      const I word = splat_int(load_word(x(c) + 4 * g));
      HADAL_UNROLL
      for (int v = 0; v < V; ++v) sum[v][c] = dot_bytes(sum[v][c], w[v], word);
    }
  }
}

#else

// Without an instruction for it, products of a run of groups add up in 16 bits, 2 per group and
// lane. That is exact as long as run * 2 * largest code * 128 < 2^15; codes of 8 bits go nibble by
// nibble.

/// The formats that share a tile: fewer bits are treated as 4.
constexpr int tile_bits(int bits) {
  return bits < 4 ? 4 : bits;
}
/// The unpacked form of a block's codes: group after group, 16 words; for codes of 8 bits the low
/// nibbles of all, then the high ones.
struct ByteForm {
  static constexpr int bytes(int bits) { return bits == 8 ? 1024 : 512; }
  template <int kBits>
  static HADAL_INLINE void store(const B w[8], int part, uint8_t* out) {
    HADAL_UNROLL
    for (int g = 0; g < 8; ++g) {
      uint8_t* at = out + 64 * g + 32 * part;
      store_bytes(at, kBits == 8 ? nibble<kLowNibble>(w[g]) : w[g]);
      if constexpr (kBits == 8) store_bytes(at + 512, nibble<kHighNibble>(w[g]));
    }
  }
};
/// ... with 16 bits per code: of each group columns 0 and 2, then 1 and 3 of 16 rows.
struct PairForm {
  static constexpr int bytes(int) { return 1024; }
  template <int>
  static HADAL_INLINE void store(const B w[8], int part, uint8_t* out) {
    HADAL_UNROLL
    for (int g = 0; g < 8; ++g) {
      store_bytes(out + 128 * g + 32 * part, DirectCodes{w}.pairs<0>(0, g));
      store_bytes(out + 128 * g + 64 + 32 * part, DirectCodes{w}.pairs<1>(0, g));
    }
  }
};
/// How many groups one run may have.
constexpr int run_groups(int bits) {
  return bits <= 4 || bits == 8 ? 8 : bits == 5 ? 4 : 2;
}
template <Nibble kNibble, int g0, int n, int V, int C, typename Codes, typename Columns>
HADAL_INLINE void add_run(Codes codes, Columns x, I sum[V][C]) {
  I part[V][C];
  x.forget();
  HADAL_UNROLL
  for (int g = g0; g < g0 + n; ++g) {
    B w[V];
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) w[v] = codes.template at<kNibble>(v, g);
    HADAL_UNROLL
    for (int c = 0; c < C; ++c) {
      const I word = splat_int(load_word(x(c) + 4 * g));
      HADAL_UNROLL
      for (int v = 0; v < V; ++v) {
        const I product = _mm256_maddubs_epi16(w[v], word);
        part[v][c] = g == g0 ? product : _mm256_add_epi16(part[v][c], product);
        keep_order(part[v][c]);
      }
    }
  }
  const I weight = _mm256_set1_epi16(kNibble == kHighNibble ? 16 : 1);
  HADAL_UNROLL
  for (int v = 0; v < V; ++v) {
    HADAL_UNROLL
    for (int c = 0; c < C; ++c) {
      sum[v][c] = add_int(sum[v][c], _mm256_madd_epi16(part[v][c], weight));
    }
  }
}

/// Adds code * x to sum[vector][column] for groups [g0, g0 + n) of a block.
template <int kBits, int g0, int n, int V, int C, typename Codes, typename Columns>
HADAL_INLINE void add_products(Codes codes, Columns x, I sum[V][C]) {
  if constexpr (kBits == 8) {
    add_run<kLowNibble, g0, n, V, C>(codes, x, sum);
    add_run<kHighNibble, g0, n, V, C>(codes, x, sum);
  } else if constexpr (n > run_groups(kBits)) {
    add_run<kWholeCode, g0, n / 2, V, C>(codes, x, sum);
    add_run<kWholeCode, g0 + n / 2, n / 2, V, C>(codes, x, sum);
    static_assert(n / 2 <= run_groups(kBits));
  } else {
    add_run<kWholeCode, g0, n, V, C>(codes, x, sum);
  }
}

#endif

struct Act8 : ByteColumns {
  using Form = ByteForm;

  /// Adds groups [g0, g0 + n) of one block to sum[vector][column].
  template <int kBits, int g0, int n, int V, int C, typename Codes, typename Columns>
  static HADAL_INLINE void add(Codes codes, Columns x, I sum[V][C]) {
    add_products<kBits, g0, n, V, C>(codes, x, sum);
  }
};

#if HADAL_ISA_VNNI

struct Act16 : SplitColumns {
  using Form = ByteForm;
  static constexpr int kBytes = 80;

  /// Like Act8's; the sums start at zero.
  template <int kBits, int g0, int n, int V, int C, typename Codes, typename Columns>
  static HADAL_INLINE void add(Codes codes, Columns x, I sum[V][C]) {
    add_products<kBits, g0, n, V, C>(codes, x, sum);
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) {
      HADAL_UNROLL
      for (int c = 0; c < C; ++c) sum[v][c] = shift_left_int(sum[v][c], 8);
    }
    add_products<kBits, g0, n, V, C>(codes, x.behind(32), sum);
  }
  /// start + sum of code * x over groups [g0, g0 + n).
  template <int g0, int n>
  static HADAL_INLINE I dot(const B w[8], const uint8_t* x, I start) {
    I sum[1][1] = {{splat_int(0)}};
    add<8, g0, n, 1, 1>(DirectCodes{w}, EvenColumns{x, 0}, sum);
    return add_int(start, sum[0][0]);
  }
};

#else

/// Per group of 4 columns the 16-bit values of columns 0, 2 | 1, 3, to meet the even and odd bytes
/// of a code word.
struct Act16 {
  using Form = PairForm;
  static constexpr int kGroup = 1;
  static constexpr float kMax = 32512.0f;
  static constexpr int kCodes = 64;
  static constexpr int kBytes = 80;
  static constexpr bool kFoldsBias = false;

  static HADAL_INLINE void store(const I v[4], uint8_t* codes) {
    const __m256i order =
        _mm256_setr_epi8(0, 1, 8, 9, 4, 5, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1, 0, 1, 8, 9, 4, 5,
                         12, 13, -1, -1, -1, -1, -1, -1, -1, -1);
    HADAL_UNROLL
    for (int i = 0; i < 4; ++i) {
      const __m256i packed = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(v[i], order), 8);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16 * i), _mm256_castsi256_si128(packed));
    }
  }
  template <int kOdd, int V, int C, typename Codes, typename Columns>
  static HADAL_INLINE void add_step(Codes codes, Columns x, int g, I sum[V][C]) {
    I w[V];
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) w[v] = codes.template pairs<kOdd>(v, g);
    HADAL_UNROLL
    for (int c = 0; c < C; ++c) {
      const I word = splat_int(load_word(x(c) + 8 * g + 4 * kOdd));
      HADAL_UNROLL
      for (int v = 0; v < V; ++v) {
        sum[v][c] = add_int(sum[v][c], _mm256_madd_epi16(w[v], word));
        keep_order(sum[v][c]);
      }
    }
  }
  template <int, int g0, int n, int V, int C, typename Codes, typename Columns>
  static HADAL_INLINE void add(Codes codes, Columns x, I sum[V][C]) {
    x.forget();
    HADAL_UNROLL
    for (int g = g0; g < g0 + n; ++g) {
      add_step<0, V, C>(codes, x, g, sum);
      add_step<1, V, C>(codes, x, g, sum);
    }
  }
  /// start + sum of code * x over groups [g0, g0 + n).
  template <int g0, int n>
  static HADAL_INLINE I dot(const B w[8], const uint8_t* x, I start) {
    I sum[1][1] = {{splat_int(0)}};
    add<8, g0, n, 1, 1>(DirectCodes{w}, EvenColumns{x, 0}, sum);
    return add_int(start, sum[0][0]);
  }
};

#endif

/// Few columns with codes in registers: adds to sum[column].
template <typename A, int kBits, int C, int g0, int n>
HADAL_INLINE void direct_block(const B w[8], const uint8_t* x, int64_t stride, I sum[C]) {
  I sums[1][C];
  HADAL_UNROLL
  for (int c = 0; c < C; ++c) sums[0][c] = sum[c];
  A::template add<kBits, g0, n, 1, C>(DirectCodes{w}, EvenColumns{x, stride}, sums);
  HADAL_UNROLL
  for (int c = 0; c < C; ++c) sum[c] = sums[0][c];
}

/// Adds groups [g0, g0 + n) of an unpacked block to sum[vector][column].
template <typename A, int kBits, int V, int C, int g0, int n>
HADAL_INLINE void tile_block(const uint8_t* w, int64_t panel_stride, const uint8_t* const* x,
                             int64_t offset, I sum[V][C]) {
  A::template add<kBits, g0, n, V, C>(TileCodes{w, panel_stride}, TileColumns{x, offset}, sum);
}

#endif

/// The scale of a group of values and its inverse. A group that holds infinities or NaN becomes NaN
/// as a whole; one with no value above 2^-100 counts as zero (its inverse scale would overflow).
template <typename A>
HADAL_INLINE void find_scale(const float* x, int64_t vectors, float& scale, float& inverse) {
  F top = zero();
  F bad = zero();
  for (int64_t i = 0; i < vectors; ++i) {
    const F v = load(x + i * kLanes);
    top = max(top, abs(v));
    bad = add(bad, sub(v, v));
  }
  const float peak = max_finite_lanes(top);
  scale = peak / A::kMax;
  inverse = A::kMax / peak;
  if (any_unordered(bad)) {
    scale = __builtin_nanf("");
    inverse = 0.0f;
  } else if (!(peak > 0x1p-100f)) {
    scale = 0.0f;
    inverse = 0.0f;
  }
}

template <typename A>
HADAL_INLINE void quantize_block(const float* x, float scale, float inverse, uint8_t* out) {
  constexpr int kVectors = cpu::kBlockColumns / kLanes;
  I rounded[kVectors];
  HADAL_UNROLL
  for (int i = 0; i < kVectors; ++i) {
    rounded[i] = to_int(inverse == 0.0f ? zero() : mul(load(x + i * kLanes), splat(inverse)));
  }
  A::store(rounded, out);
  I sums[2] = {rounded[0], rounded[kVectors / 2]};
  HADAL_UNROLL
  for (int i = 1; i < kVectors / 2; ++i) {
    sums[0] = add_int(sums[0], rounded[i]);
    sums[1] = add_int(sums[1], rounded[kVectors / 2 + i]);
  }
  const int32_t first = sum_int_lanes(sums[0]);
  const int32_t last = sum_int_lanes(sums[1]);
  auto* side = reinterpret_cast<float*>(out + A::kCodes);
  side[0] = scale;
  side[1] = scale * static_cast<float>(first + last);
  side[2] = scale * static_cast<float>(first);
  side[3] = scale * static_cast<float>(last);
  if constexpr (A::kBytes - A::kCodes >= 32) {
    const int32_t negated[4] = {-(first + last), -first, -last, 0};
    __builtin_memcpy(side + 4, negated, sizeof(negated));
  }
}

/// Rounds whole groups, or what is left of a row.
template <typename A>
void quantize(const float* x, int64_t blocks, uint8_t* out) {
  constexpr int kBlock = cpu::kBlockColumns;
  for (int64_t b = 0; b < blocks; b += A::kGroup) {
    const int64_t count = blocks - b < A::kGroup ? blocks - b : A::kGroup;
    float scale, inverse;
    find_scale<A>(x, count * (kBlock / kLanes), scale, inverse);
    for (int64_t i = 0; i < count; ++i, x += kBlock, out += A::kBytes) {
      quantize_block<A>(x, scale, inverse, out);
    }
  }
}

#if !HADAL_ISA_NEON
/// Makes a block's unsigned codes what the products want: here they take them as they are.
template <int kBiasShift>
HADAL_INLINE void adapt_codes(B*) {}

/// What the integer sum of sub-block `sub` (0: the whole block, 1 and 2: its halves) starts with.
template <typename A, bool kBiased>
HADAL_INLINE I start_sum(const uint8_t* side, int sub, int bias_shift) {
  if constexpr (A::kFoldsBias && kBiased) {
    return shift_left_by(splat_int(load_word(side + ActSide::kNegatedSums + 4 * sub)), bias_shift);
  } else {
    return splat_int(0);
  }
}
#endif

/// Where sub-block `unit` of a group of blocks has its sums among the side values of the first
/// block.
template <typename A, int kSubs>
constexpr int sums_at(int unit) {
  return unit / kSubs * A::kBytes + ActSide::kSums + 4 * (kSubs == 1 ? 0 : 1 + unit % kSubs);
}

/// Adds the contribution of a group of blocks with kUnits sub-blocks together; `sum` and `scale`
/// are the last one's, `scaled` (not for one unit) what those before it have, `side` the side
/// values of the group's first block.
template <typename A, bool kBiased, int kSubs, int kUnits>
HADAL_INLINE F add_group(F acc, F scaled, I sum, F scale, const F offset[kUnits],
                         const uint8_t* side) {
  if constexpr (kUnits == 1) {
    acc = fma(to_float(sum), mul(scale, splat(load_scalar(side))), acc);
  } else {
    acc = fma(fma(to_float(sum), scale, scaled), splat(load_scalar(side)), acc);
  }
  if constexpr (!(A::kFoldsBias && kBiased)) {
    HADAL_UNROLL
    for (int u = 0; u < kUnits; ++u) {
      acc = fnma(offset[u], splat(load_scalar(side + sums_at<A, kSubs>(u))), acc);
    }
  }
  return acc;
}

/// The sum over a group so far.
template <int kUnit>
HADAL_INLINE F add_unit(F scaled, I sum, F scale) {
  if constexpr (kUnit == 0) return mul(to_float(sum), scale);
  return fma(to_float(sum), scale, scaled);
}
