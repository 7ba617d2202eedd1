#include "engine/sample/weights.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "base/check.h"

namespace hadal {
namespace {

constexpr size_t kLanes = 16;

/// exp(z) for z <= 0: z = n ln2 + r with |r| <= ln2 / 2, a Taylor polynomial of degree 6 in r (the
/// rest is below r^7 / 7! = 1.2e-7), and n added to the exponent bits. Adding 1.5 * 2^23 rounds to
/// an integer that can be read from the low mantissa bits, which vector code can do; ln2 is split
/// so that n * kLn2High is exact.
inline float exp_of_negative(float z) {
  constexpr float kLowest = -87.0f;  // exp(-87.3) is the smallest normal float
  constexpr float kRound = 12582912.0f;
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693359375f;
  constexpr float kLn2Low = -2.12194440e-4f;
  const float clamped = z > kLowest ? z : kLowest;
  const float shifted = clamped * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  float p = 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const int32_t exponent = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
  const float scaled = std::bit_cast<float>(std::bit_cast<int32_t>(p) + (exponent << 23));
  return z > kLowest ? scaled : 0.0f;
}

}  // namespace

RowScan scan_row(std::span<const float> logits) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  float lane_max[kLanes];
  int32_t lane_nan[kLanes] = {};
  std::fill(lane_max, lane_max + kLanes, kLowest);
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    const float* x = logits.data() + i;
    for (size_t j = 0; j < kLanes; ++j) {
      lane_max[j] = x[j] > lane_max[j] ? x[j] : lane_max[j];
      lane_nan[j] |= x[j] != x[j];
    }
  }
  for (size_t j = 0; i < logits.size(); ++i, ++j) {
    lane_max[j] = logits[i] > lane_max[j] ? logits[i] : lane_max[j];
    lane_nan[j] |= logits[i] != logits[i];
  }
  RowScan out{kLowest, false};
  for (size_t j = 0; j < kLanes; ++j) {
    out.max = std::max(out.max, lane_max[j]);
    out.has_nan = out.has_nan || lane_nan[j] != 0;
  }
  return out;
}

TokenId first_index_of(std::span<const float> logits, float value) {
  const auto found = std::find(logits.begin(), logits.end(), value);
  CHECK(found != logits.end());
  return static_cast<TokenId>(found - logits.begin());
}

double exp_weights(std::span<const float> logits, float max, float inverse_temperature,
                   std::span<float> weights, std::vector<double>& block_sums) {
  CHECK(weights.size() == logits.size());
  block_sums.clear();
  double total = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kWeightBlock) {
    const size_t end = std::min(begin + kWeightBlock, logits.size());
    // Two loops: a sum inside the first keeps compilers from vectorising it.
    const size_t count = end - begin;
    const float* __restrict x = logits.data() + begin;
    float* __restrict w = weights.data() + begin;
    for (size_t i = 0; i < count; ++i) w[i] = exp_of_negative((x[i] - max) * inverse_temperature);
    float lanes[kLanes] = {};
    size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      for (size_t j = 0; j < kLanes; ++j) lanes[j] += w[i + j];
    }
    for (size_t j = 0; i < count; ++i, ++j) lanes[j] += w[i];
    double sum = 0;
    for (float lane : lanes) sum += lane;
    block_sums.push_back(sum);
    total += sum;
  }
  return total;
}

float exp_weight(float logit, float max, float inverse_temperature) {
  return exp_of_negative((logit - max) * inverse_temperature);
}

}  // namespace hadal
