#pragma once
/// Products of some panels of a packed weight with some rows of activations: what the workers of
/// matmul and moe do between taking one piece of work and the next. For the kernels room only.
///
/// A row's result has the same bits whichever path computes it (cpu_ops.h).
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/matmul_rows.h"
#include "kernels/packed_weight.h"

namespace hadal {

/// Columns (rows of activations) that one piece of a wide product covers at most: long enough to
/// pay for unpacking the panel, short enough to share few rows between many workers.
inline constexpr int64_t kColumnsPerItem = 256;
/// Below this many multiply-adds (about 2 us of one core) waking the other workers costs more than
/// they save.
inline constexpr int64_t kInlineMacs = 100000;
/// Panels whose outputs the next product reads rounded: those that share a scale lie together.
inline constexpr int64_t kGroupRounded = cpu::kGroup8 * cpu::kBlockColumns / cpu::kPanelRows;
/// Most panels of one piece: long streams, and input that is used while cached.
inline constexpr int64_t kGroupMax = 8;
/// Pieces for each worker, at least, before they grow.
inline constexpr int64_t kItemsPerWorker = 8;

/// The results of some panels and columns. The panels come in runs of `run` that lie together.
struct Tile {
  float* data;
  int64_t panels;
  int64_t columns;
  int64_t run;

  static int64_t floats(int64_t panels, int64_t columns) {
    return panels * columns * cpu::kPanelRows;
  }
  float* values(int64_t panel, int64_t column) const {
    const int64_t first = panel / run * run;
    const int64_t width = std::min(run, panels - first);
    return data + (first * columns + column * width + panel - first) * cpu::kPanelRows;
  }
};

/// Panels of a weight times columns (rows) of the activations.
struct PanelBlock {
  int64_t first_panel;
  int64_t panels;
  int64_t column;
  int64_t columns;
};

/// Whether columns go straight from the packed panels rather than by way of unpacked slices.
bool product_is_direct(const Weight::Packed& w, int64_t columns);
/// The smallest number of panels that a product of `w` works well with.
int64_t product_group(const Weight::Packed& w);
/// Bytes that panel_product() needs for unpacked slices.
int64_t unpacked_bytes(const Weight::Packed& w);
/// Floats that panel_product() writes for so many panels and columns, at most.
int64_t tile_floats(int64_t panels, int64_t columns);

/// Computes a block into `out` (tile_floats). `direct` is the same for all columns of a product.
Tile panel_product(const Weight::Packed& w, const MatmulRows::Forms& x, const PanelBlock& block,
                   bool direct, uint8_t* unpacked, float* out);

/// Asks for the first bytes of a panel: a worker that alternates between matrices would wait for
/// memory at every change, since hardware prefetches only what follows.
void fetch_panel(const Weight::Packed& w, int64_t panel);

/// The rows (outputs) of a panel that exist.
inline int64_t panel_rows(const Weight::Packed& w, int64_t panel) {
  return std::min<int64_t>(cpu::kPanelRows, w.view.ne[1] - panel * cpu::kPanelRows);
}

}  // namespace hadal
