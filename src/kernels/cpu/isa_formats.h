// The packed panels as the kernels see them: for each format, how a block of 32 columns x 16 rows
// turns into unsigned codes, scales and offsets. pack.cc writes what is read here; the two files
// belong together. `half` selects the rows that one vector covers: part * kLanes.
//
// A Format has: kSuper blocks per head of kHeadBytes, kBlockBytes per block, kSubs (1: a scale per
// 32 columns, 2: per 16), kBiasShift (log2 of the codes' bias, -1: the format has minima), kBits
// (codes are below 2^kBits), a State filled from the head, codes() and scales().

template <int kBytes>
HADAL_INLINE const uint8_t* plane(const uint8_t* p, int vector, int part) {
  return p + vector * 64 + part * static_cast<int>(sizeof(B)) + kBytes;
}

/// 4 bits: byte vector g has groups g (low) and g + 4 (high).
HADAL_INLINE void codes4(const uint8_t* p, int part, B w[8]) {
  const B low = splat_byte(15);
  HADAL_UNROLL
  for (int g = 0; g < 4; ++g) {
    const B v = load_bytes(plane<0>(p, g, part));
    w[g] = and_bits(v, low);
    w[g + 4] = and_bits(shift_right_16<4>(v), low);
  }
}

/// 1 bit: bit g of the only vector belongs to group g; lands on bit kBit of the codes.
template <int kBit>
HADAL_INLINE void add_bit(const uint8_t* p, int part, B w[8]) {
  const B v = load_bytes(plane<0>(p, 0, part));
  const B mask = splat_byte(1 << kBit);
  w[0] = or_bits(w[0], and_bits(shift_left_16<kBit>(v), mask));
  w[1] = or_bits(w[1], and_bits(shift_left_16<kBit - 1>(v), mask));
  w[2] = or_bits(w[2], and_bits(shift_left_16<kBit - 2>(v), mask));
  w[3] = or_bits(w[3], and_bits(shift_right_16<(3 > kBit ? 3 - kBit : 0)>(
                                    shift_left_16<(kBit > 3 ? kBit - 3 : 0)>(v)),
                                mask));
  w[4] = or_bits(w[4], and_bits(shift_right_16<4 - kBit>(v), mask));
  w[5] = or_bits(w[5], and_bits(shift_right_16<5 - kBit>(v), mask));
  w[6] = or_bits(w[6], and_bits(shift_right_16<6 - kBit>(v), mask));
  w[7] = or_bits(w[7], and_bits(shift_right_16<7 - kBit>(v), mask));
}

/// 2 bits: vector h has group 4h + i at bits 2i; lands on bits kBit and kBit + 1 (kBit 0 or 4).
template <int kBit>
HADAL_INLINE void codes2(const uint8_t* p, int part, B w[8]) {
  const B mask = splat_byte(3 << kBit);
  HADAL_UNROLL
  for (int h = 0; h < 2; ++h) {
    const B v = load_bytes(plane<0>(p, h, part));
    if constexpr (kBit == 0) {
      w[4 * h] = and_bits(v, mask);
      w[4 * h + 1] = and_bits(shift_right_16<2>(v), mask);
      w[4 * h + 2] = and_bits(shift_right_16<4>(v), mask);
      w[4 * h + 3] = and_bits(shift_right_16<6>(v), mask);
    } else {
      w[4 * h] = or_bits(w[4 * h], and_bits(shift_left_16<4>(v), mask));
      w[4 * h + 1] = or_bits(w[4 * h + 1], and_bits(shift_left_16<2>(v), mask));
      w[4 * h + 2] = or_bits(w[4 * h + 2], and_bits(v, mask));
      w[4 * h + 3] = or_bits(w[4 * h + 3], and_bits(shift_right_16<2>(v), mask));
    }
  }
}

HADAL_INLINE F halves_at(const uint8_t* p, int part) {
  return load_f16(p + part * kLanes * 2);
}
HADAL_INLINE F bytes_at(const uint8_t* p, int part) {
  return to_float(load_u8_int(p + part * kLanes));
}
HADAL_INLINE F signed_at(const uint8_t* p, int part) {
  return to_float(load_i8_int(p + part * kLanes));
}

struct State {
  F d;
  F m;
};

