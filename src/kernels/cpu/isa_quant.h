// Quantised products: few columns straight from the packed panel; unpack + tile for many. See
// cpu_ops.h for the arithmetic, isa_act.h for the policy A of the activations.

#if HADAL_ISA_NEON
constexpr int kTilePanels = 1, kTileColumns = 4;  // 16 sums + 4 codes + 4 inputs of 32 registers
constexpr int kDirectColumns = 4, kDirectMost = 4;
#elif HADAL_ISA_AVX512
constexpr int kTilePanels = 2, kTileColumns = 8;  // 16 sums of 32 registers
// Eight columns pay for unpacking into registers each time; up to 48 that and reading the panel
// again cost less than a pass that unpacks it into memory.
constexpr int kDirectColumns = 8, kDirectMost = 48;
#else
constexpr int kTilePanels = 1, kTileColumns = 6;  // 12 sums + 2 codes + 1 word of 16 registers
constexpr int kDirectColumns = 8, kDirectMost = 8;
#endif

/// Unit `kUnit` (a block, or a half of one) of a group of blocks, for C columns.
template <typename Fmt, typename A, int C, int kUnit>
HADAL_INLINE void direct_unit(const B w[8], const uint8_t* block, int64_t stride, I sum[C]) {
  constexpr bool kBiased = Fmt::kBiasShift >= 0;
  constexpr int kSubs = Fmt::kSubs;
  constexpr int kHalf = kUnit % kSubs;
  constexpr int kGroups = 8 / kSubs;
  HADAL_UNROLL
  for (int c = 0; c < C; ++c) {
    const uint8_t* side = block + c * stride + A::kCodes;
    sum[c] = start_sum<A, kBiased>(side, kSubs == 1 ? 0 : 1 + kHalf, Fmt::kBiasShift);
  }
  direct_block<A, Fmt::kBits, C, kHalf * kGroups, kGroups>(w, block, stride, sum);
}

/// Adds block kBlock of a group of kBlocks and, after the last, the group to acc[column].
template <typename Fmt, typename A, int C, int kBlocks, int kBlock>
HADAL_INLINE void direct_blocks(const uint8_t* p, int part, const State& state,
                                const uint8_t* group, int64_t stride, F offset[], F scaled[C],
                                F acc[C]) {
  constexpr bool kBiased = Fmt::kBiasShift >= 0;
  constexpr int kSubs = Fmt::kSubs;
  constexpr int kUnits = kBlocks * kSubs;
  constexpr int kFirst = kBlock * kSubs;
  B w[8];
  F scale[2];
  Fmt::codes(p, part, w);
  adapt_codes<Fmt::kBiasShift>(w);
  Fmt::scales(p, part, state, scale, offset + kFirst);
  forget_reads(group);
  const uint8_t* block = group + kBlock * A::kBytes;
  I sum[C];
  direct_unit<Fmt, A, C, kFirst>(w, block, stride, sum);
  if constexpr (kSubs == 2) {
    HADAL_UNROLL
    for (int c = 0; c < C; ++c) scaled[c] = add_unit<kFirst>(scaled[c], sum[c], scale[0]);
    direct_unit<Fmt, A, C, kFirst + 1>(w, block, stride, sum);
  }
  HADAL_UNROLL
  for (int c = 0; c < C; ++c) {
    if constexpr (kBlock + 1 < kBlocks) {
      scaled[c] = add_unit<kFirst + kSubs - 1>(scaled[c], sum[c], scale[kSubs - 1]);
    } else {
      acc[c] = add_group<A, kBiased, kSubs, kUnits>(acc[c], scaled[c], sum[c], scale[kSubs - 1],
                                                    offset, group + c * stride + A::kCodes);
    }
  }
  if constexpr (kBlock + 1 < kBlocks) {
    direct_blocks<Fmt, A, C, kBlocks, kBlock + 1>(p + Fmt::kBlockBytes, part, state, group, stride,
                                                  offset, scaled, acc);
  }
}

/// Panels lie one behind the other, so this reads into the next one. With several columns the
/// arithmetic of a block lasts so long that the hardware's own fetching falls behind: eight columns
/// run 1.6 times as fast with it, one column as before.
constexpr int kFetchAhead = 4096;

