#include "kernels/rope.h"

#include "base/check.h"
#include "kernels/reference/reference.h"

namespace hadal {

void rope(const RopeTable& table, float* x, int64_t stride, int64_t n_heads, int64_t d_head,
          std::span<const int32_t> positions) {
  CHECK(2 * static_cast<int64_t>(table.frequency.size()) <= d_head);
  float* row = x;
  for (const int32_t position : positions) {
    reference::rope_row(table, row, n_heads, d_head, position);
    row += stride;
  }
}

}  // namespace hadal
