#pragma once
/// Which experts of a mixture a token goes to, and with what weight (2006.16668; 2405.04434 for
/// groups; 2412.19437 for scores with a bias that only the choice sees).
#include <cstdint>

#include "base/thread_pool.h"

namespace hadal {

/// How a router's logit becomes a score.
enum class Gating : uint8_t {
  kSoftmax,       ///< e^z / sum of e^z over all experts
  kSigmoid,       ///< 1 / (1 + e^-z)
  kSqrtSoftplus,  ///< sqrt(ln(1 + e^z))
};

/// Most experts of a layer. Whoever reads a model rejects one with more.
inline constexpr int64_t kRouterExpertsMax = 1024;

struct RouterParams {
  Gating gating = Gating::kSoftmax;
  int64_t n_experts = 0;      ///< at most kRouterExpertsMax
  int64_t n_used = 0;         ///< 1..n_experts
  int64_t n_groups = 1;       ///< divides n_experts
  int64_t n_groups_used = 1;  ///< 1..n_groups: experts of other groups are not chosen
  bool norm_weights = false;  ///< divide a token's weights by their sum
  float weight_scale = 1.0f;  ///< then multiply by this
};

/// For each of n rows of logits (n x n_experts): the n_used experts with the largest scores, best
/// first, and their weights (n x n_used each). `bias` (n_experts values, or null) is added to the
/// scores for the choice, not for the weights. Groups are ranked by their best score where scores
/// are softmax without a bias, else by the sum of their two best. Of equals the lower index wins; a
/// NaN ranks below all else, and gives weights that are NaN. The chosen are always n_used different
/// experts; n_groups_used groups must hold as many.
void route(const float* logits, int64_t n, const RouterParams& params, const float* bias,
           int32_t* experts, float* weights, ThreadPool& pool);

/// The weights alone, for experts (n x n_used) that something else chose, a table for instance.
/// REQUIRES: each in [0, n_experts); a table from a file is checked when it is read.
void route_given(const float* logits, int64_t n, const RouterParams& params, const int32_t* experts,
                 float* weights, ThreadPool& pool);

}  // namespace hadal