/// C columns straight from the packed panel; unpacked codes live in registers.
template <typename Fmt, typename A, int C>
void direct_panel(const uint8_t* p, int64_t blocks, const QuantInput& x, float* out) {
  F acc[kParts][C];
  HADAL_UNROLL
  for (int part = 0; part < kParts; ++part) {
    HADAL_UNROLL
    for (int c = 0; c < C; ++c) acc[part][c] = zero();
  }
  const uint8_t* block = x.blocks;
  State state[kParts];
  auto add = [&]<int kBlocks>() HADAL_LAMBDA_INLINE {
    HADAL_UNROLL
    for (int at = 0; at < kBlocks * Fmt::kBlockBytes; at += 64) {
      __builtin_prefetch(p + kFetchAhead + at);
    }
    HADAL_UNROLL
    for (int part = 0; part < kParts; ++part) {
      F offset[2 * kBlocks], scaled[C];
      direct_blocks<Fmt, A, C, kBlocks, 0>(p, part, state[part], block, x.stride, offset, scaled,
                                           acc[part]);
    }
    p += kBlocks * Fmt::kBlockBytes;
    block += kBlocks * A::kBytes;
  };
  constexpr int kSuper = Fmt::kSuper > A::kGroup ? Fmt::kSuper : A::kGroup;
  for (int64_t super = 0; super < blocks; super += kSuper) {
    HADAL_UNROLL
    for (int part = 0; part < kParts; ++part) Fmt::head(p, part, state[part]);
    p += Fmt::kHeadBytes;
    if (Fmt::kSuper == 1 && blocks - super < A::kGroup) {
      for (int64_t b = super; b < blocks; ++b) add.template operator()<1>();
      break;
    }
    for (int i = 0; i < kSuper; i += A::kGroup) add.template operator()<A::kGroup>();
  }
  HADAL_UNROLL
  for (int c = 0; c < C; ++c) {
    HADAL_UNROLL
    for (int part = 0; part < kParts; ++part) store(out + c * 16 + part * kLanes, acc[part][c]);
  }
}

template <typename Fmt, typename A>
void direct_columns(const uint8_t* p, int64_t blocks, const QuantInput& x, int columns,
                    float* out) {
  QuantInput rest = x;
  for (int done = 0; done < columns;) {
    rest.blocks = x.blocks + done * x.stride;
    if (kDirectColumns >= 8 && columns - done >= 8) {
      direct_panel<Fmt, A, 8>(p, blocks, rest, out + done * 16);
      done += 8;
    } else if (columns - done >= 4) {
      direct_panel<Fmt, A, 4>(p, blocks, rest, out + done * 16);
      done += 4;
    } else if (columns - done >= 2) {
      direct_panel<Fmt, A, 2>(p, blocks, rest, out + done * 16);
      done += 2;
    } else {
      direct_panel<Fmt, A, 1>(p, blocks, rest, out + done * 16);
      done += 1;
    }
  }
}

/// Unpacked block: codes, then per sub-block 16 scales and 16 offsets.
template <typename Form>
constexpr int unpacked_bytes(int bits, int subs) {
  return Form::bytes(bits) + subs * 128;
}

template <typename Fmt, typename Form>
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
        adapt_codes<Fmt::kBiasShift>(w);
        Fmt::scales(p, part, state[part], scale, offset);
        Form::template store<Fmt::kBits>(w, part, out);
        HADAL_UNROLL
        for (int s = 0; s < Fmt::kSubs; ++s) {
          float* side = reinterpret_cast<float*>(out + Form::bytes(Fmt::kBits) + s * 128);
          store(side + part * kLanes, scale[s]);
          store(side + 16 + part * kLanes, offset[s]);
        }
      }
      p += Fmt::kBlockBytes;
      out += unpacked_bytes<Form>(Fmt::kBits, Fmt::kSubs);
    }
  }
}

