// Quantised products: rounding of activations, one-column products straight from the packed panel,
// and the unpack + tile pair for many columns. See cpu_ops.h for the arithmetic.

#if HADAL_ISA_AVX512

/// Order of a rounded block: 8 words of high bytes, then 8 of low bytes, x = 256 * high + low, both
/// signed, word g = columns 4g .. 4g + 3.
HADAL_INLINE void store_rounded(const I v[2], uint8_t* codes) {
  HADAL_UNROLL
  for (int i = 0; i < 2; ++i) {
    const I high = _mm512_srai_epi32(_mm512_add_epi32(v[i], splat_int(128)), 8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16 * i), _mm512_cvtepi32_epi8(high));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 32 + 16 * i), _mm512_cvtepi32_epi8(v[i]));
  }
}

/// Sum of code * x over groups [g0, g0 + n), two chains.
template <int g0, int n>
HADAL_INLINE I dot(const B w[8], const uint8_t* x) {
  I high = _mm512_setzero_si512();
  I low = _mm512_setzero_si512();
  HADAL_UNROLL
  for (int g = g0; g < g0 + n; ++g) {
    high = _mm512_dpbusd_epi32(high, w[g], splat_int(load_word(x + 4 * g)));
    low = _mm512_dpbusd_epi32(low, w[g], splat_int(load_word(x + 32 + 4 * g)));
  }
  return _mm512_add_epi32(_mm512_slli_epi32(high, 8), low);
}

constexpr int kCodeBytes = 512;  // unpacked codes of a block: 8 vectors of bytes
template <typename Fmt>
HADAL_INLINE void store_codes(const B w[8], int, uint8_t* out) {
  HADAL_UNROLL
  for (int g = 0; g < 8; ++g) store_bytes(out + 64 * g, w[g]);
}

#else

/// Order of a rounded block: per group of 4 columns the 16-bit values of columns 0, 2 | 1, 3, to
/// meet the even and odd bytes of a code word.
HADAL_INLINE void store_rounded(const I v[4], uint8_t* codes) {
  const __m256i order = _mm256_setr_epi8(0, 1, 8, 9, 4, 5, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1,
                                         0, 1, 8, 9, 4, 5, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1);
  HADAL_UNROLL
  for (int i = 0; i < 4; ++i) {
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(v[i], order), 8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16 * i), _mm256_castsi256_si128(packed));
  }
}

HADAL_INLINE I even_bytes(B w) {
  return _mm256_and_si256(w, _mm256_set1_epi16(255));
}
HADAL_INLINE I odd_bytes(B w) {
  return _mm256_srli_epi16(w, 8);
}
HADAL_INLINE I multiply_add(I sum, I w, int32_t x) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(w, _mm256_set1_epi32(x)));
}

template <int g0, int n>
HADAL_INLINE I dot(const B w[8], const uint8_t* x) {
  I even = _mm256_setzero_si256();
  I odd = _mm256_setzero_si256();
  HADAL_UNROLL
  for (int g = g0; g < g0 + n; ++g) {
    even = multiply_add(even, even_bytes(w[g]), load_word(x + 8 * g));
    odd = multiply_add(odd, odd_bytes(w[g]), load_word(x + 8 * g + 4));
  }
  return _mm256_add_epi32(even, odd);
}

constexpr int kCodeBytes = 1024;  // unpacked codes of a block: 16 steps x 16 rows x 2 of 16 bits
template <typename Fmt>
HADAL_INLINE void store_codes(const B w[8], int part, uint8_t* out) {
  HADAL_UNROLL
  for (int g = 0; g < 8; ++g) {
    store_bytes(out + 128 * g + 32 * part, even_bytes(w[g]));
    store_bytes(out + 128 * g + 64 + 32 * part, odd_bytes(w[g]));
  }
}

#endif

