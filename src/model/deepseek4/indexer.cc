#include "model/deepseek4/indexer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "model/deepseek4/compressor.h"

namespace hadal::deepseek4 {
namespace {

/// Keys of one row's context that a worker scores at a time.
constexpr int64_t kKeysPerPiece = 512;

/// In a fixed order whatever the width of the machine's vectors: eight sums, then their sum.
float dot(const float* a, const float* b, int64_t n) {
  std::array<float, 8> sums = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (size_t lane = 0; lane < 8; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  float sum = 0;
  for (; i < n; ++i) sum += a[i] * b[i];
  for (const float part : sums) sum += part;
  return sum;
}

class Scorer {
 public:
  Scorer(KvPool& kv, const Indexer& indexer, const AttentionRows& rows, const float* queries,
         const float* weights)
      : kv_(kv), indexer_(indexer), rows_(rows), queries_(queries), weights_(weights) {}

  int64_t visible(int64_t row) const {
    return Compressor::visible(rows_.positions[static_cast<size_t>(row)], kSparseRatio);
  }

  /// Scores of keys [begin, end) of `row`.
  void score(int64_t row, int64_t begin, int64_t end, float* out) const {
    const auto sequence = static_cast<size_t>(rows_.sequences[static_cast<size_t>(row)]);
    const float* queries = queries_ + row * indexer_.n_heads * indexer_.dim;
    const float* weights = weights_ + row * indexer_.n_heads;
    for (int64_t i = begin; i < end; ++i) {
      const auto* key = reinterpret_cast<const float*>(StateLayout::at(
          kv_, rows_.pages[sequence], indexer_.keys, i * kSparseRatio + kSparseRatio - 1));
      float sum = 0;
      for (int64_t h = 0; h < indexer_.n_heads; ++h) {
        sum += weights[h] * std::max(dot(queries + h * indexer_.dim, key, indexer_.dim), 0.0f);
      }
      out[i] = sum;
    }
  }

 private:
  KvPool& kv_;
  const Indexer& indexer_;
  const AttentionRows& rows_;
  const float* queries_;
  const float* weights_;
};

}  // namespace

std::vector<int32_t> best_indices(std::span<const float> scores, int64_t k) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  if (static_cast<int64_t>(order.size()) <= k) return order;
  const auto value = [&](int32_t i) {
    const float score = scores[static_cast<size_t>(i)];
    return std::isnan(score) ? -INFINITY : score;
  };
  std::nth_element(order.begin(), order.begin() + k, order.end(), [&](int32_t a, int32_t b) {
    return value(a) != value(b) ? value(a) > value(b) : a < b;
  });
  order.resize(static_cast<size_t>(k));
  std::sort(order.begin(), order.end());
  return order;
}

void choose_rows(KvPool& kv, const Indexer& indexer, const AttentionRows& rows,
                 const float* queries, const float* weights,
                 std::vector<std::vector<int32_t>>& chosen, ThreadPool& pool) {
  const Scorer scorer(kv, indexer, rows, queries, weights);
  const auto n = static_cast<int64_t>(rows.positions.size());
  chosen.resize(static_cast<size_t>(n));
  // Many rows: one for each worker at a time. Few: the keys of one are shared out.
  const bool share_keys = n < 2 * pool.size();
  const auto choose = [&](int64_t row) {
    const int64_t visible = scorer.visible(row);
    std::vector<float> scores(static_cast<size_t>(visible));
    if (visible > indexer.top_k) {
      const auto piece = [&](int64_t begin, int64_t end) {
        scorer.score(row, begin, end, scores.data());
      };
      if (share_keys) {
        pool.parallel_for(visible, kKeysPerPiece, piece);
      } else {
        piece(0, visible);
      }
    }
    chosen[static_cast<size_t>(row)] = best_indices(scores, indexer.top_k);
  };
  if (share_keys) {
    for (int64_t row = 0; row < n; ++row) choose(row);
    return;
  }
  pool.parallel_for(n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) choose(row);
  });
}

}  // namespace hadal::deepseek4