/// A 32-column format with an f16 scale and a constant bias of 2^kShift.
template <int kShift>
struct Biased {
  static constexpr int kSuper = 1, kHeadBytes = 0, kSubs = 1, kBiasShift = kShift;
  static constexpr int kBits = kShift + 1;
  static HADAL_INLINE void head(const uint8_t*, int, State&) {}
  static HADAL_INLINE void scales_at(const uint8_t* p, int part, F* s, F* m) {
    s[0] = halves_at(p, part);
    m[0] = mul(s[0], splat(1 << kShift));
  }
};
/// ... with an f16 scale and an f16 minimum.
struct Minimum {
  static constexpr int kSuper = 1, kHeadBytes = 0, kSubs = 1, kBiasShift = -1;
  static HADAL_INLINE void head(const uint8_t*, int, State&) {}
  static HADAL_INLINE void scales_at(const uint8_t* p, int part, F* s, F* m) {
    s[0] = halves_at(p, part);
    m[0] = sub(zero(), halves_at(p + 32, part));
  }
};

struct Q4_0 : Biased<3> {
  static constexpr int kBlockBytes = 288;
  static HADAL_INLINE void codes(const uint8_t* p, int part, B w[8]) { codes4(p, part, w); }
  static HADAL_INLINE void scales(const uint8_t* p, int part, const State&, F* s, F* m) {
    scales_at(p + 256, part, s, m);
  }
};
struct Q4_1 : Minimum {
  static constexpr int kBlockBytes = 320, kBits = 4;
  static HADAL_INLINE void codes(const uint8_t* p, int part, B w[8]) { codes4(p, part, w); }
  static HADAL_INLINE void scales(const uint8_t* p, int part, const State&, F* s, F* m) {
    scales_at(p + 256, part, s, m);
  }
};
struct Q5_0 : Biased<4> {
  static constexpr int kBlockBytes = 352;
  static HADAL_INLINE void codes(const uint8_t* p, int part, B w[8]) {
    codes4(p, part, w);
    add_bit<4>(p + 256, part, w);
  }
  static HADAL_INLINE void scales(const uint8_t* p, int part, const State&, F* s, F* m) {
    scales_at(p + 320, part, s, m);
  }
};
struct Q5_1 : Minimum {
  static constexpr int kBlockBytes = 384, kBits = 5;
  static HADAL_INLINE void codes(const uint8_t* p, int part, B w[8]) { Q5_0::codes(p, part, w); }
  static HADAL_INLINE void scales(const uint8_t* p, int part, const State&, F* s, F* m) {
    scales_at(p + 320, part, s, m);
  }
};
struct Q8_0 : Biased<7> {
  static constexpr int kBlockBytes = 544;
  static HADAL_INLINE void codes(const uint8_t* p, int part, B w[8]) {
    HADAL_UNROLL
    for (int g = 0; g < 8; ++g) w[g] = load_bytes(plane<0>(p, g, part));
  }
  static HADAL_INLINE void scales(const uint8_t* p, int part, const State&, F* s, F* m) {
    scales_at(p + 512, part, s, m);
  }
};
alignas(16) constexpr uint8_t kTableIQ4[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                               129, 141, 153, 166, 181, 197, 217, 241};
alignas(16) constexpr uint8_t kTableMXFP4[16] = {16, 17, 18, 19, 20, 22, 24, 28,
                                                 16, 15, 14, 13, 12, 10, 8,  4};
HADAL_INLINE void codes_table(const uint8_t* values, const uint8_t* p, int part, B w[8]) {
  codes4(p, part, w);
  const B table = load_table(values);
  HADAL_UNROLL
  for (int g = 0; g < 8; ++g) w[g] = lookup(table, w[g]);
}
struct IQ4_NL : Biased<7> {
  static constexpr int kBlockBytes = 288;
  static HADAL_INLINE void codes(const uint8_t* p, int part, B w[8]) {
    codes_table(kTableIQ4, p, part, w);
  }
  static HADAL_INLINE void scales(const uint8_t* p, int part, const State&, F* s, F* m) {
    scales_at(p + 256, part, s, m);
  }
};
/// Scale bytes hold the exponent of 2^(e - 128): codes are doubled values plus 16. Float bits of
/// 2^(e-128): exponent field e - 1 for e >= 2; e = 1 and 0 are the denormals 2^-127 and 2^-128.
struct MXFP4 {
  static constexpr int kSuper = 1, kHeadBytes = 0, kSubs = 1, kBlockBytes = 272, kBiasShift = 4;
  static constexpr int kBits = 5;
  static HADAL_INLINE void head(const uint8_t*, int, State&) {}
  static HADAL_INLINE void codes(const uint8_t* p, int part, B w[8]) {
    codes_table(kTableMXFP4, p, part, w);
  }
  static HADAL_INLINE void scales(const uint8_t* p, int part, const State&, F* s, F* m) {
    const I e = load_u8_int(p + 256 + part * kLanes);
    const F doubled = bits_to_float(shift_left_int(e, 23));  // 2^(e - 127), 0 for e = 0
    s[0] = mul(doubled, splat(0.5f));
    m[0] = mul(s[0], splat(1 << kBiasShift));
  }
};