/// Rounds blocks of 32 values. A block that holds infinities or NaN becomes NaN as a whole; one
/// with no value above 2^-100 counts as zero (its inverse scale would overflow).
void quantize(const float* x, int64_t blocks, uint8_t* codes, float* side) {
  constexpr int kVectors = cpu::kBlockColumns / kLanes;
  for (int64_t b = 0; b < blocks; ++b, x += 32, codes += 64, side += 4) {
    F v[kVectors];
    F top = zero();
    F bad = zero();
    HADAL_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      v[i] = load(x + i * kLanes);
      top = max(top, abs(v[i]));
      bad = add(bad, sub(v[i], v[i]));
    }
    const float peak = max_lanes(top);
    float scale = peak / cpu::kActivationMax;
    float inverse = cpu::kActivationMax / peak;
    if (any_unordered(bad)) {
      scale = __builtin_nanf("");
      inverse = 0.0f;
    } else if (!(peak > 0x1p-100f)) {
      scale = 0.0f;
      inverse = 0.0f;
    }
    I rounded[kVectors];
    I sums[2];
    HADAL_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      rounded[i] = to_int(inverse == 0.0f ? zero() : mul(v[i], splat(inverse)));
    }
    sums[0] = rounded[0];
    sums[1] = rounded[kVectors / 2];
    if constexpr (kVectors == 4) {
      sums[0] = add_int(sums[0], rounded[1]);
      sums[1] = add_int(sums[1], rounded[3]);
    }
    store_rounded(rounded, codes);
    int32_t total[2] = {0, 0};
    for (int i = 0; i < 2; ++i) {
      int32_t lane[kLanes];
      store_bytes(lane, sums[i]);
      for (int j = 0; j < kLanes; ++j) total[i] += lane[j];
    }
    side[0] = scale;
    side[1] = scale * static_cast<float>(total[0] + total[1]);
    side[2] = scale * static_cast<float>(total[0]);
    side[3] = scale * static_cast<float>(total[1]);
  }
}

/// One sub-block's contribution.
HADAL_INLINE F accumulate(F acc, I sum, F scale, F offset, float x_scale, float x_sum) {
  acc = fma(to_float(sum), mul(scale, splat(x_scale)), acc);
  return fnma(offset, splat(x_sum), acc);
}

/// C columns straight from the packed panel; unpacked codes live in registers.
template <typename Fmt, int C>
void direct_panel(const uint8_t* p, int64_t blocks, const QuantInput& x, float* out) {
  F acc[kParts][C];
  HADAL_UNROLL
  for (int part = 0; part < kParts; ++part) {
    HADAL_UNROLL
    for (int c = 0; c < C; ++c) acc[part][c] = zero();
  }
  const uint8_t* codes = x.codes;
  const float* side = x.side;
  for (int64_t super = 0; super < blocks; super += Fmt::kSuper) {
    State state[kParts];
    HADAL_UNROLL
    for (int part = 0; part < kParts; ++part) Fmt::head(p, part, state[part]);
    p += Fmt::kHeadBytes;
    for (int i = 0; i < Fmt::kSuper; ++i) {
      HADAL_UNROLL
      for (int part = 0; part < kParts; ++part) {
        B w[8];
        F scale[2], offset[2];
        Fmt::codes(p, part, w);
        Fmt::scales(p, part, state[part], scale, offset);
        HADAL_UNROLL
        for (int c = 0; c < C; ++c) {
          const uint8_t* xc = codes + c * x.codes_stride;
          const float* sc = side + c * x.side_stride;
          F& sum = acc[part][c];
          if constexpr (Fmt::kSubs == 1) {
            sum = accumulate(sum, dot<0, 8>(w, xc), scale[0], offset[0], sc[0], sc[1]);
          } else {
            sum = accumulate(sum, dot<0, 4>(w, xc), scale[0], offset[0], sc[0], sc[2]);
            sum = accumulate(sum, dot<4, 4>(w, xc), scale[1], offset[1], sc[0], sc[3]);
          }
        }
      }
      p += Fmt::kBlockBytes;
      codes += cpu::kActivationBytes;
      side += cpu::kSideFloats;
    }
  }
  HADAL_UNROLL
  for (int c = 0; c < C; ++c) {
    HADAL_UNROLL
    for (int part = 0; part < kParts; ++part) store(out + c * 16 + part * kLanes, acc[part][c]);
  }
}

template <typename Fmt>
void direct_columns(const uint8_t* p, int64_t blocks, const QuantInput& x, int columns,
                    float* out) {
  QuantInput rest = x;
  for (int done = 0; done < columns;) {
    rest.codes = x.codes + done * x.codes_stride;
    rest.side = x.side + done * x.side_stride;
    if (columns - done >= 4) {
      direct_panel<Fmt, 4>(p, blocks, rest, out + done * 16);
      done += 4;
    } else if (columns - done >= 2) {
      direct_panel<Fmt, 2>(p, blocks, rest, out + done * 16);
      done += 2;
    } else {
      direct_panel<Fmt, 1>(p, blocks, rest, out + done * 16);
      done += 1;
    }
  }
}

