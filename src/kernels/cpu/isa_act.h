// Rounded activations. A policy (Act8, Act16) has: kMax, the largest integer; kCodes, the bytes of
// 32 rounded values in the order its products want; kFoldsBias, whether integer sums start at
// -bias * sum(x); store(), dot() and the unpacked form of codes for tiles.
//
// After the codes of a block come its side values: float scale; float scale * sum(x) of all 32, of
// the first 16 and of the last 16; and, where kBytes leaves room, the three sums as negated
// integers.

struct ActSide {
  static constexpr int kSums = 4;
  static constexpr int kNegatedSums = 16;
};

#if HADAL_ISA_AVX512

constexpr int kUnpackedCodes = 512;  // of a block: 8 vectors of bytes

HADAL_INLINE void store_unpacked(const B w[8], int, uint8_t* out) {
  HADAL_UNROLL
  for (int g = 0; g < 8; ++g) store_bytes(out + 64 * g, w[g]);
}

/// Word g: columns 4g .. 4g + 3.
struct Act8 {
  static constexpr float kMax = 127.0f;
  static constexpr int kCodes = 32;
  static constexpr int kBytes = 64;
  static constexpr bool kFoldsBias = true;

  static HADAL_INLINE void store(const I v[2], uint8_t* codes) {
    HADAL_UNROLL
    for (int i = 0; i < 2; ++i) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16 * i), _mm512_cvtepi32_epi8(v[i]));
    }
  }
  /// start + sum of code * x over groups [g0, g0 + n).
  template <int g0, int n>
  static HADAL_INLINE I dot(const B w[8], const uint8_t* x, I start) {
    I sum = start;
    HADAL_UNROLL
    for (int g = g0; g < g0 + n; ++g) {
      sum = _mm512_dpbusd_epi32(sum, w[g], splat_int(load_word(x + 4 * g)));
    }
    return sum;
  }
  /// Adds groups [g0, g0 + n) of one block to sum[vector][column].
  template <int V, int C, int g0, int n>
  static HADAL_INLINE void tile_block(const uint8_t* w, int64_t panel_stride,
                                      const uint8_t* const* x, int64_t offset, I sum[V][C]) {
    HADAL_UNROLL
    for (int g = g0; g < g0 + n; ++g) {
      B codes[V];
      HADAL_UNROLL
      for (int v = 0; v < V; ++v) codes[v] = load_bytes(w + v * panel_stride + 64 * g);
      HADAL_UNROLL
      for (int c = 0; c < C; ++c) {
        const I word = splat_int(load_word(x[c] + offset + 4 * g));
        HADAL_UNROLL
        for (int v = 0; v < V; ++v) sum[v][c] = _mm512_dpbusd_epi32(sum[v][c], codes[v], word);
      }
    }
  }
};

/// 8 words of high bytes, then 8 of low bytes, x = 256 * high + low, both signed.
struct Act16 {
  static constexpr float kMax = 32512.0f;  // 127 * 256: splits into two signed bytes
  static constexpr int kCodes = 64;
  static constexpr int kBytes = 80;
  static constexpr bool kFoldsBias = false;

  static HADAL_INLINE void store(const I v[2], uint8_t* codes) {
    HADAL_UNROLL
    for (int i = 0; i < 2; ++i) {
      const I high = _mm512_srai_epi32(_mm512_add_epi32(v[i], splat_int(128)), 8);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16 * i), _mm512_cvtepi32_epi8(high));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 32 + 16 * i), _mm512_cvtepi32_epi8(v[i]));
    }
  }
  template <int g0, int n>
  static HADAL_INLINE I dot(const B w[8], const uint8_t* x, I start) {
    const I high = Act8::dot<g0, n>(w, x, splat_int(0));
    const I low = Act8::dot<g0, n>(w, x + 32, start);
    return add_int(shift_left_int(high, 8), low);
  }
  template <int V, int C, int g0, int n>
  static HADAL_INLINE void tile_block(const uint8_t* w, int64_t panel_stride,
                                      const uint8_t* const* x, int64_t offset, I sum[V][C]) {
    Act8::tile_block<V, C, g0, n>(w, panel_stride, x, offset, sum);
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) {
      HADAL_UNROLL
      for (int c = 0; c < C; ++c) sum[v][c] = shift_left_int(sum[v][c], 8);
    }
    Act8::tile_block<V, C, g0, n>(w, panel_stride, x, offset + 32, sum);
  }
};

#elif HADAL_ISA_NEON

#include "kernels/cpu/isa_act_neon.h"

#else  // AVX2

constexpr int kUnpackedCodes = 1024;  // of a block: 16 steps x 16 rows x 2 of 16 bits

HADAL_INLINE I even_bytes(B w) {
  return _mm256_and_si256(w, _mm256_set1_epi16(255));
}
HADAL_INLINE I odd_bytes(B w) {
  return _mm256_srli_epi16(w, 8);
}
HADAL_INLINE I multiply_add(I sum, I w, int32_t x) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(w, _mm256_set1_epi32(x)));
}