/// Unit kUnit (a block, or a half of one) of a group of blocks that share the activations' scale,
/// and those after it. `column` are the group's first blocks.
template <typename A, int kBits, bool kBiased, int P, int C, int kSubs, int kUnits, int kUnit>
HADAL_INLINE void tile_units(const uint8_t* w, int64_t panel_stride, const uint8_t* const* column,
                             int64_t at, int bias_shift, F scaled[P * kParts][C], float* out) {
  constexpr int V = P * kParts;
  constexpr int kGroups = 8 / kSubs;
  constexpr int kHalf = kUnit % kSubs;
  constexpr int64_t kPanelBlock = unpacked_bytes<typename A::Form>(kBits, kSubs);
  constexpr int64_t kBlock = kUnit / kSubs;
  I sum[V][C];
  HADAL_UNROLL
  for (int c = 0; c < C; ++c) {
    const uint8_t* side = column[c] + at + kBlock * A::kBytes + A::kCodes;
    const I start = start_sum<A, kBiased>(side, kSubs == 1 ? 0 : 1 + kHalf, bias_shift);
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) sum[v][c] = start;
  }
  tile_block<A, kBits, V, C, kHalf * kGroups, kGroups>(w + kBlock * kPanelBlock, panel_stride,
                                                       column, at + kBlock * A::kBytes, sum);
  HADAL_UNROLL
  for (int v = 0; v < V; ++v) {
    const uint8_t* panel = w + v / kParts * panel_stride + A::Form::bytes(kBits);
    // The scales of unit u; its offsets follow.
    auto factors = [&](int u) {
      return reinterpret_cast<const float*>(panel + u / kSubs * kPanelBlock + u % kSubs * 128) +
             v % kParts * kLanes;
    };
    const F scale = load(factors(kUnit));
    if constexpr (kUnit + 1 < kUnits) {
      HADAL_UNROLL
      for (int c = 0; c < C; ++c) scaled[v][c] = add_unit<kUnit>(scaled[v][c], sum[v][c], scale);
    } else {
      F offset[kUnits];
      HADAL_UNROLL
      for (int u = 0; u < kUnits; ++u) offset[u] = load(factors(u) + 16);
      HADAL_UNROLL
      for (int c = 0; c < C; ++c) {
        float* acc = out + c * P * 16 + v * kLanes;
        store(acc, add_group<A, kBiased, kSubs, kUnits>(load(acc), scaled[v][c], sum[v][c], scale,
                                                        offset, column[c] + at + A::kCodes));
      }
    }
  }
  if constexpr (kUnit + 1 < kUnits) {
    tile_units<A, kBits, kBiased, P, C, kSubs, kUnits, kUnit + 1>(w, panel_stride, column, at,
                                                                  bias_shift, scaled, out);
  }
}

/// Adds a slice of blocks to `out`. The accumulators stay in memory (the first-level cache): the
/// integer sums of a block need the registers. Vector v is part v % kParts of panel v / kParts.
template <typename A, int kBits, bool kBiased, int P, int C, int kSubs>
void tile(const uint8_t* w, int64_t panel_stride, int64_t blocks, const QuantInput& x,
          int bias_shift, float* out) {
  const uint8_t* column[C];
  for (int c = 0; c < C; ++c) column[c] = x.blocks + c * x.stride;
  auto add = [&]<int kBlocks>(int64_t b) HADAL_LAMBDA_INLINE {
    F scaled[P * kParts][C];
    forget_reads(out);
    tile_units<A, kBits, kBiased, P, C, kSubs, kBlocks * kSubs, 0>(
        w + b * unpacked_bytes<typename A::Form>(kBits, kSubs), panel_stride, column, b * A::kBytes,
        bias_shift, scaled, out);
  };
  int64_t b = 0;
  for (; b + A::kGroup <= blocks; b += A::kGroup) add.template operator()<A::kGroup>(b);
  if constexpr (A::kGroup > 1) {
    for (; b < blocks; ++b) add.template operator()<1>(b);
  }
}