/// Unpacked block: codes, then per sub-block 16 scales and 16 offsets.
constexpr int unpacked_bytes(int subs) {
  return kCodeBytes + subs * 128;
}

template <typename Fmt>
void unpack_panel(const uint8_t* p, int64_t blocks, uint8_t* out) {
  for (int64_t super = 0; super < blocks; super += Fmt::kSuper) {
    State state[kParts];
    HADAL_UNROLL
    for (int part = 0; part < kParts; ++part) Fmt::head(p, part, state[part]);
    p += Fmt::kHeadBytes;
    for (int i = 0; i < Fmt::kSuper; ++i) {
      HADAL_UNROLL
      for (int part = 0; part < kParts; ++part) {
        B w[8];
        F scale[2], offset[2];
        Fmt::codes(p, part, w);
        Fmt::scales(p, part, state[part], scale, offset);
        store_codes<Fmt>(w, part, out);
        HADAL_UNROLL
        for (int s = 0; s < Fmt::kSubs; ++s) {
          float* side = reinterpret_cast<float*>(out + kCodeBytes + s * 128);
          store(side + part * kLanes, scale[s]);
          store(side + 16 + part * kLanes, offset[s]);
        }
      }
      p += Fmt::kBlockBytes;
      out += unpacked_bytes(Fmt::kSubs);
    }
  }
}

