#pragma once
/// Room-internal: the state of a streaming softmax over a span of positions, and how the states of
/// two spans become one (2205.14135).
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace hadal {

/// Running softmax of some queries: maximum[n], sum[n], mix[n x d_pad] in one block of memory.
struct PartialSoftmax {
  float* maximum;
  float* sum;
  float* mix;

  PartialSoftmax(float* memory, int64_t n)
      : maximum(memory), sum(memory + n), mix(memory + 2 * n) {}
  static int64_t floats(int64_t n, int64_t d_pad) { return n * (2 + d_pad); }
  /// The state of query `q` alone.
  PartialSoftmax query(int64_t q, int64_t d_pad) const {
    PartialSoftmax one = *this;
    one.maximum += q;
    one.sum += q;
    one.mix += q * d_pad;
    return one;
  }
  void clear(int64_t n, int64_t d_pad) const {
    clear_sums(n);
    std::fill_n(mix, n * d_pad, 0.0f);
  }
  /// Of a state whose mix is not read before it is written.
  void clear_sums(int64_t n) const {
    std::fill_n(maximum, n, -INFINITY);
    std::fill_n(sum, n, 0.0f);
  }
};

/// into = into + from, brought to a common maximum. A span that a query does not see leaves it as
/// it is.
inline void merge(const PartialSoftmax& into, const PartialSoftmax& from, int64_t n,
                  int64_t d_pad) {
  for (int64_t q = 0; q < n; ++q) {
    if (from.maximum[q] == -INFINITY && from.sum[q] == 0.0f) continue;
    const float maximum = std::max(into.maximum[q], from.maximum[q]);
    const float keep = std::exp(into.maximum[q] - maximum);
    const float gain = std::exp(from.maximum[q] - maximum);
    into.maximum[q] = maximum;
    into.sum[q] = into.sum[q] * keep + from.sum[q] * gain;
    float* a = into.mix + q * d_pad;
    const float* b = from.mix + q * d_pad;
    for (int64_t i = 0; i < d_pad; ++i) a[i] = a[i] * keep + b[i] * gain;
  }
}

}  // namespace hadal
