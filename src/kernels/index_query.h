#pragma once
/// Room-internal: a row's queries for the indexer, as floats and in 8 bits, and how far apart the
/// scores are that the two give.
///
/// With s_h = q_h . k and S_h the same of the rounded query and the key's high plane, relu makes
///   |score - estimate| = |sum over h of w_h a_h (s_h - S_h)|   for some a_h in [0, 1], and
///   s_h - S_h = Q_h . (k - K) + (q_h - Q_h) . k
/// (capitals: rounded), so by Cauchy-Schwarz at most A(w Q) |k - K| + A(w (q - Q)) |k| where
///   A(y)^2 = max over a of |sum of a_h y_h|^2 <= sum over h, g of max(y_h . y_g, 0).
/// A key holds both norms. To this come the roundings of either sum of floats: below 2^-20 (d + H)
/// times sum of |w_h| |q_h| |k|. Measured errors are some thirtieth of the bound (decision 0022).
#include <cstdint>
#include <vector>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/index_key.h"
#include "kernels/indexer.h"

namespace hadal {

/// What turns a key's norms into the bound of its estimate.
struct IndexBound {
  bool usable = false;  ///< magnitudes are such that estimates say something
  float per_error = 0;
  float per_norm = 0;
  float constant = 0;
  float largest = 0;  ///< times a key's norm: no sum on the way is larger

  /// Infinity for keys whose scores may leave the range of floats.
  float of(const IndexKeyHead& key) const {
    if (!(key.norm * largest < 1e37f)) return __builtin_inff();
    return per_error * key.error + per_norm * key.norm + constant;
  }
};

/// Queries of some rows. turn() and round() of distinct rows may run in distinct threads.
class IndexQueryRows {
 public:
  /// Makes room. Without `ops` no bound becomes usable.
  void reset(const IndexShape& shape, const cpu::Ops* ops, int64_t rows);

  /// Takes q (n_heads x d_index), turned and padded.
  void turn(int64_t row, const float* q);
  /// The 8-bit form and the bound of a row that was turned.
  void round(int64_t row, const float* weights);

  const float* turned(int64_t row) const { return turned_.data() + row * heads_floats(); }
  const IndexBound& bound(int64_t row) const { return bounds_[static_cast<size_t>(row)]; }
  cpu::IndexQueries rounded(int64_t row) const;

 private:
  int64_t heads_floats() const { return shape_.n_heads * shape_.width(); }
  int64_t panels() const { return (shape_.n_heads + 15) / 16; }
  int64_t panel_blocks() const { return panels() * shape_.width() / 32; }

  IndexShape shape_;
  const cpu::Ops* ops_ = nullptr;
  std::vector<float> turned_;
  std::vector<uint8_t> codes_;
  std::vector<float> weights_;
  std::vector<IndexBound> bounds_;
};

}  // namespace hadal