/// Adds groups [g0, g0 + n) of one block to sum[vector][column]. Vector v is part v % kParts of
/// panel v / kParts.
#if HADAL_ISA_AVX512
template <int V, int C, int g0, int n>
HADAL_INLINE void tile_block(const uint8_t* w, int64_t panel_stride, const uint8_t* const* x,
                             int64_t offset, I sum[V][C]) {
  HADAL_UNROLL
  for (int half = 0; half < 2; ++half) {
    if (half == 1) {
      HADAL_UNROLL
      for (int v = 0; v < V; ++v) {
        HADAL_UNROLL
        for (int c = 0; c < C; ++c) sum[v][c] = shift_left_int(sum[v][c], 8);
      }
    }
    HADAL_UNROLL
    for (int g = g0; g < g0 + n; ++g) {
      B codes[V];
      HADAL_UNROLL
      for (int v = 0; v < V; ++v) codes[v] = load_bytes(w + v * panel_stride + 64 * g);
      HADAL_UNROLL
      for (int c = 0; c < C; ++c) {
        const I word = splat_int(load_word(x[c] + offset + 32 * half + 4 * g));
        HADAL_UNROLL
        for (int v = 0; v < V; ++v) sum[v][c] = _mm512_dpbusd_epi32(sum[v][c], codes[v], word);
      }
    }
  }
}
#else
template <int V, int C, int g0, int n>
HADAL_INLINE void tile_block(const uint8_t* w, int64_t panel_stride, const uint8_t* const* x,
                             int64_t offset, I sum[V][C]) {
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
#endif

/// Adds a slice of blocks to `out`. The accumulators stay in memory (the first-level cache): the
/// integer sums of a block need the registers.
template <int P, int C, int kSubs>
void tile(const uint8_t* w, int64_t panel_stride, int64_t blocks, const QuantInput& x, float* out) {
  constexpr int V = P * kParts;
  constexpr int kGroups = 8 / kSubs;
  const uint8_t* codes[C];
  const float* side[C];
  for (int c = 0; c < C; ++c) {
    codes[c] = x.codes + c * x.codes_stride;
    side[c] = x.side + c * x.side_stride;
  }
  for (int64_t b = 0; b < blocks; ++b, w += unpacked_bytes(kSubs)) {
    HADAL_UNROLL
    for (int s = 0; s < kSubs; ++s) {
      I sum[V][C];
      HADAL_UNROLL
      for (int v = 0; v < V; ++v) {
        HADAL_UNROLL
        for (int c = 0; c < C; ++c) sum[v][c] = splat_int(0);
      }
      if (s == 0) {
        tile_block<V, C, 0, kGroups>(w, panel_stride, codes, b * 64, sum);
      } else {
        tile_block<V, C, 8 - kGroups, kGroups>(w, panel_stride, codes, b * 64, sum);
      }
      HADAL_UNROLL
      for (int v = 0; v < V; ++v) {
        const float* factors =
            reinterpret_cast<const float*>(w + v / kParts * panel_stride + kCodeBytes + s * 128) +
            v % kParts * kLanes;
        const F scale = load(factors);
        const F offset = load(factors + 16);
        HADAL_UNROLL
        for (int c = 0; c < C; ++c) {
          float* acc = out + c * P * 16 + v * kLanes;
          store(acc, accumulate(load(acc), sum[v][c], scale, offset, side[c][4 * b],
                                side[c][4 * b + (kSubs == 1 ? 1 : 2 + s)]));
        }
      }
    }
  }
}

#if HADAL_ISA_AVX512
constexpr int kTilePanels = 2, kTileColumns = 8;  // 16 sums of 32 registers
constexpr int kDirectColumns = 8;
#else
constexpr int kTilePanels = 1, kTileColumns = 4;  // 8 sums + 2 codes + 1 word of 16 registers
constexpr int kDirectColumns = 2;                 // 8 vectors of codes leave too few registers
#endif

template <int P, int kSubs>
void tile_columns(const uint8_t* w, int64_t stride, int64_t blocks, const QuantInput& x,
                  int columns, float* out) {
  if (columns == kTileColumns) return tile<P, kTileColumns, kSubs>(w, stride, blocks, x, out);
  QuantInput rest = x;
  for (int done = 0; done < columns;) {
    rest.codes = x.codes + done * x.codes_stride;
    rest.side = x.side + done * x.side_stride;
    float* at = out + done * P * 16;
    if (columns - done >= 4) {
      tile<P, 4, kSubs>(w, stride, blocks, rest, at);
      done += 4;
    } else if (columns - done >= 2) {
      tile<P, 2, kSubs>(w, stride, blocks, rest, at);
      done += 2;
    } else {
      tile<P, 1, kSubs>(w, stride, blocks, rest, at);
      done += 1;
    }
  }
}

#define HADAL_EACH_FORMAT(CASE)                                                           \
  CASE(Q4_0)                                                                              \
  CASE(Q4_1)                                                                              \
  CASE(Q5_0) CASE(Q5_1) CASE(Q8_0) CASE(Q2_K) CASE(Q3_K) CASE(Q4_K) CASE(Q5_K) CASE(Q6_K) \
      CASE(IQ4_NL) CASE(IQ4_XS) CASE(MXFP4)

void direct(int format, const uint8_t* panel, int64_t blocks, const QuantInput& x, int columns,
            float* out) {
  switch (format) {
#define CASE(name)         \
  case cpu::kFormat##name: \
    return direct_columns<name>(panel, blocks, x, columns, out);
    HADAL_EACH_FORMAT(CASE)
#undef CASE
    default:
      return;
  }
}

void unpack(int format, const uint8_t* panel, int64_t blocks, uint8_t* unpacked) {
  switch (format) {
#define CASE(name)         \
  case cpu::kFormat##name: \
    return unpack_panel<name>(panel, blocks, unpacked);
    HADAL_EACH_FORMAT(CASE)
#undef CASE
    default:
      return;
  }
}

int subs_of(int format) {
  switch (format) {
#define CASE(name)         \
  case cpu::kFormat##name: \
    return name::kSubs;
    HADAL_EACH_FORMAT(CASE)
#undef CASE
    default:
      return 1;
  }
}

int64_t unpacked_block_bytes(int format) {
  return unpacked_bytes(subs_of(format));
}

void quant_tile(int format, const uint8_t* unpacked, int64_t panel_stride, int panels,
                int64_t blocks, const QuantInput& x, int columns, float* out) {
  const bool two_subs = subs_of(format) == 2;
  if constexpr (kTilePanels == 2) {
    if (panels == 2) {
      if (two_subs)
        return tile_columns<kTilePanels, 2>(unpacked, panel_stride, blocks, x, columns, out);
      return tile_columns<kTilePanels, 1>(unpacked, panel_stride, blocks, x, columns, out);
    }
  }
  if (two_subs) return tile_columns<1, 2>(unpacked, panel_stride, blocks, x, columns, out);
  return tile_columns<1, 1>(unpacked, panel_stride, blocks, x, columns, out);
}