/// 256 columns: f16 d and dmin in the head; 8-bit scale and minimum per 32.
struct SuperMinimum {
  static constexpr int kSuper = 8, kHeadBytes = 64, kSubs = 1, kBiasShift = -1;
  static HADAL_INLINE void head(const uint8_t* p, int part, State& state) {
    state.d = halves_at(p, part);
    state.m = halves_at(p + 32, part);
  }
  static HADAL_INLINE void scales_at(const uint8_t* p, int part, const State& st, F* s, F* m) {
    s[0] = mul(st.d, bytes_at(p, part));
    m[0] = mul(st.m, bytes_at(p + 16, part));
  }
};
struct Q4_K : SuperMinimum {
  static constexpr int kBlockBytes = 288, kBits = 4;
  static HADAL_INLINE void codes(const uint8_t* p, int part, B w[8]) { codes4(p, part, w); }
  static HADAL_INLINE void scales(const uint8_t* p, int part, const State& st, F* s, F* m) {
    scales_at(p + 256, part, st, s, m);
  }
};
struct Q5_K : SuperMinimum {
  static constexpr int kBlockBytes = 352, kBits = 5;
  static HADAL_INLINE void codes(const uint8_t* p, int part, B w[8]) { Q5_0::codes(p, part, w); }
  static HADAL_INLINE void scales(const uint8_t* p, int part, const State& st, F* s, F* m) {
    scales_at(p + 320, part, st, s, m);
  }
};

/// 256 columns: f16 d in the head; signed 8-bit scales, constant bias of 2^kShift.
template <int kShift, int kSubCount>
struct SuperBiased {
  static constexpr int kSuper = 8, kHeadBytes = 32, kSubs = kSubCount, kBiasShift = kShift;
  static constexpr int kBits = kShift + 1;
  static HADAL_INLINE void head(const uint8_t* p, int part, State& state) {
    state.d = halves_at(p, part);
    state.m = zero();
  }
  static HADAL_INLINE void scales_at(const uint8_t* p, int part, const State& st, F* s, F* m) {
    HADAL_UNROLL
    for (int i = 0; i < kSubCount; ++i) {
      s[i] = mul(st.d, signed_at(p + i * 16, part));
      m[i] = mul(s[i], splat(1 << kShift));
    }
  }
};
struct Q6_K : SuperBiased<5, 2> {
  static constexpr int kBlockBytes = 416;
  static HADAL_INLINE void codes(const uint8_t* p, int part, B w[8]) {
    codes4(p, part, w);
    codes2<4>(p + 256, part, w);
  }
  static HADAL_INLINE void scales(const uint8_t* p, int part, const State& st, F* s, F* m) {
    scales_at(p + 384, part, st, s, m);
  }
};
struct Q3_K : SuperBiased<2, 2> {
  static constexpr int kBlockBytes = 224;
  static HADAL_INLINE void codes(const uint8_t* p, int part, B w[8]) {
    codes2<0>(p, part, w);
    add_bit<2>(p + 128, part, w);
  }
  static HADAL_INLINE void scales(const uint8_t* p, int part, const State& st, F* s, F* m) {
    scales_at(p + 192, part, st, s, m);
  }
};
struct IQ4_XS : SuperBiased<7, 1> {
  static constexpr int kBlockBytes = 272;
  static HADAL_INLINE void codes(const uint8_t* p, int part, B w[8]) {
    codes_table(kTableIQ4, p, part, w);
  }
  static HADAL_INLINE void scales(const uint8_t* p, int part, const State& st, F* s, F* m) {
    scales_at(p + 256, part, st, s, m);
  }
};
/// Scale in the low, minimum in the high nibble, per 16 columns.
struct Q2_K {
  static constexpr int kSuper = 8, kHeadBytes = 64, kSubs = 2, kBlockBytes = 160, kBiasShift = -1;
  static constexpr int kBits = 2;
  static HADAL_INLINE void head(const uint8_t* p, int part, State& state) {
    SuperMinimum::head(p, part, state);
  }
  static HADAL_INLINE void codes(const uint8_t* p, int part, B w[8]) { codes2<0>(p, part, w); }
  static HADAL_INLINE void scales(const uint8_t* p, int part, const State& st, F* s, F* m) {
    HADAL_UNROLL
    for (int i = 0; i < 2; ++i) {
      const F both = bytes_at(p + 128 + i * 16, part);
      const F high = to_float(to_int(sub(mul(both, splat(0.0625f)), splat(0.46875f))));  // floor
      m[i] = mul(st.m, high);
      s[i] = mul(st.d, fnma(high, splat(16.0f), both));
    }
  }
};
