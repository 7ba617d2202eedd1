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

/// The cos and sin of every row of a batch, computed once per forward pass and used by all layers,
/// for queries and keys. Angles are computed in double. Keep one per model: it reuses its memory.
class RopeAngles {
 public:
  void compute(const RopeTable& table, std::span<const int32_t> positions);

  int64_t rows() const { return rows_; }
  int64_t pairs() const { return pairs_; }
  bool half_split() const { return half_split_; }
  /// pairs() cosines, then pairs() sines.
  const float* row(int64_t index) const { return values_.data() + index * 2 * pairs_; }

 private:
  int64_t rows_ = 0;
  int64_t pairs_ = 0;
  bool half_split_ = false;
  std::vector<float> values_;
};

/// Rows [begin, end) of a batch, so that workers can share one.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
};

/// Rotates `n_heads` heads of width d_head in the rows of `range`, in place. Row r is at
/// x + r * stride and has the angles of row r. Dimensions beyond 2 * pairs() stay as they are.
void rope(const RopeAngles& angles, RowRange range, float* x, int64_t stride, int64_t n_heads,
          int64_t d_head);

/// The same where the angles are needed only once. Row r has position positions[r].
void rope(const RopeTable& table, float* x, int64_t stride, int64_t n_heads, int64_t d_head,
          std::span<const int32_t> positions);

}  // namespace hadal
