#include "kernels/router.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace hadal {
namespace {

struct Routed {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Routed route_rows(const std::vector<float>& logits, const RouterParams& p,
                  const std::vector<float>& bias = {}, int threads = 1) {
  ThreadPool pool(threads);
  const int64_t n = static_cast<int64_t>(logits.size()) / p.n_experts;
  Routed out;
  out.experts.assign(static_cast<size_t>(n * p.n_used), -1);
  out.weights.assign(out.experts.size(), -1.0f);
  route(logits.data(), n, p, bias.empty() ? nullptr : bias.data(), out.experts.data(),
        out.weights.data(), pool);
  return out;
}

/// The formulas once more, in double and with full sorts.
class Plain {
 public:
  Plain(const RouterParams& p, const float* logits, const std::vector<float>& bias) : p_(p) {
    double sum = 0;
    for (int64_t e = 0; e < p.n_experts; ++e) {
      const double z = logits[e];
      double s = std::exp(z);
      if (p.gating == Gating::kSigmoid) s = 1 / (1 + std::exp(-z));
      if (p.gating == Gating::kSqrtSoftplus) s = std::sqrt(std::log1p(std::exp(z)));
      scores_.push_back(s);
      sum += s;
    }
    if (p.gating == Gating::kSoftmax) {
      for (double& s : scores_) s /= sum;
    }
    ranks_ = scores_;
    for (size_t e = 0; e < bias.size(); ++e) ranks_[e] += bias[e];
    best_of_group_ = p.gating == Gating::kSoftmax && bias.empty();
  }

  std::vector<int32_t> experts() const {
    const int64_t size = p_.n_experts / p_.n_groups;
    std::vector<std::pair<double, int64_t>> groups;
    for (int64_t g = 0; g < p_.n_groups; ++g) {
      std::vector<double> in(ranks_.begin() + g * size, ranks_.begin() + (g + 1) * size);
      std::sort(in.rbegin(), in.rend());
      groups.push_back({-(in[0] + (best_of_group_ || size < 2 ? 0.0 : in[1])), g});
    }
    std::sort(groups.begin(), groups.end());
    std::vector<std::pair<double, int32_t>> all;
    for (int64_t g = 0; g < p_.n_groups_used; ++g) {
      const int64_t first = groups[static_cast<size_t>(g)].second * size;
      for (int64_t e = first; e < first + size; ++e) {
        all.push_back({-ranks_[static_cast<size_t>(e)], static_cast<int32_t>(e)});
      }
    }
    std::sort(all.begin(), all.end());
    std::vector<int32_t> out;
    for (int64_t i = 0; i < p_.n_used; ++i) out.push_back(all[static_cast<size_t>(i)].second);
    return out;
  }

  std::vector<double> weights(const int32_t* experts) const {
    std::vector<double> out;
    double sum = 0;
    for (int64_t i = 0; i < p_.n_used; ++i) {
      out.push_back(scores_[static_cast<size_t>(experts[i])]);
      sum += out.back();
    }
    for (double& w : out) w = (p_.norm_weights ? w / sum : w) * p_.weight_scale;
    return out;
  }

