// Rounded activations and their products on NEON; see isa_act.h. Both variants multiply signed
// bytes of activations with code bytes: with HADAL_ISA_I8MM the codes are unsigned, as stored;
// without it there is no instruction for mixed signs, so that codes must fit into signed bytes: the
// formats with 8-bit codes (bias 2^7) lose their bias on the way, and start_sum() makes up for it.

#if HADAL_ISA_I8MM
constexpr bool kSignedCodes = false;
#else
constexpr bool kSignedCodes = true;
#endif

/// Makes a block's unsigned codes what the products want.
template <int kBiasShift>
HADAL_INLINE void adapt_codes(B w[8]) {
  if constexpr (kSignedCodes && kBiasShift == 7) {
    HADAL_UNROLL
    for (int g = 0; g < 8; ++g) w[g] = veorq_u8(w[g], splat_byte(0x80));
  }
}

/// sum + code * x, 4 columns of 4 rows; x: 16 columns, of which kWord picks 4.
template <int kWord>
HADAL_INLINE I dot_word(I sum, B code, int8x16_t x) {
#if HADAL_ISA_I8MM
  return vusdotq_laneq_s32(sum, code, x, kWord);
#else
  return vdotq_laneq_s32(sum, vreinterpretq_s8_u8(code), x, kWord);
#endif
}

HADAL_INLINE int8x16_t load_columns(const uint8_t* p) {
  return vreinterpretq_s8_u8(vld1q_u8(p));
}

/// The unpacked form of a block's codes: 512 bytes.
struct ByteForm {
  static constexpr int bytes(int) { return 512; }
#if HADAL_ISA_I8MM
  /// Step k of 4: 16 rows of 8 columns, which the matrix instruction reads in pairs of rows.
  template <int>
  static HADAL_INLINE void store(const B w[8], int part, uint8_t* out) {
    HADAL_UNROLL
    for (int k = 0; k < 4; ++k) {
      const uint32x4_t even = vreinterpretq_u32_u8(w[2 * k]);
      const uint32x4_t odd = vreinterpretq_u32_u8(w[2 * k + 1]);
      uint8_t* at = out + 128 * k + 32 * part;
      store_bytes(at, vreinterpretq_u8_u32(vzip1q_u32(even, odd)));
      store_bytes(at + 16, vreinterpretq_u8_u32(vzip2q_u32(even, odd)));
    }
  }
#else
  template <int>
  static HADAL_INLINE void store(const B w[8], int part, uint8_t* out) {
    HADAL_UNROLL
    for (int g = 0; g < 8; ++g) store_bytes(out + 64 * g + 16 * part, w[g]);
  }
#endif
};

#if HADAL_ISA_I8MM
/// 8 columns of activations of two tokens.
HADAL_INLINE int8x16_t load_pair(const uint8_t* a, const uint8_t* b) {
  return vreinterpretq_s8_u8(vcombine_u8(vld1_u8(a), vld1_u8(b)));
}
#endif

struct Act8 : ByteColumns {
  using Form = ByteForm;

  /// start + sum of code * x over groups [g0, g0 + n).
  template <int g0, int n>
  static HADAL_INLINE I dot(const B w[8], const uint8_t* x, I start) {
    I sum = start;
    HADAL_UNROLL
    for (int g = g0; g < g0 + n; g += 4) {
      const int8x16_t columns = load_columns(x + 4 * g);
      sum = dot_word<0>(sum, w[g], columns);
      sum = dot_word<1>(sum, w[g + 1], columns);
      sum = dot_word<2>(sum, w[g + 2], columns);
      sum = dot_word<3>(sum, w[g + 3], columns);
    }
    return sum;
  }

#if HADAL_ISA_I8MM
  /// Adds groups [g0, g0 + n) of one block to sum[vector][column]. The matrix instruction adds to
  /// 2 rows x 2 columns at once; an odd last column is computed twice.
  template <int V, int C, int g0, int n>
  static HADAL_INLINE void tile_block(const uint8_t* w, int64_t, const uint8_t* const* x,
                                      int64_t offset, I sum[V][C]) {
    static_assert(V == kParts);
    constexpr int kPairs = (C + 1) / 2;
    constexpr int kOther = C == 1 ? 0 : 1;
    I squares[2 * V][kPairs];
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) {
      HADAL_UNROLL
      for (int c = 0; c < kPairs; ++c) {
        squares[2 * v][c] = vzip1q_s32(sum[v][2 * c], sum[v][2 * c + kOther]);
        squares[2 * v + 1][c] = vzip2q_s32(sum[v][2 * c], sum[v][2 * c + kOther]);
      }
    }
    HADAL_UNROLL
    for (int k = g0 / 2; k < (g0 + n) / 2; ++k) {
      int8x16_t columns[kPairs];
      HADAL_UNROLL
      for (int c = 0; c < kPairs; ++c) {
        columns[c] = load_pair(x[2 * c] + offset + 8 * k, x[2 * c + kOther] + offset + 8 * k);
      }
      HADAL_UNROLL
      for (int r = 0; r < 2 * V; ++r) {
        const B codes = load_bytes(w + 128 * k + 16 * r);
        HADAL_UNROLL
        for (int c = 0; c < kPairs; ++c) {
          squares[r][c] = vusmmlaq_s32(squares[r][c], codes, columns[c]);
        }
      }
    }
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) {
      HADAL_UNROLL
      for (int c = 0; c < kPairs; ++c) {
        sum[v][2 * c] = vuzp1q_s32(squares[2 * v][c], squares[2 * v + 1][c]);
        if constexpr (C > 1) {
          sum[v][2 * c + 1] = vuzp2q_s32(squares[2 * v][c], squares[2 * v + 1][c]);
        }
      }
    }
  }
