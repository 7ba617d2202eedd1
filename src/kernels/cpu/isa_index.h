// Scores of DeepSeek's indexer in 8 bits (indexer.h, index_key.h). Rows of the product are heads,
// 16 to a panel as rows of a weight are; columns are keys, whose high bytes are read where they
// lie, as rounded activations are. So a head's sum is a lane, and a key needs no transposition.

#if HADAL_ISA_AVX512
constexpr int kIndexPanels = 4, kIndexKeys = 6;  // 24 sums + 4 codes + 1 word of 32 registers
#elif HADAL_ISA_NEON
constexpr int kIndexPanels = 1, kIndexKeys = 4;  // 16 sums + 4 codes + 4 inputs of 32 registers
#else
constexpr int kIndexPanels = 1, kIndexKeys = 6;  // 12 sums + 2 codes + 1 word of 16 registers
#endif

constexpr int64_t kIndexUnitAt = 0, kIndexStartAt = 4, kIndexHighAt = 16;  // in a key

void pack_index_queries(const uint8_t* codes, int64_t panel_blocks, uint8_t* out) {
  for (int64_t b = 0; b < panel_blocks; ++b) {
    HADAL_UNROLL
    for (int part = 0; part < kParts; ++part) {
      B w[8];
      HADAL_UNROLL
      for (int g = 0; g < 8; ++g) w[g] = load_bytes(codes + (b * 8 + g) * 64 + part * kLanes * 4);
      unbias(w);
      Act8::Form::template store<8>(w, part, out + b * Act8::Form::bytes(8));
    }
  }
}

/// Adds what P panels of heads from `panel` on give to the lanes of C keys.
template <int P, int C>
HADAL_INLINE void index_panels(const cpu::IndexQueries& q, int64_t panel,
                               const uint8_t* const* keys, F total[C][kParts]) {
  constexpr int V = P * kParts;
  constexpr int kBytes = Act8::Form::bytes(8);
  I sum[V][C];
  HADAL_UNROLL
  for (int c = 0; c < C; ++c) {
    const I start = splat_int(kKvBias == 0 ? 0 : load_word(keys[c] + kIndexStartAt));
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) sum[v][c] = start;
  }
  const uint8_t* codes = q.codes + panel * q.blocks * kBytes;
  for (int64_t b = 0; b < q.blocks; ++b) {
    tile_block<Act8, 8, V, C, 0, 8>(codes + b * kBytes, q.blocks * kBytes, keys,
                                    kIndexHighAt + 32 * b, sum);
  }
  HADAL_UNROLL
  for (int v = 0; v < V; ++v) {
    const F weight = load(q.weights + panel * 16 + v * kLanes);
    HADAL_UNROLL
    for (int c = 0; c < C; ++c) {
      F& lanes = total[c][v % kParts];
      lanes = fma(max(to_float(sum[v][c]), zero()), weight, lanes);
    }
  }
}

template <int C>
void index_piece(const cpu::IndexQueries& q, const uint8_t* const* keys, float* out) {
  F total[C][kParts];
  HADAL_UNROLL
  for (int c = 0; c < C; ++c) {
    HADAL_UNROLL
    for (int part = 0; part < kParts; ++part) total[c][part] = zero();
  }
  int64_t panel = 0;
  for (; panel + kIndexPanels <= q.panels; panel += kIndexPanels) {
    index_panels<kIndexPanels, C>(q, panel, keys, total);
  }
  for (; panel < q.panels; ++panel) index_panels<1, C>(q, panel, keys, total);
  HADAL_UNROLL
  for (int c = 0; c < C; ++c) {
    out[c] = sum_panel(total[c]) * (256.0f * load_scalar(keys[c] + kIndexUnitAt));
  }
}

void index_estimates(const cpu::IndexQueries& q, const uint8_t* const* keys, int64_t n,
                     float* out) {
  in_pieces<kIndexKeys>(0, n, [&]<int C>(int64_t i) { index_piece<C>(q, keys + i, out + i); });
}
