#pragma once
/// DeepSeek V3.2's lightning indexer in a forward pass: projections, keys beside the pool's, and
/// the choice of positions (kernels/indexer.h has the formula).
#include <vector>

#include "kernels/indexer.h"
#include "kernels/matmul.h"
#include "kernels/rope.h"
#include "model/config.h"
#include "model/weights.h"

namespace hadal {

/// Belongs to a decoder; the rows are the ones it has in work.
class IndexerPass {
 public:
  explicit IndexerPass(const IndexerConfig& config)
      : config_(config), shape_{config.n_heads, config.d_index, config.top_k} {}

  const IndexShape& shape() const { return shape_; }
  /// Rows that see no more positions than that attend to all.
  int64_t top_k() const { return config_.top_k; }

  /// Queries, keys and weights of the rows; keys are stored. `hidden`: the normed residual stream;
  /// `q_rank`: the queries' normed rank; `angles` turn in halves.
  void project(const IndexerWeights& weights, const MatmulRows& hidden, const MatmulRows& q_rank,
               const RopeAngles& angles, const IndexKeys& keys, const AttentionRows& rows,
               ThreadPool& pool, MatmulWorkspace& workspace);
  /// The choice for rows [first, first + rows.positions.size()) of those.
  const PositionLists& select(const IndexKeys& keys, const AttentionRows& rows, int64_t first,
                              ThreadPool& pool);
  void move_row(int64_t from, int64_t to);

 private:
  int64_t q_width() const { return config_.n_heads * config_.d_index; }
  void finish_keys(const IndexerWeights& weights, int64_t n);

  const IndexerConfig config_;
  const IndexShape shape_;
  std::vector<float> q_, k_, weights_;
  PositionLists lists_;
};

}  // namespace hadal
