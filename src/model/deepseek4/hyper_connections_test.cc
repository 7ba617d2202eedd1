#include "model/deepseek4/hyper_connections.h"

#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace hadal::deepseek4 {
namespace {

constexpr int64_t kN = 4;

struct Numbers {
  std::vector<float> mix = std::vector<float>(24);
  std::vector<float> base = std::vector<float>(24);
  std::vector<float> scale = {0.9f, 1.1f, 0.7f};

  explicit Numbers(uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 1);
    for (float& x : mix) x = normal(random);
    for (float& x : base) x = normal(random);
  }
  GateParams params() const {
    return {.n_streams = kN, .iterations = 20, .eps = 1e-6f, .base = base, .scale = scale};
  }
};

// Goal: the columns of comb sum to 1 within 2e-6 and the rows nearly so, whatever the weights.
TEST(HyperConnections, CombIsNearlyDoublyStochastic) {
  for (uint32_t seed = 1; seed <= 50; ++seed) {
    const Numbers numbers(seed);
    StreamGates gates{};
    stream_gates(numbers.mix.data(), 1.3f, numbers.params(), gates);
    for (size_t i = 0; i < kN; ++i) {
      double column = 0;
      double row = 0;
      for (size_t j = 0; j < kN; ++j) {
        column += gates.comb[j * kN + i];
        row += gates.comb[i * kN + j];
      }
      EXPECT_NEAR(column, 1.0, 2e-6) << seed;
      EXPECT_NEAR(row, 1.0, 1e-2) << seed;
    }
  }
}

// Goal: gates follow their formulas: pre has the eps, post is doubled and has none.
TEST(HyperConnections, GatesFollowTheirFormulas) {
  const Numbers numbers(3);
  StreamGates gates{};
  stream_gates(numbers.mix.data(), 0.5f, numbers.params(), gates);
  for (size_t i = 0; i < kN; ++i) {
    const double pre = numbers.mix[i] * 0.5 * 0.9f + numbers.base[i];
    const double post = numbers.mix[kN + i] * 0.5 * 1.1f + numbers.base[kN + i];
    EXPECT_NEAR(gates.pre[i], 1 / (1 + std::exp(-pre)) + 1e-6, 1e-7);
    EXPECT_NEAR(gates.post[i], 2 / (1 + std::exp(-post)), 3e-7);
  }
}

// Goal: one Sinkhorn round is a softmax over targets, then a division by the sum over sources: by
// hand for two streams. M = softmax rows of {{0, ln 3}, {0, 0}} = {{1/4, 3/4}, {1/2, 1/2}}; columns
// sum to 3/4 and 5/4.
TEST(HyperConnections, OneRoundByHand) {
  const std::vector<float> mix = {0, 0, 0, 0, 0, std::log(3.0f), 0, 0};
  const std::vector<float> base(8, 0.0f);
  const std::vector<float> scale(3, 1.0f);
  StreamGates gates{};
  stream_gates(mix.data(), 1.0f,
               {.n_streams = 2, .iterations = 1, .eps = 1e-9f, .base = base, .scale = scale},
               gates);
  EXPECT_NEAR(gates.comb[0], 1.0 / 3, 1e-6);
  EXPECT_NEAR(gates.comb[1], 3.0 / 5, 1e-6);
  EXPECT_NEAR(gates.comb[2], 2.0 / 3, 1e-6);
  EXPECT_NEAR(gates.comb[3], 2.0 / 5, 1e-6);
}

// Goal: the first index of comb is the source: X'[t] = post[t] y + sum_s comb[s][t] X[s], and
// blocks of columns do not disturb each other.
TEST(HyperConnections, MixingReadsSourcesAndWritesTargets) {
  constexpr int64_t kD = 300;  // more than one block of columns
  std::vector<float> streams(2 * kD);
  std::vector<float> y(kD);
  for (int64_t i = 0; i < kD; ++i) {
    streams[static_cast<size_t>(i)] = static_cast<float>(i);
    streams[static_cast<size_t>(kD + i)] = 1000;
    y[static_cast<size_t>(i)] = 1;
  }
  StreamGates gates{};
  gates.pre = {0.5f, 0.25f};
  gates.post = {2, 3};
  gates.comb = {1, 0.5f, 0, 0.25f};  // stream 0 goes to 0 and half to 1; stream 1 a quarter to 1
  std::vector<float> joined(kD);
  join_streams(streams.data(), 2, kD, gates, joined.data());
  mix_streams(y.data(), 2, kD, gates, streams.data());
  for (int64_t i = 0; i < kD; ++i) {
    const auto at = static_cast<size_t>(i);
    EXPECT_EQ(joined[at], 0.5f * static_cast<float>(i) + 250);
    EXPECT_EQ(streams[at], static_cast<float>(i) + 2);
    EXPECT_EQ(streams[at + kD], 0.5f * static_cast<float>(i) + 253);
  }
}

// Goal: the streams of a token stay equal where nothing tells them apart.
TEST(HyperConnections, EqualStreamsStayEqualUnderEqualGates) {
  const std::vector<float> mix(24, 0.0f);
  const std::vector<float> base(24, 0.0f);
  const std::vector<float> scale(3, 1.0f);
  StreamGates gates{};
  stream_gates(mix.data(), 1.0f,
               {.n_streams = kN, .iterations = 20, .eps = 1e-6f, .base = base, .scale = scale},
               gates);
  std::vector<float> streams(kN * 8, 0.75f);
  const std::vector<float> y(8, 0.5f);
  mix_streams(y.data(), kN, 8, gates, streams.data());
  for (const float x : streams) EXPECT_NEAR(x, 0.75f + 0.5f, 3e-6);
}

// Goal: the root mean square counts what is left of a length that is no multiple of eight, and eps.
TEST(HyperConnections, InverseRms) {
  std::vector<float> x(19, 2.0f);
  x.back() = 4.0f;
  EXPECT_NEAR(inverse_rms(x.data(), 19, 0.5f), 1 / std::sqrt((18 * 4 + 16) / 19.0 + 0.5), 1e-7);
}

}  // namespace
}  // namespace hadal::deepseek4
