#pragma once
/// Rotary position embedding (2104.09864) with the scalings of the model files.
#include <cstdint>
#include <span>
#include <vector>

namespace hadal {

/// cos/sin factors of one model, per pair index: angle = position * frequency[i].
struct RopeTable {
  std::vector<float> frequency;  ///< rope_dims / 2 entries, scaling already applied
  float magnitude = 1.0f;        ///< factor on cos and sin (YaRN)
  bool half_split = false;       ///< pairs (i, i + n/2) instead of (2i, 2i + 1)
};

/// Rotates `n_heads` heads of width d_head in each row, in place. Row r is at x + r * stride and
/// has position positions[r]. Dimensions beyond 2 * frequency.size() stay as they are. Angles are
/// computed in double.
void rope(const RopeTable& table, float* x, int64_t stride, int64_t n_heads, int64_t d_head,
          std::span<const int32_t> positions);

}  // namespace hadal
