#pragma once
/// Manifold-constrained hyper-connections: a token's residual is n streams X[n][d]; a block reads a
/// weighted sum of them and its output is added to streams that are mixed by a nearly doubly
/// stochastic matrix. All in float32; functions are about one token.
///
///   mix  = (fn . X) / rms(X)                      n (n + 2) numbers, fn from the file
///   pre  = sigmoid(mix[0..n) scale[0] + base) + eps
///   post = 2 sigmoid(mix[n..2n) scale[1] + base)
///   comb = Sinkhorn(softmax(mix[2n..) scale[2] + base) + eps)   rows: source, columns: target
#include <array>
#include <cstdint>
#include <span>

namespace hadal::deepseek4 {

inline constexpr int64_t kStreamsMax = 8;

/// Of one token at one site. Indices beyond the streams are not used.
struct StreamGates {
  std::array<float, kStreamsMax> pre;
  std::array<float, kStreamsMax> post;
  std::array<float, kStreamsMax * kStreamsMax> comb;  ///< [source * n + target]
};

/// The file's numbers for one site.
struct GateParams {
  int64_t n_streams = 0;
  int64_t iterations = 0;
  float eps = 0;
  std::span<const float> base;   ///< n (n + 2), or n for the head
  std::span<const float> scale;  ///< 3, or 1 for the head
};

/// 1 / sqrt(mean(x^2) + eps).
float inverse_rms(const float* x, int64_t n, float eps);

/// `mix`: fn . X, before it is divided by the rms.
void stream_gates(const float* mix, float inverse, const GateParams& params, StreamGates& out);
/// Of the head, which only reads: n numbers of `mix`, `pre` alone is set.
void head_gates(const float* mix, float inverse, const GateParams& params, StreamGates& out);

/// out[d] = sum_s pre[s] X[s].
void join_streams(const float* streams, int64_t n_streams, int64_t d, const StreamGates& gates,
                  float* out);
/// X[t] = post[t] y + sum_s comb[s][t] X[s], in place.
void mix_streams(const float* y, int64_t n_streams, int64_t d, const StreamGates& gates,
                 float* streams);

}  // namespace hadal::deepseek4
