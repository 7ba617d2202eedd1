// Float products: panels of 16 rows, [column][16 rows], F32, F16, BF16 or FP8. Per output: sums
// over chunks of kChunk columns in order, each chunk one chain of fused multiply-adds; the chunk
// sums are added up in order. The chunks keep the rounding error at that of short sums. FP8 has 16
// scales before each chunk, which multiply the chunk's sums.

constexpr int kChunk = cpu::kF8Columns;

struct WeightF32 {
  static constexpr int kHeadBytes = 0;
  static constexpr int kBytes = 4;
  static HADAL_INLINE F at(const uint8_t* p) { return load(reinterpret_cast<const float*>(p)); }
};
struct WeightF16 {
  static constexpr int kHeadBytes = 0;
  static constexpr int kBytes = 2;
  static HADAL_INLINE F at(const uint8_t* p) { return load_f16(p); }
};
struct WeightBF16 {
  static constexpr int kHeadBytes = 0;
  static constexpr int kBytes = 2;
  static HADAL_INLINE F at(const uint8_t* p) { return load_bf16(p); }
};

struct WeightF8 {
  static constexpr int kHeadBytes = 4 * cpu::kPanelRows;
  static constexpr int kBytes = 1;
  /// The value times 2^-8: the sum of a chunk makes up for it.
  static HADAL_INLINE F at(const uint8_t* p) { return load_f8_e4m3(p); }
};

template <typename W, int P, int C>
void float_panel_tile(const uint8_t* w, int64_t panel_stride, int64_t depth, const FloatInput& x,
                      float* out) {
  constexpr int V = P * kParts;
  F total[V][C];
  HADAL_UNROLL
  for (int v = 0; v < V; ++v) {
    HADAL_UNROLL
    for (int c = 0; c < C; ++c) total[v][c] = zero();
  }
  constexpr int64_t kChunkBytes = W::kHeadBytes + kChunk * 16 * W::kBytes;
  for (int64_t begin = 0; begin < depth; begin += kChunk, w += kChunkBytes) {
    const int64_t count = begin + kChunk < depth ? kChunk : depth - begin;
    const uint8_t* values = w + W::kHeadBytes;
    F sum[V][C];
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) {
      HADAL_UNROLL
      for (int c = 0; c < C; ++c) sum[v][c] = zero();
    }
    for (int64_t k = 0; k < count; ++k) {
      F value[V];
      HADAL_UNROLL
      for (int v = 0; v < V; ++v) {
        value[v] =
            W::at(values + v / kParts * panel_stride + (k * 16 + v % kParts * kLanes) * W::kBytes);
      }
      HADAL_UNROLL
      for (int c = 0; c < C; ++c) {
        const F factor = splat(x.x[c * x.stride + begin + k]);
        HADAL_UNROLL
        for (int v = 0; v < V; ++v) sum[v][c] = fma(value[v], factor, sum[v][c]);
      }
    }
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) {
      HADAL_UNROLL
      for (int c = 0; c < C; ++c) {
        if constexpr (W::kHeadBytes > 0) {
          const uint8_t* scales = w + v / kParts * panel_stride + v % kParts * kLanes * 4;
          const F scale = load(reinterpret_cast<const float*>(scales));
          total[v][c] = fma(mul(sum[v][c], splat(256.0f)), scale, total[v][c]);
        } else {
          total[v][c] = add(total[v][c], sum[v][c]);
        }
      }
    }
  }
  HADAL_UNROLL
  for (int c = 0; c < C; ++c) {
    HADAL_UNROLL
    for (int v = 0; v < V; ++v) store(out + c * P * 16 + v * kLanes, total[v][c]);
  }
}

#if HADAL_ISA_AVX512
constexpr int kFloatPanels = 4, kFloatColumns = 5;  // 20 sums of 32 registers
#elif HADAL_ISA_NEON
constexpr int kFloatPanels = 1, kFloatColumns = 5;  // 20 sums of 32 registers
#else
constexpr int kFloatPanels = 2, kFloatColumns = 2;  // 8 sums of 16 registers
#endif

template <typename W, int P>
void float_columns(const uint8_t* w, int64_t stride, int64_t depth, const FloatInput& x,
                   int columns, float* out) {
  switch (columns) {
    case 1:
      return float_panel_tile<W, P, 1>(w, stride, depth, x, out);
#if HADAL_ISA_AVX512 || HADAL_ISA_NEON
    case 2:
      return float_panel_tile<W, P, 2>(w, stride, depth, x, out);
    case 3:
      return float_panel_tile<W, P, 3>(w, stride, depth, x, out);
    case 4:
      return float_panel_tile<W, P, 4>(w, stride, depth, x, out);
#endif
    default:
      return float_panel_tile<W, P, kFloatColumns>(w, stride, depth, x, out);
  }
}

template <typename W>
void float_panels(const uint8_t* w, int64_t stride, int panels, int64_t depth, const FloatInput& x,
                  int columns, float* out) {
  if (panels == kFloatPanels)
    return float_columns<W, kFloatPanels>(w, stride, depth, x, columns, out);
  for (int p = 0; p < panels; ++p) {
    float part[kFloatColumns * 16];
    float_columns<W, 1>(w + p * stride, stride, depth, x, columns, part);
    for (int c = 0; c < columns; ++c) {
      __builtin_memcpy(out + (c * panels + p) * 16, part + c * 16, 64);
    }
  }
}

void float_tile(int format, const uint8_t* packed, int64_t panel_stride, int panels, int64_t depth,
                const FloatInput& x, int columns, float* out) {
  if (format == cpu::kFormatF32) {
    return float_panels<WeightF32>(packed, panel_stride, panels, depth, x, columns, out);
  }
  if (format == cpu::kFormatF16) {
    return float_panels<WeightF16>(packed, panel_stride, panels, depth, x, columns, out);
  }
  if (format == cpu::kFormatF8_E4M3) {
    return float_panels<WeightF8>(packed, panel_stride, panels, depth, x, columns, out);
  }
  float_panels<WeightBF16>(packed, panel_stride, panels, depth, x, columns, out);
}