template <typename A, int kBits, bool kBiased, int P, int kSubs>
void tile_columns(const uint8_t* w, int64_t stride, int64_t blocks, const QuantInput& x,
                  int bias_shift, int columns, float* out) {
  if (columns == kTileColumns) {
    return tile<A, kBits, kBiased, P, kTileColumns, kSubs>(w, stride, blocks, x, bias_shift, out);
  }
  QuantInput rest = x;
  for (int done = 0; done < columns;) {
    rest.blocks = x.blocks + done * x.stride;
    float* at = out + done * P * 16;
    if (columns - done >= 4) {
      tile<A, kBits, kBiased, P, 4, kSubs>(w, stride, blocks, rest, bias_shift, at);
      done += 4;
    } else if (columns - done >= 2) {
      tile<A, kBits, kBiased, P, 2, kSubs>(w, stride, blocks, rest, bias_shift, at);
      done += 2;
    } else {
      tile<A, kBits, kBiased, P, 1, kSubs>(w, stride, blocks, rest, bias_shift, at);
      done += 1;
    }
  }
}

#define HADAL_EACH_FORMAT(CASE) \
  CASE(Q4_0)                    \
  CASE(Q4_1)                    \
  CASE(Q5_0)                    \
  CASE(Q5_1)                    \
  CASE(Q8_0)                    \
  CASE(Q2_K) CASE(Q3_K) CASE(Q4_K) CASE(Q5_K) CASE(Q6_K) CASE(IQ4_NL) CASE(IQ4_XS) CASE(MXFP4)

template <typename A>
void direct(int format, const uint8_t* panel, int64_t blocks, const QuantInput& x, int columns,
            float* out) {
  switch (format) {
#define CASE(name)         \
  case cpu::kFormat##name: \
    return direct_columns<name, A>(panel, blocks, x, columns, out);
    HADAL_EACH_FORMAT(CASE)
#undef CASE
    default:
      return;
  }
}

template <typename Form>
void unpack(int format, const uint8_t* panel, int64_t blocks, uint8_t* unpacked) {
  switch (format) {
#define CASE(name)         \
  case cpu::kFormat##name: \
    return unpack_panel<name, Form>(panel, blocks, unpacked);
    HADAL_EACH_FORMAT(CASE)
#undef CASE
    default:
      return;
  }
}

template <typename Form>
int64_t unpacked_block_bytes(int format) {
  switch (format) {
#define CASE(name)         \
  case cpu::kFormat##name: \
    return unpacked_bytes<Form>(name::kBits, name::kSubs);
    HADAL_EACH_FORMAT(CASE)
#undef CASE
    default:
      return 0;
  }
}

template <typename A, typename Fmt>
void tile_format(const uint8_t* unpacked, int64_t panel_stride, int panels, int64_t blocks,
                 const QuantInput& x, int columns, float* out) {
  // Without folding, signed formats are computed like the others: one instance serves both.
  constexpr bool kBiased = A::kFoldsBias && Fmt::kBiasShift >= 0;
  constexpr int kBits = tile_bits(Fmt::kBits);
  if (panels == kTilePanels) {
    return tile_columns<A, kBits, kBiased, kTilePanels, Fmt::kSubs>(
        unpacked, panel_stride, blocks, x, Fmt::kBiasShift, columns, out);
  }
  tile_columns<A, kBits, kBiased, 1, Fmt::kSubs>(unpacked, panel_stride, blocks, x, Fmt::kBiasShift,
                                                 columns, out);
}

template <typename A>
void quant_tile(int format, const uint8_t* unpacked, int64_t panel_stride, int panels,
                int64_t blocks, const QuantInput& x, int columns, float* out) {
  switch (format) {
#define CASE(name)         \
  case cpu::kFormat##name: \
    return tile_format<A, name>(unpacked, panel_stride, panels, blocks, x, columns, out);
    HADAL_EACH_FORMAT(CASE)
#undef CASE
    default:
      return;
  }
}

template <typename A>
constexpr cpu::QuantOps quant_ops() {
  return {.block_bytes = A::kBytes,
          .quantize = quantize<A>,
          .direct_columns = kDirectMost,
          .direct = direct<A>,
          .unpacked_block_bytes = unpacked_block_bytes<typename A::Form>,
          .unpack = unpack<typename A::Form>,
          .tile_panels = kTilePanels,
          .tile_columns = kTileColumns,
          .quant_tile = quant_tile<A>};
}