HADAL_INLINE void store_unpacked(const B w[8], int part, uint8_t* out) {
  HADAL_UNROLL
  for (int g = 0; g < 8; ++g) {
    store_bytes(out + 128 * g + 32 * part, even_bytes(w[g]));
    store_bytes(out + 128 * g + 64 + 32 * part, odd_bytes(w[g]));
  }
}

/// Per group of 4 columns the 16-bit values of columns 0, 2 | 1, 3, to meet the even and odd bytes
/// of a code word.
struct ActPairs {
  static constexpr int kCodes = 64;

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
  template <int g0, int n>
  static HADAL_INLINE I dot(const B w[8], const uint8_t* x, I start) {
    I even = start;
    I odd = _mm256_setzero_si256();
    HADAL_UNROLL
    for (int g = g0; g < g0 + n; ++g) {
      even = multiply_add(even, even_bytes(w[g]), load_word(x + 8 * g));
      odd = multiply_add(odd, odd_bytes(w[g]), load_word(x + 8 * g + 4));
    }
    return _mm256_add_epi32(even, odd);
  }
  template <int V, int C, int g0, int n>
  static HADAL_INLINE void tile_block(const uint8_t* w, int64_t panel_stride,
                                      const uint8_t* const* x, int64_t offset, I sum[V][C]) {
    HADAL_ROLL
    for (int step = 2 * g0; step < 2 * (g0 + n); ++step) {
      I codes[V];
      HADAL_UNROLL
      for (int v = 0; v < V; ++v) {
        codes[v] = load_bytes(w + v / kParts * panel_stride + 64 * step + 32 * (v % kParts));
      }
      HADAL_UNROLL
      for (int c = 0; c < C; ++c) {
        const I word = splat_int(load_word(x[c] + offset + 4 * step));
        HADAL_UNROLL
        for (int v = 0; v < V; ++v) {
          sum[v][c] = _mm256_add_epi32(sum[v][c], _mm256_madd_epi16(codes[v], word));
        }
      }
    }
  }
};
struct Act8 : ActPairs {
  static constexpr float kMax = 127.0f;
  static constexpr int kBytes = 96;
  static constexpr bool kFoldsBias = true;
};
struct Act16 : ActPairs {
  static constexpr float kMax = 32512.0f;
  static constexpr int kBytes = 80;
  static constexpr bool kFoldsBias = false;
};

#endif

/// Rounds blocks of 32 values. A block that holds infinities or NaN becomes NaN as a whole; one
/// with no value above 2^-100 counts as zero (its inverse scale would overflow).
template <typename A>
void quantize(const float* x, int64_t blocks, uint8_t* out) {
  constexpr int kVectors = cpu::kBlockColumns / kLanes;
  for (int64_t b = 0; b < blocks; ++b, x += 32, out += A::kBytes) {
    F v[kVectors];
    F top = zero();
    F bad = zero();
    HADAL_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      v[i] = load(x + i * kLanes);
      top = max(top, abs(v[i]));
      bad = add(bad, sub(v[i], v[i]));
    }
    const float peak = max_finite_lanes(top);
    float scale = peak / A::kMax;
    float inverse = A::kMax / peak;
    if (any_unordered(bad)) {
      scale = __builtin_nanf("");
      inverse = 0.0f;
    } else if (!(peak > 0x1p-100f)) {
      scale = 0.0f;
      inverse = 0.0f;
    }
    I rounded[kVectors];
    HADAL_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      rounded[i] = to_int(inverse == 0.0f ? zero() : mul(v[i], splat(inverse)));
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

/// acc less what the offset of sub-block `sub` contributes.
template <typename A, bool kBiased>
HADAL_INLINE F take_offset(F acc, F offset, const uint8_t* side, int sub) {
  if constexpr (A::kFoldsBias && kBiased) {
    return acc;
  } else {
    return fnma(offset, splat(load_scalar(side + ActSide::kSums + 4 * sub)), acc);
  }
}

/// Adds the contribution of a block with one scale.
template <typename A, bool kBiased>
HADAL_INLINE F add_block(F acc, I sum, F scale, F offset, const uint8_t* side) {
  acc = fma(to_float(sum), mul(scale, splat(load_scalar(side))), acc);
  return take_offset<A, kBiased>(acc, offset, side, 0);
}

/// Adds the contribution of a block with a scale for each half; `scaled` is the first half's sum
/// times its scale.
template <typename A, bool kBiased>
HADAL_INLINE F add_halves(F acc, F scaled, I sum, const F scale, const F offset[2],
                          const uint8_t* side) {
  acc = fma(fma(to_float(sum), scale, scaled), splat(load_scalar(side)), acc);
  acc = take_offset<A, kBiased>(acc, offset[0], side, 1);
  return take_offset<A, kBiased>(acc, offset[1], side, 2);
}
