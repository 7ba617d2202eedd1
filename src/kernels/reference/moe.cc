#include "kernels/moe.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "kernels/packed_weight.h"
#include "kernels/reference/reference.h"

namespace hadal::reference {
namespace {

std::vector<double> product(const Weight& weight, const std::vector<double>& x) {
  const TensorView& view = weight.packed().view;
  std::vector<float> row(x.size());
  std::vector<double> out(static_cast<size_t>(weight.rows()));
  for (int64_t o = 0; o < weight.rows(); ++o) {
    dequantize_row(view, o, row.data());
    double& sum = out[static_cast<size_t>(o)];
    for (size_t i = 0; i < x.size(); ++i) sum += row[i] * x[i];
  }
  return out;
}

void add_expert(const ExpertWeights& expert, double weight, double clamp,
                const std::vector<double>& x, std::vector<double>& sum) {
  std::vector<double> hidden = product(*expert.gate, x);
  const std::vector<double> up = product(*expert.up, x);
  for (size_t i = 0; i < hidden.size(); ++i) {
    const double z = clamp > 0 ? std::min(hidden[i], clamp) : hidden[i];
    const double u = clamp > 0 ? std::clamp(up[i], -clamp, clamp) : up[i];
    hidden[i] = z / (1.0 + std::exp(-z)) * u;
  }
  const std::vector<double> y = product(*expert.down, hidden);
  for (size_t i = 0; i < y.size(); ++i) sum[i] += weight * y[i];
}

}  // namespace

void moe_row(const MoeLayer& layer, const Routing& routing, const float* x, float* out) {
  const ExpertWeights& any = layer.shared != nullptr ? *layer.shared : layer.experts.front();
  const std::vector<double> in(x, x + any.gate->cols());
  std::vector<double> sum(static_cast<size_t>(any.down->rows()));
  for (int64_t j = 0; j < routing.n_used; ++j) {
    CHECK(static_cast<size_t>(routing.experts[j]) < layer.experts.size());
    add_expert(layer.experts[static_cast<size_t>(routing.experts[j])], routing.weights[j],
               layer.clamp, in, sum);
  }
  if (layer.shared != nullptr) add_expert(*layer.shared, 1.0, layer.shared_clamp, in, sum);
  for (size_t i = 0; i < sum.size(); ++i) out[i] += static_cast<float>(sum[i]);
}

}  // namespace hadal::reference
