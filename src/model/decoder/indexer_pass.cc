#include "model/decoder/indexer_pass.h"

#include <algorithm>
#include <cmath>

namespace hadal {
namespace {

/// Of the keys' LayerNorm, in the published models.
constexpr double kLayerNormEps = 1e-6;

void layer_norm(float* x, const std::vector<float>& weight, const std::vector<float>& bias) {
  const auto n = static_cast<double>(weight.size());
  double mean = 0;
  for (size_t i = 0; i < weight.size(); ++i) mean += static_cast<double>(x[i]);
  mean /= n;
  double variance = 0;
  for (size_t i = 0; i < weight.size(); ++i) {
    variance += (static_cast<double>(x[i]) - mean) * (static_cast<double>(x[i]) - mean);
  }
  const double scale = 1 / std::sqrt(variance / n + kLayerNormEps);
  for (size_t i = 0; i < weight.size(); ++i) {
    const auto normed = static_cast<float>((static_cast<double>(x[i]) - mean) * scale);
    x[i] = normed * weight[i] + bias[i];
  }
}

MatmulTask task(const Weight& weight, std::vector<float>& out, int64_t n) {
  out.resize(std::max(out.size(), static_cast<size_t>(n * weight.rows())));
  return {.weight = &weight, .out = out.data(), .out_stride = weight.rows()};
}

}  // namespace

void IndexerPass::project(const IndexerWeights& weights, const MatmulRows& hidden,
                          const MatmulRows& q_rank, const RopeAngles& angles, const IndexKeys& keys,
                          const AttentionRows& rows, ThreadPool& pool, MatmulWorkspace& workspace) {
  const int64_t n = hidden.n();
  const MatmulTask queries[] = {task(weights.q.weight, q_, n)};
  matmul(q_rank, queries, pool, workspace);
  const MatmulTask others[] = {task(weights.k.weight, k_, n),
                               task(weights.heads.weight, weights_, n)};
  matmul(hidden, others, pool, workspace);
  finish_keys(weights, n);
  rope(angles, {0, n}, q_.data(), q_width(), config_.n_heads, config_.d_index);
  rope(angles, {0, n}, k_.data(), config_.d_index, 1, config_.d_index);
  index_write(keys, shape_, rows, k_.data(), pool);
}

/// Norms the keys and scales the heads' weights. (The published code also turns queries and keys by
/// a Hadamard matrix, which no product of the two notices.)
void IndexerPass::finish_keys(const IndexerWeights& weights, int64_t n) {
  const float scale = 1 / std::sqrt(static_cast<float>(config_.n_heads * config_.d_index));
  for (int64_t r = 0; r < n; ++r) {
    layer_norm(k_.data() + r * config_.d_index, weights.k_norm, weights.k_norm_bias);
  }
  for (int64_t i = 0; i < n * config_.n_heads; ++i) weights_[static_cast<size_t>(i)] *= scale;
}

const PositionLists& IndexerPass::select(const IndexKeys& keys, const AttentionRows& rows,
                                         int64_t first, ThreadPool& pool) {
  index_select(keys, shape_, rows, q_.data() + first * q_width(),
               weights_.data() + first * config_.n_heads, lists_, pool);
  return lists_;
}

void IndexerPass::move_row(int64_t from, int64_t to) {
  std::copy_n(q_.begin() + from * q_width(), q_width(), q_.begin() + to * q_width());
  std::copy_n(weights_.begin() + from * config_.n_heads, config_.n_heads,
              weights_.begin() + to * config_.n_heads);
}

}  // namespace hadal
