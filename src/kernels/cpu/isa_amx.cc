// Tiles of quantised products for AMX: AVX-512 with products of whole matrices of bytes. All else
// is AVX-512's. Only freestanding headers and intrinsics: cmake/isa_symbols.cmake checks it.
//
// Tests compile this file a second time with tiles in software, as HADAL_STAND_IN: what it computes
// can be checked on processors that lack AMX.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu/cpu_ops.h"

#define HADAL_ISA_AVX512 1
#define HADAL_ISA_VNNI 1

#ifdef HADAL_STAND_IN
#define isa_amx isa_amx_stand_in
#endif

namespace hadal::isa_amx {
namespace {

using cpu::QuantInput;

// The order matters: each file uses the ones before it.
// clang-format off
#include "kernels/cpu/isa_vec.h"
#include "kernels/cpu/isa_formats.h"
#include "kernels/cpu/isa_act.h"
#include "kernels/cpu/isa_quant.h"
#include "kernels/cpu/isa_amx_tiles.h"
// clang-format on

constexpr int kColumns = 16;

/// Integer sums of one panel, for each block of a group or each half of one.
template <int kUnits>
struct alignas(64) GroupSums {
  int32_t values[kUnits][kColumns][cpu::kPanelRows];
};

/// Adds the contribution of a group of blocks to `out`, whose columns are `out_stride` floats
/// apart. `panel` is the group in the unpacked form, `block` the first column's first block.
template <bool kBiased, int kSubs, int kUnits>
HADAL_INLINE void add_sums(const GroupSums<kUnits>& sums, const uint8_t* panel,
                           const uint8_t* block, int64_t stride, int bias_shift, int columns,
                           float* out, int64_t out_stride) {
  F scale[kUnits], offset[kUnits];
  HADAL_UNROLL
  for (int u = 0; u < kUnits; ++u) {
    const auto* factors =
        reinterpret_cast<const float*>(panel + u / kSubs * unpacked_bytes<ByteForm>(8, kSubs) +
                                       ByteForm::bytes(8) + u % kSubs * 128);
    scale[u] = load(factors);
    offset[u] = load(factors + 16);
  }
  for (int c = 0; c < columns; ++c, block += stride, out += out_stride) {
    I sum[kUnits];
    HADAL_UNROLL
    for (int u = 0; u < kUnits; ++u) {
      const uint8_t* side = block + u / kSubs * Act8::kBytes + Act8::kCodes;
      sum[u] = add_int(start_sum<Act8, kBiased>(side, kSubs == 1 ? 0 : 1 + u % kSubs, bias_shift),
                       load_bytes(sums.values[u][c]));
    }
    F scaled = zero();
    if constexpr (kUnits > 1) scaled = add_unit<0>(scaled, sum[0], scale[0]);
    HADAL_UNROLL
    for (int u = 1; u + 1 < kUnits; ++u) scaled = add_unit<1>(scaled, sum[u], scale[u]);
    store(out,
          add_group<Act8, kBiased, kSubs, kUnits>(load(out), scaled, sum[kUnits - 1],
                                                  scale[kUnits - 1], offset, block + Act8::kCodes));
  }
}

/// Adds a group of kBlocks blocks to `out`.
template <bool kBiased, int kSubs, int kBlocks>
HADAL_INLINE void amx_group(Tiles& tiles, const uint8_t* w, int64_t panel_stride, int panels,
                            const uint8_t* block, int64_t stride, int bias_shift, int columns,
                            float* out) {
  constexpr int kDepth = cpu::kBlockColumns / kSubs;
  GroupSums<kBlocks * kSubs> sums[kTilePanels];
  HADAL_UNROLL
  for (int u = 0; u < kBlocks * kSubs; ++u) {
    tiles.load<kTileX>(block + u / kSubs * Act8::kBytes + u % kSubs * kDepth, stride);
    const uint8_t* codes = w + u / kSubs * unpacked_bytes<ByteForm>(8, kSubs) +
                           u % kSubs * (ByteForm::bytes(8) / kSubs);
    for (int p = 0; p < panels; ++p) {
      tiles.load<kTileCodes>(codes + p * panel_stride, 64);
      tiles.clear<kTileSums>();
      tiles.multiply();
      tiles.store<kTileSums>(sums[p].values[u][0], 64);
    }
  }
  for (int p = 0; p < panels; ++p) {
    add_sums<kBiased, kSubs>(sums[p], w + p * panel_stride, block, stride, bias_shift, columns,
                             out + p * 16, panels * 16);
  }
}

/// Adds a slice of blocks to `out`.
template <bool kBiased, int kSubs>
void amx_tile(const uint8_t* w, int64_t panel_stride, int panels, int64_t blocks,
              const QuantInput& x, int bias_shift, int columns, float* out) {
  const TileShapes shapes(columns, cpu::kBlockColumns / kSubs);
  Tiles tiles(shapes);
  int64_t b = 0;
  auto add = [&]<int kBlocks>() {
    amx_group<kBiased, kSubs, kBlocks>(tiles, w + b * unpacked_bytes<ByteForm>(8, kSubs),
                                       panel_stride, panels, x.blocks + b * Act8::kBytes, x.stride,
                                       bias_shift, columns, out);
    b += kBlocks;
  };
  while (b + Act8::kGroup <= blocks) add.template operator()<Act8::kGroup>();
  while (b < blocks) add.template operator()<1>();
  tiles.release();
}

void amx_quant_tile(int format, const uint8_t* unpacked, int64_t panel_stride, int panels,
                    int64_t blocks, const QuantInput& x, int columns, float* out) {
  switch (format) {
#define CASE(name)                                                                                 \
  case cpu::kFormat##name:                                                                         \
    return amx_tile<name::kBiasShift >= 0, name::kSubs>(unpacked, panel_stride, panels, blocks, x, \
                                                        name::kBiasShift, columns, out);
    HADAL_EACH_FORMAT(CASE)
#undef CASE
    default:
      return;
  }
}

}  // namespace

cpu::Ops ops() {
  cpu::Ops ops = isa_avx512::kOps;
  ops.quant[cpu::kActivation8].direct_columns = kDirectColumns;
  ops.quant[cpu::kActivation8].tile_columns = kColumns;
  ops.quant[cpu::kActivation8].quant_tile = amx_quant_tile;
  return ops;
}

}  // namespace hadal::isa_amx
