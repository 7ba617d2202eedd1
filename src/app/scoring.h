#pragma once
/// Scores of a text under one or two models: perplexity and Kullback-Leibler divergence.
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "app/app.h"

namespace hadal {

/// How a text is cut: windows of `ctx` positions that do not overlap, each on its own. When the
/// vocabulary puts a BOS before a text, each window starts with one (it takes one position).
/// Every token of a window after the window's first is scored from all tokens before it. (This
/// counts also the early positions of a window, which some tools leave out: their figures for the
/// same text are lower.) A last window shorter than two tokens is dropped.
struct WindowOptions {
  int64_t ctx = 512;
  /// Windows done, windows in all; may be empty.
  std::function<void(int64_t, int64_t)> progress;
};

std::vector<std::vector<TokenId>> cut_windows(std::span<const TokenId> ids,
                                              const Tokenizer& tokenizer, int64_t ctx);

/// -ln P(target) under the softmax of `logits`, in double.
double negative_log_likelihood(std::span<const float> logits, TokenId target);
/// sum P ln(P / Q) over the softmax of both, in nats.
double kl_divergence(std::span<const float> p_logits, std::span<const float> q_logits);

struct Perplexity {
  double perplexity = 0;
  int64_t tokens = 0;  ///< scored
};
Result<Perplexity> measure_perplexity(LoadedModel& model, std::span<const TokenId> ids,
                                      const WindowOptions& options);

/// How far a model's predictions are from those of `base`.
struct Divergence {
  double mean_kld = 0;        ///< mean over positions of KL(base || model), nats
  double p99_kld = 0;         ///< 99th percentile
  double top1_agreement = 0;  ///< fraction of positions with the same likeliest token
  int64_t tokens = 0;         ///< positions compared: all but the last of each window
  double perplexity = 0;      ///< of `model`, as measure_perplexity()
  double base_perplexity = 0;
};
Result<Divergence> measure_divergence(LoadedModel& model, LoadedModel& base,
                                      std::span<const TokenId> ids, const WindowOptions& options);

}  // namespace hadal
