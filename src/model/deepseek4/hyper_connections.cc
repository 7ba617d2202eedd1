#include "model/deepseek4/hyper_connections.h"

#include <algorithm>
#include <cmath>

namespace hadal::deepseek4 {
namespace {

float sigmoid(float x) {
  return 1.0f / (1.0f + std::exp(-x));
}

/// Divides the n numbers at `first`, `step` apart, by their sum + eps.
void normalise(float* first, int64_t step, int64_t n, float eps) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += first[i * step];
  for (int64_t i = 0; i < n; ++i) first[i * step] /= sum + eps;
}

void softmax_row(float* row, int64_t n, float eps) {
  const float top = *std::max_element(row, row + n);
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += row[i] = std::exp(row[i] - top);
  for (int64_t i = 0; i < n; ++i) row[i] = row[i] / sum + eps;
}

}  // namespace

float inverse_rms(const float* x, int64_t n, float eps) {
  // Eight sums: the compiler makes one vector of them, and each stays short enough to be exact.
  std::array<float, 8> sums = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (size_t lane = 0; lane < 8; ++lane) sums[lane] += x[i + lane] * x[i + lane];
  }
  double sum = 0;
  for (const float part : sums) sum += part;
  for (; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  return static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(n) + eps));
}

void head_gates(const float* mix, float inverse, const GateParams& params, StreamGates& out) {
  for (size_t i = 0; i < static_cast<size_t>(params.n_streams); ++i) {
    out.pre[i] = sigmoid(mix[i] * inverse * params.scale[0] + params.base[i]) + params.eps;
  }
}

void stream_gates(const float* mix, float inverse, const GateParams& params, StreamGates& out) {
  const auto n = static_cast<size_t>(params.n_streams);
  head_gates(mix, inverse, params, out);
  for (size_t i = 0; i < n; ++i) {
    out.post[i] = 2 * sigmoid(mix[n + i] * inverse * params.scale[1] + params.base[n + i]);
  }
  float* comb = out.comb.data();
  for (size_t i = 0; i < n * n; ++i) {
    comb[i] = mix[2 * n + i] * inverse * params.scale[2] + params.base[2 * n + i];
  }
  const int64_t count = params.n_streams;
  for (int64_t s = 0; s < count; ++s) softmax_row(comb + s * count, count, params.eps);
  for (int64_t t = 0; t < count; ++t) normalise(comb + t, count, count, params.eps);
  for (int64_t round = 1; round < params.iterations; ++round) {
    for (int64_t s = 0; s < count; ++s) normalise(comb + s * count, 1, count, params.eps);
    for (int64_t t = 0; t < count; ++t) normalise(comb + t, count, count, params.eps);
  }
}

void join_streams(const float* streams, int64_t n_streams, int64_t d, const StreamGates& gates,
                  float* out) {
  for (int64_t i = 0; i < d; ++i) out[i] = gates.pre[0] * streams[i];
  for (int64_t s = 1; s < n_streams; ++s) {
    const float gate = gates.pre[static_cast<size_t>(s)];
    const float* stream = streams + s * d;
    for (int64_t i = 0; i < d; ++i) out[i] += gate * stream[i];
  }
}

void mix_streams(const float* y, int64_t n_streams, int64_t d, const StreamGates& gates,
                 float* streams) {
  // So many columns that all streams of them, old and new, stay in the nearest cache.
  constexpr int64_t kColumns = 256;
  std::array<float, kStreamsMax * kColumns> old;
  for (int64_t first = 0; first < d; first += kColumns) {
    const int64_t count = std::min(kColumns, d - first);
    for (int64_t s = 0; s < n_streams; ++s) {
      std::copy_n(streams + s * d + first, count, old.data() + s * kColumns);
    }
    for (int64_t t = 0; t < n_streams; ++t) {
      float* target = streams + t * d + first;
      const float post = gates.post[static_cast<size_t>(t)];
      for (int64_t i = 0; i < count; ++i) target[i] = post * y[first + i];
      for (int64_t s = 0; s < n_streams; ++s) {
        const float weight = gates.comb[static_cast<size_t>(s * n_streams + t)];
        const float* source = old.data() + s * kColumns;
        for (int64_t i = 0; i < count; ++i) target[i] += weight * source[i];
      }
    }
  }
}

}  // namespace hadal::deepseek4
