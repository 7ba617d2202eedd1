#include "kernels/panel_product.h"

#include "kernels/pack.h"

namespace hadal {
namespace {

// 512 columns of weights unpacked at a time: 18 to 24 KiB, whole super-blocks.
constexpr int64_t kSliceBlocks = 16;
// Panels of one unpacked slice at most.
constexpr int64_t kGroup = 2;
// What is asked for early where a worker changes from one matrix to another.
constexpr int64_t kFirstBytes = 4096;
constexpr int64_t kFloatColumnsMax = 16;  ///< bound on any instruction set's

void fetch(const uint8_t* begin, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(begin + at, 0, 2);
}

Tile direct_tile(const Weight::Packed& w, const MatmulRows::Forms& x, const PanelBlock& block,
                 float* out) {
  const cpu::QuantOps& quant = w.ops->quant[w.activation];
  cpu::QuantInput input = x.rounded[w.activation];
  input.blocks += block.column * input.stride;
  for (int64_t p = 0; p < block.panels; ++p) {
    quant.direct(w.format, w.panel(block.first_panel + p), w.view.ne[0] / cpu::kBlockColumns, input,
                 static_cast<int>(block.columns), out + Tile::floats(p, block.columns));
  }
  return {out, block.panels, block.columns, 1};
}

/// Slice by slice: unpack two panels into a buffer that fits the first-level cache, use it for all
/// columns, and go on to the next panels while the slice of the input is in the second level.
Tile wide_tile(const Weight::Packed& w, const MatmulRows::Forms& x, const PanelBlock& block,
               uint8_t* unpacked, float* out) {
  const cpu::QuantOps& quant = w.ops->quant[w.activation];
  const int64_t blocks = w.view.ne[0] / cpu::kBlockColumns;
  const int64_t stride = kSliceBlocks * quant.unpacked_block_bytes(w.format);
  const Tile tile{out, block.panels, block.columns, quant.tile_panels};
  std::fill_n(out, Tile::floats(block.panels, block.columns), 0.0f);
  for (int64_t begin = 0; begin < blocks; begin += kSliceBlocks) {
    const int64_t count = std::min(kSliceBlocks, blocks - begin);
    const int64_t offset = pack_panel_bytes(w.format, begin * cpu::kBlockColumns);
    const int64_t bytes = pack_panel_bytes(w.format, count * cpu::kBlockColumns);
    for (int64_t first = 0; first < block.panels; first += quant.tile_panels) {
      const int64_t panels = std::min<int64_t>(quant.tile_panels, block.panels - first);
      for (int64_t p = first; p < first + panels; ++p) {
        quant.unpack(w.format, w.panel(block.first_panel + p) + offset, count,
                     unpacked + (p - first) * stride);
      }
      for (int64_t p = first + panels; p < std::min(first + 2 * panels, block.panels); ++p) {
        fetch(w.panel(block.first_panel + p) + offset, bytes);
      }
      cpu::QuantInput input = x.rounded[w.activation];
      input.blocks += block.column * input.stride + begin * quant.block_bytes;
      float* results = out + Tile::floats(first, block.columns);
      for (int64_t c = 0; c < block.columns; c += quant.tile_columns) {
        const int64_t columns = std::min<int64_t>(quant.tile_columns, block.columns - c);
        quant.quant_tile(w.format, unpacked, stride, static_cast<int>(panels), count, input,
                         static_cast<int>(columns), results + Tile::floats(panels, c));
        input.blocks += quant.tile_columns * input.stride;
      }
    }
  }
  return tile;
}

Tile float_tile(const Weight::Packed& w, const MatmulRows::Forms& x, const PanelBlock& block,
                float* out) {
  const cpu::Ops& ops = *w.ops;
  for (int64_t first = 0; first < block.panels; first += ops.float_panels) {
    const int64_t panels = std::min<int64_t>(ops.float_panels, block.panels - first);
    float* results = out + Tile::floats(first, block.columns);
    cpu::FloatInput input = x.floats;
    input.x += block.column * input.stride;
    for (int64_t c = 0; c < block.columns; c += ops.float_columns) {
      const int64_t columns = std::min<int64_t>(ops.float_columns, block.columns - c);
      ops.float_tile(w.format, w.panel(block.first_panel + first), w.panel_bytes,
                     static_cast<int>(panels), w.view.ne[0], input, static_cast<int>(columns),
                     results + Tile::floats(panels, c));
      input.x += columns * input.stride;
    }
  }
  return {out, block.panels, block.columns, ops.float_panels};
}

}  // namespace

bool product_is_direct(const Weight::Packed& w, int64_t columns) {
  // Both kinds of activations have the same limits.
  return columns <= w.ops->quant[cpu::kActivation8].direct_columns;
}

int64_t product_group(const Weight::Packed& w) {
  return w.quantised() ? kGroup : std::max<int64_t>(kGroup, w.ops->float_panels);
}

int64_t unpacked_bytes(const Weight::Packed& w) {
  return kGroup * kSliceBlocks * w.ops->quant[w.activation].unpacked_block_bytes(w.format);
}

int64_t tile_floats(int64_t panels, int64_t columns) {
  return Tile::floats(panels, std::max<int64_t>(columns, kFloatColumnsMax));
}

Tile panel_product(const Weight::Packed& w, const MatmulRows::Forms& x, const PanelBlock& block,
                   bool direct, uint8_t* unpacked, float* out) {
  if (!w.quantised()) return float_tile(w, x, block, out);
  if (direct) return direct_tile(w, x, block, out);
  return wide_tile(w, x, block, unpacked, out);
}

void fetch_panel(const Weight::Packed& w, int64_t panel) {
  if (panel >= w.panels) return;
  fetch(w.panel(panel), std::min(kFirstBytes, w.panel_bytes));
}

}  // namespace hadal
