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

/// One block's integer sums of one panel, for the whole block or for each half.
struct alignas(64) BlockSums {
  int32_t values[2][kColumns][cpu::kPanelRows];
};

/// Adds the block's contribution to `out`, whose columns are `out_stride` floats apart. `factors`
/// are the panel's scales and offsets, `side` the first column's side values.
template <bool kBiased, int kSubs>
HADAL_INLINE void add_sums(const BlockSums& sums, const float* factors, const uint8_t* side,
                           int64_t stride, int bias_shift, int columns, float* out,
                           int64_t out_stride) {
  const F scale[2] = {load(factors), load(factors + 32 * (kSubs - 1))};
  const F offset[2] = {load(factors + 16), load(factors + 32 * (kSubs - 1) + 16)};
  for (int c = 0; c < columns; ++c, side += stride, out += out_stride) {
    I sum[kSubs];
    HADAL_UNROLL
    for (int s = 0; s < kSubs; ++s) {
      sum[s] = add_int(start_sum<Act8, kBiased>(side, kSubs == 1 ? 0 : 1 + s, bias_shift),
                       load_bytes(sums.values[s][c]));
    }
    if constexpr (kSubs == 1) {
      store(out, add_block<Act8, kBiased>(load(out), sum[0], scale[0], offset[0], side));
    } else {
      const F scaled = mul(to_float(sum[0]), scale[0]);
      store(out, add_halves<Act8, kBiased>(load(out), scaled, sum[1], scale[1], offset, side));
    }
  }
}

/// Adds a slice of blocks to `out`.
template <bool kBiased, int kSubs>
void amx_tile(const uint8_t* w, int64_t panel_stride, int panels, int64_t blocks,
              const QuantInput& x, int bias_shift, int columns, float* out) {
  constexpr int kDepth = cpu::kBlockColumns / kSubs;
  constexpr int kCodeBytes = ByteForm::bytes(8);
  const TileShapes shapes(columns, kDepth);
  Tiles tiles(shapes);
  BlockSums sums[kTilePanels];
  const uint8_t* block = x.blocks;
  for (int64_t b = 0; b < blocks; ++b) {
    HADAL_UNROLL
    for (int s = 0; s < kSubs; ++s) {
      tiles.load<kTileX>(block + s * kDepth, x.stride);
      for (int p = 0; p < panels; ++p) {
        tiles.load<kTileCodes>(w + p * panel_stride + s * (kCodeBytes / kSubs), 64);
        tiles.clear<kTileSums>();
        tiles.multiply();
        tiles.store<kTileSums>(sums[p].values[s][0], 64);
      }
    }
    for (int p = 0; p < panels; ++p) {
      const uint8_t* factors = w + p * panel_stride + kCodeBytes;
      add_sums<kBiased, kSubs>(sums[p], reinterpret_cast<const float*>(factors),
                               block + Act8::kCodes, x.stride, bias_shift, columns, out + p * 16,
                               panels * 16);
    }
    w += unpacked_bytes<ByteForm>(8, kSubs);
    block += Act8::kBytes;
  }
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
  ops.quant[cpu::kActivation8].tile_columns = kColumns;
  ops.quant[cpu::kActivation8].quant_tile = amx_quant_tile;
  return ops;
}

}  // namespace hadal::isa_amx