 private:
  RouterParams p_;
  std::vector<double> scores_;
  std::vector<double> ranks_;
  bool best_of_group_ = false;
};

// Goal: every way of scoring, with and without groups, bias and normalisation, chooses and weighs
// as the formulas in double do, on any number of threads; given experts get the same weights.
TEST(Router, EqualsPlainFormulas) {
  struct Case {
    RouterParams params;
    bool bias;
  };
  const Case cases[] = {
      {{Gating::kSoftmax, 64, 6}, false},                       // V2-Lite
      {{Gating::kSoftmax, 160, 6, 8, 3, false, 16.0f}, false},  // V2
      {{Gating::kSoftmax, 32, 4, 4, 2, true, 2.0f}, true},
      {{Gating::kSigmoid, 256, 8, 8, 4, true, 2.5f}, true},  // V3
      {{Gating::kSigmoid, 256, 8, 8, 4, true, 2.5f}, false},
      {{Gating::kSigmoid, 8, 2, 8, 3, true, 1.0f}, true},         // groups of one
      {{Gating::kSqrtSoftplus, 384, 6, 1, 1, true, 2.5f}, true},  // V4
      {{Gating::kSqrtSoftplus, 7, 7, 1, 1, true, 1.5f}, false},   // all of them
  };
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  constexpr int64_t kRows = 40;
  for (const Case& c : cases) {
    const RouterParams& p = c.params;
    std::vector<float> logits(static_cast<size_t>(kRows * p.n_experts));
    for (float& v : logits) v = 3 * normal(random);
    std::vector<float> bias(static_cast<size_t>(c.bias ? p.n_experts : 0));
    for (float& v : bias) v = normal(random);
    const Routed got = route_rows(logits, p, bias);
    const Routed threaded = route_rows(logits, p, bias, 3);
    EXPECT_EQ(got.experts, threaded.experts);
    EXPECT_EQ(got.weights, threaded.weights);
    ThreadPool pool(2);
    std::vector<float> given(got.weights.size());
    route_given(logits.data(), kRows, p, got.experts.data(), given.data(), pool);
    EXPECT_EQ(given, got.weights);
    for (int64_t r = 0; r < kRows; ++r) {
      const Plain plain(p, logits.data() + r * p.n_experts, bias);
      const int32_t* experts = got.experts.data() + r * p.n_used;
      ASSERT_EQ(std::vector<int32_t>(experts, experts + p.n_used), plain.experts()) << r;
      const std::vector<double> weights = plain.weights(experts);
      for (int64_t i = 0; i < p.n_used; ++i) {
        const double expected = weights[static_cast<size_t>(i)];
        ASSERT_NEAR(got.weights[static_cast<size_t>(r * p.n_used + i)], expected,
                    1e-5 * expected + 1e-9);
      }
    }
  }
}

// Goal: experts outside the chosen groups are out even when every score with its bias is negative
// (a mask of zeros would prefer them), and a group's rank is the sum of its two best.
TEST(Router, MasksGroupsOfNegativeScores) {
  const RouterParams p{Gating::kSigmoid, 6, 2, 3, 1, true, 1.0f};
  const std::vector<float> logits(6, 0.0f);  // every score is 0.5
  const std::vector<float> bias = {-3.0f, -9.0f, -5.0f, -4.0f, -5.5f, -5.5f};
  // Groups rank -11 = 1 - 3 - 9, -8, -10.
  const Routed got = route_rows(logits, p, bias);
  EXPECT_EQ(got.experts, (std::vector<int32_t>{3, 2}));
  EXPECT_EQ(got.weights, (std::vector<float>{0.5f, 0.5f}));
}

// Goal: softmax without a bias ranks groups by their best expert, with one by the two best.
TEST(Router, GroupRankDependsOnBias) {
  const RouterParams p{Gating::kSoftmax, 4, 2, 2, 1};
  const std::vector<float> logits = {2.0f, -4.0f, 1.8f, 1.7f};
  EXPECT_EQ(route_rows(logits, p).experts, (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(route_rows(logits, p, {0, 0, 0, 0}).experts, (std::vector<int32_t>{2, 3}));
}

// Goal: of equal scores, and of equal groups, the lower index wins.
TEST(Router, LowerIndexWinsTies) {
  RouterParams p{Gating::kSigmoid, 8, 3};
  EXPECT_EQ(route_rows(std::vector<float>(8, 1.0f), p).experts, (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(route_rows({0, 1, 0, 1, 0, 1, 0, 1}, p).experts, (std::vector<int32_t>{1, 3, 5}));
  p.n_groups = 4;
  p.n_groups_used = 2;
  EXPECT_EQ(route_rows({0, 0, 1, 1, 0, 0, 1, 1}, p).experts, (std::vector<int32_t>{2, 3, 6}));
  EXPECT_EQ(route_rows(std::vector<float>(8, 0.0f), p).experts, (std::vector<int32_t>{0, 1, 2}));
}

// Goal: values that are no numbers, and infinite ones, choose valid and different experts of the
// groups that remain, and come last.
TEST(Router, SurvivesNaNs) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> odd = {nan, inf, -inf, 1.0f, nan, -inf, 2.0f, inf};
  for (const Gating gating : {Gating::kSoftmax, Gating::kSigmoid, Gating::kSqrtSoftplus}) {
    for (const int64_t groups : {1, 4}) {
      const RouterParams p{gating, 8, 4, groups, groups == 1 ? 1 : 2, true, 1.0f};
      for (const float all : {nan, inf, -inf}) {
        const Routed got = route_rows(std::vector<float>(8, all), p);
        EXPECT_EQ(got.experts, (std::vector<int32_t>{0, 1, 2, 3}));
      }
      for (const std::vector<float>& bias : {std::vector<float>{}, odd}) {
        std::vector<int32_t> experts = route_rows(odd, p, bias).experts;
        std::sort(experts.begin(), experts.end());
        EXPECT_TRUE(std::adjacent_find(experts.begin(), experts.end()) == experts.end());
        EXPECT_TRUE(experts.front() >= 0 && experts.back() < 8);
      }
    }
  }
  const RouterParams p{Gating::kSigmoid, 8, 5};
  EXPECT_EQ(route_rows(odd, p).experts, (std::vector<int32_t>{1, 7, 6, 3, 2}));
}

// Goal: large logits keep their scores finite: e^z would overflow.
TEST(Router, LargeLogits) {
  RouterParams p{Gating::kSqrtSoftplus, 3, 2};
  EXPECT_EQ(route_rows({400.0f, 100.0f, -400.0f}, p).weights, (std::vector<float>{20.0f, 10.0f}));
  p.gating = Gating::kSoftmax;
  EXPECT_EQ(route_rows({400.0f, 100.0f, -400.0f}, p).weights, (std::vector<float>{1.0f, 0.0f}));
  p.gating = Gating::kSigmoid;  // all scores are zero: so are the weights
  p.norm_weights = true;
  EXPECT_EQ(route_rows({-400.0f, -400.0f, -400.0f}, p).weights, (std::vector<float>{0.0f, 0.0f}));
}

}  // namespace
}  // namespace hadal
