#include "kernels/router.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace hadal {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr float kSumMin = 1e-20f;  // keeps a sum of zeros from dividing
// Rows of one piece of work: some ten microseconds.
constexpr int64_t kRowsPerPiece = 8;

void check(const RouterParams& p) {
  CHECK(p.n_experts <= kRouterExpertsMax);
  CHECK(p.n_used >= 1 && p.n_used <= p.n_experts);
  CHECK(p.n_groups >= 1 && p.n_experts % p.n_groups == 0);
  CHECK(p.n_groups_used >= 1 && p.n_groups_used <= p.n_groups);
  CHECK(p.n_experts / p.n_groups * p.n_groups_used >= p.n_used);
}

void softmax(const float* logits, int64_t n, float* scores) {
  float top = kLowest;
  for (int64_t e = 0; e < n; ++e) top = logits[e] > top ? logits[e] : top;
  double sum = 0;
  for (int64_t e = 0; e < n; ++e) {
    scores[e] = std::exp(logits[e] - top);
    sum += scores[e];
  }
  for (int64_t e = 0; e < n; ++e) scores[e] = static_cast<float>(scores[e] / sum);
}

void score(Gating gating, const float* logits, int64_t n, float* scores) {
  switch (gating) {
    case Gating::kSoftmax:
      return softmax(logits, n, scores);
    case Gating::kSigmoid:
      for (int64_t e = 0; e < n; ++e) scores[e] = 1.0f / (1.0f + std::exp(-logits[e]));
      return;
    case Gating::kSqrtSoftplus:
      // Beyond 20 the logarithm is its argument to the last bit of a float.
      for (int64_t e = 0; e < n; ++e) {
        scores[e] = std::sqrt(logits[e] > 20.0f ? logits[e] : std::log1p(std::exp(logits[e])));
      }
      return;
  }
}

/// The `count` largest of n ranks into `chosen`, best first. NaN: not to be chosen.
void choose(const float* ranks, int64_t n, int64_t count, int32_t* chosen) {
  int64_t filled = 0;
  for (int64_t e = 0; e < n; ++e) {
    const float rank = ranks[e];
    if (std::isnan(rank) || (filled == count && !(rank > ranks[chosen[count - 1]]))) continue;
    int64_t at = filled < count ? filled++ : count - 1;
    for (; at > 0 && rank > ranks[chosen[at - 1]]; --at) chosen[at] = chosen[at - 1];
    chosen[at] = static_cast<int32_t>(e);
  }
  CHECK(filled == count);
}

/// How good a group of experts is.
float group_rank(const float* ranks, int64_t n, bool two) {
  float best = kLowest;
  float second = kLowest;
  for (int64_t e = 0; e < n; ++e) {
    if (ranks[e] > best) {
      second = best;
      best = ranks[e];
    } else if (ranks[e] > second) {
      second = ranks[e];
    }
  }
  return two && n > 1 ? best + second : best;
}

/// The ranks of experts in groups that are not used become NaN.
void mask_groups(const RouterParams& p, bool two, float* ranks) {
  const int64_t size = p.n_experts / p.n_groups;
  float of_group[kRouterExpertsMax];
  int32_t used[kRouterExpertsMax];
  for (int64_t g = 0; g < p.n_groups; ++g) {
    const float rank = group_rank(ranks + g * size, size, two);
    of_group[g] = std::isnan(rank) ? kLowest : rank;  // infinities of both signs
  }
  choose(of_group, p.n_groups, p.n_groups_used, used);
  for (int64_t g = 0; g < p.n_groups; ++g) {
    if (std::find(used, used + p.n_groups_used, g) != used + p.n_groups_used) continue;
    std::fill_n(ranks + g * size, size, std::numeric_limits<float>::quiet_NaN());
  }
}

void choose_experts(const RouterParams& p, const float* scores, const float* bias,
                    int32_t* experts) {
  float ranks[kRouterExpertsMax];
  for (int64_t e = 0; e < p.n_experts; ++e) {
    const float rank = bias != nullptr ? scores[e] + bias[e] : scores[e];
    ranks[e] = std::isnan(rank) ? kLowest : rank;
  }
  if (p.n_groups_used < p.n_groups) {
    mask_groups(p, p.gating != Gating::kSoftmax || bias != nullptr, ranks);
  }
  choose(ranks, p.n_experts, p.n_used, experts);
}

void weigh(const RouterParams& p, const float* scores, const int32_t* experts, float* weights) {
  float sum = 0;
  for (int64_t i = 0; i < p.n_used; ++i) {
    weights[i] = scores[experts[i]];
    sum += weights[i];
  }
  for (int64_t i = 0; i < p.n_used; ++i) {
    if (p.norm_weights) weights[i] /= sum + kSumMin;
    weights[i] *= p.weight_scale;
  }
}

}  // namespace

void route(const float* logits, int64_t n, const RouterParams& params, const float* bias,
           int32_t* experts, float* weights, ThreadPool& pool) {
  check(params);
  pool.parallel_for(n, kRowsPerPiece, [&](int64_t begin, int64_t end) {
    float scores[kRouterExpertsMax];
    for (int64_t r = begin; r < end; ++r) {
      int32_t* chosen = experts + r * params.n_used;
      score(params.gating, logits + r * params.n_experts, params.n_experts, scores);
      choose_experts(params, scores, bias, chosen);
      weigh(params, scores, chosen, weights + r * params.n_used);
    }
  });
}

void route_given(const float* logits, int64_t n, const RouterParams& params, const int32_t* experts,
                 float* weights, ThreadPool& pool) {
  check(params);
  pool.parallel_for(n, kRowsPerPiece, [&](int64_t begin, int64_t end) {
    float scores[kRouterExpertsMax];
    for (int64_t r = begin; r < end; ++r) {
      const int32_t* chosen = experts + r * params.n_used;
      for (int64_t i = 0; i < params.n_used; ++i) {
        CHECK(chosen[i] >= 0 && chosen[i] < params.n_experts);
      }
      score(params.gating, logits + r * params.n_experts, params.n_experts, scores);
      weigh(params, scores, chosen, weights + r * params.n_used);
    }
  });
}

}  // namespace hadal