#else
  template <int V, int C, int kWord>
  static HADAL_INLINE void tile_word(const uint8_t* w, const int8x16_t columns[C], I sum[V][C]) {
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) {
      const B codes = load_bytes(w + 64 * kWord + 16 * v);
      HADAL_UNROLL
      for (int c = 0; c < C; ++c) sum[v][c] = dot_word<kWord>(sum[v][c], codes, columns[c]);
    }
  }
  /// Adds groups [g0, g0 + n) of one block to sum[vector][column].
  template <int V, int C, int g0, int n>
  static HADAL_INLINE void tile_block(const uint8_t* w, int64_t, const uint8_t* const* x,
                                      int64_t offset, I sum[V][C]) {
    static_assert(V == kParts);
    HADAL_UNROLL
    for (int g = g0; g < g0 + n; g += 4) {
      int8x16_t columns[C];
      HADAL_UNROLL
      for (int c = 0; c < C; ++c) columns[c] = load_columns(x[c] + offset + 4 * g);
      tile_word<V, C, 0>(w + 64 * g, columns, sum);
      tile_word<V, C, 1>(w + 64 * g, columns, sum);
      tile_word<V, C, 2>(w + 64 * g, columns, sum);
      tile_word<V, C, 3>(w + 64 * g, columns, sum);
    }
  }
#endif
};

struct Act16 : SplitColumns {
  using Form = ByteForm;
  static constexpr int kBytes = 96;

  template <int g0, int n>
  static HADAL_INLINE I dot(const B w[8], const uint8_t* x, I start) {
    const I high = Act8::dot<g0, n>(w, x, splat_int(0));
    const I low = Act8::dot<g0, n>(w, x + 32, start);
    return add_int(vshlq_n_s32(high, 8), low);
  }
  template <int V, int C, int g0, int n>
  static HADAL_INLINE void tile_block(const uint8_t* w, int64_t panel_stride,
                                      const uint8_t* const* x, int64_t offset, I sum[V][C]) {
    I high[V][C];
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) {
      HADAL_UNROLL
      for (int c = 0; c < C; ++c) high[v][c] = splat_int(0);
    }
    Act8::tile_block<V, C, g0, n>(w, panel_stride, x, offset, high);
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) {
      HADAL_UNROLL
      for (int c = 0; c < C; ++c) sum[v][c] = add_int(sum[v][c], vshlq_n_s32(high[v][c], 8));
    }
    Act8::tile_block<V, C, g0, n>(w, panel_stride, x, offset + 32, sum);
  }
};

/// All codes are treated alike.
constexpr int tile_bits(int) {
  return 8;
}

/// Few columns with codes in registers: adds to sum[column].
template <typename A, int, int C, int g0, int n>
HADAL_INLINE void direct_block(const B w[8], const uint8_t* x, int64_t stride, I sum[C]) {
  HADAL_UNROLL
  for (int c = 0; c < C; ++c) sum[c] = A::template dot<g0, n>(w, x + c * stride, sum[c]);
}

/// Adds groups [g0, g0 + n) of an unpacked block to sum[vector][column].
template <typename A, int, int V, int C, int g0, int n>
HADAL_INLINE void tile_block(const uint8_t* w, int64_t panel_stride, const uint8_t* const* x,
                             int64_t offset, I sum[V][C]) {
  A::template tile_block<V, C, g0, n>(w, panel_stride, x, offset, sum);
}

/// What the integer sum of sub-block `sub` (0: the whole block, 1 and 2: its halves) starts with:
/// minus the bias where it is folded, plus the bias where the codes have lost it.
template <typename A, bool kBiased>
HADAL_INLINE I start_sum(const uint8_t* side, int sub, int bias_shift) {
  const int32_t negated = load_word(side + ActSide::kNegatedSums + 4 * sub);
  const bool lost = kSignedCodes && bias_shift == 7;
  if constexpr (A::kFoldsBias && kBiased) {
    return lost ? splat_int(0) : splat_int(negated * (1 << bias_shift));
  } else {
    return lost ? splat_int(-negated * 128) : splat_int(0);
  }
}
