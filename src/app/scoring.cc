#include "app/scoring.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "app/sequence_runner.h"

namespace hadal {
namespace {

/// Positions whose logits are held at once.
constexpr size_t kRows = 64;

/// ln of the sum of exponentials, and the maximum it is taken relative to.
double log_sum_exp(std::span<const float> logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - top));
  return std::log(sum) + static_cast<double>(top);
}

size_t index_of_max(std::span<const float> logits) {
  return static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

std::span<const float> row_of(const std::vector<float>& logits, size_t row, size_t n_vocab) {
  return std::span(logits).subspan(row * n_vocab, n_vocab);
}

Error too_short(size_t count) {
  return Error{Code::kInvalidArgument,
               fmt::format("the text has {} tokens; there is nothing to score", count),
               "give a longer text"};
}

}  // namespace

std::vector<std::vector<TokenId>> cut_windows(std::span<const TokenId> ids,
                                              const Tokenizer& tokenizer, int64_t ctx) {
  std::vector<TokenId> head;
  if (tokenizer.adds_bos() && tokenizer.bos().has_value()) head.push_back(*tokenizer.bos());
  const size_t body = static_cast<size_t>(ctx) - head.size();
  std::vector<std::vector<TokenId>> windows;
  for (size_t begin = 0; begin < ids.size(); begin += body) {
    std::vector<TokenId> window = head;
    const auto piece = ids.subspan(begin, std::min(body, ids.size() - begin));
    window.insert(window.end(), piece.begin(), piece.end());
    if (window.size() >= 2) windows.push_back(std::move(window));
  }
  return windows;
}

double negative_log_likelihood(std::span<const float> logits, TokenId target) {
  return log_sum_exp(logits) - static_cast<double>(logits[static_cast<size_t>(target)]);
}

double kl_divergence(std::span<const float> p_logits, std::span<const float> q_logits) {
  CHECK(p_logits.size() == q_logits.size());
  const double p_norm = log_sum_exp(p_logits);
  const double q_norm = log_sum_exp(q_logits);
  double sum = 0;
  for (size_t i = 0; i < p_logits.size(); ++i) {
    const double log_p = static_cast<double>(p_logits[i]) - p_norm;
    const double log_q = static_cast<double>(q_logits[i]) - q_norm;
    sum += std::exp(log_p) * (log_p - log_q);
  }
  return std::max(sum, 0.0);  // rounding may leave -1e-17 for equal rows
}

Result<Perplexity> measure_perplexity(LoadedModel& model, std::span<const TokenId> ids,
                                      const WindowOptions& options) {
  const auto windows = cut_windows(ids, *model.tokenizer, options.ctx);
  if (windows.empty()) return too_short(ids.size());
  const auto n_vocab = static_cast<size_t>(model.model->n_vocab());
  SequenceRunner runner(*model.model, options.ctx);
  std::vector<float> logits;
  double sum = 0;
  int64_t tokens = 0;
  for (size_t w = 0; w < windows.size(); ++w) {
    const std::span<const TokenId> window = windows[w];
    runner.clear();
    for (size_t begin = 0; begin + 1 < window.size(); begin += kRows) {
      const size_t rows = std::min(kRows, window.size() - 1 - begin);
      logits.resize(rows * n_vocab);
      TRY_STATUS(runner.append_all(window.subspan(begin, rows), logits));
      std::vector<double> scores(rows);
      model.pool->parallel_for(static_cast<int64_t>(rows), 1, [&](int64_t from, int64_t to) {
        for (auto r = static_cast<size_t>(from); r < static_cast<size_t>(to); ++r) {
          scores[r] = negative_log_likelihood(row_of(logits, r, n_vocab), window[begin + r + 1]);
        }
      });
      for (const double score : scores)
        sum += score;  // in order: the same result on any number of threads
      tokens += static_cast<int64_t>(rows);
    }
    if (options.progress)
      options.progress(static_cast<int64_t>(w + 1), static_cast<int64_t>(windows.size()));
  }
  return Perplexity{std::exp(sum / static_cast<double>(tokens)), tokens};
}

Result<Divergence> measure_divergence(LoadedModel& model, LoadedModel& base,
                                      std::span<const TokenId> ids, const WindowOptions& options) {
  if (model.model->n_vocab() != base.model->n_vocab()) {
    return Error{Code::kInvalidArgument,
                 fmt::format("the vocabularies differ: {} and {} tokens", model.model->n_vocab(),
                             base.model->n_vocab()),
                 "compare two files of the same model"};
  }
  const auto windows = cut_windows(ids, *base.tokenizer, options.ctx);
  if (windows.empty()) return too_short(ids.size());
  const auto n_vocab = static_cast<size_t>(base.model->n_vocab());
  SequenceRunner model_runner(*model.model, options.ctx);
  SequenceRunner base_runner(*base.model, options.ctx);
  std::vector<float> model_logits;
  std::vector<float> base_logits;
  std::vector<double> divergences;
  int64_t agreed = 0;
  double model_surprise = 0;
  double base_surprise = 0;
  for (size_t w = 0; w < windows.size(); ++w) {
    const std::span<const TokenId> window = windows[w];
    model_runner.clear();
    base_runner.clear();
    for (size_t begin = 0; begin + 1 < window.size(); begin += kRows) {
      const size_t rows = std::min(kRows, window.size() - 1 - begin);
      model_logits.resize(rows * n_vocab);
      base_logits.resize(rows * n_vocab);
      TRY_STATUS(model_runner.append_all(window.subspan(begin, rows), model_logits));
      TRY_STATUS(base_runner.append_all(window.subspan(begin, rows), base_logits));
      const size_t first = divergences.size();
      divergences.resize(first + rows);
      std::vector<uint8_t> same(rows);
      std::vector<double> surprise(2 * rows);
      base.pool->parallel_for(static_cast<int64_t>(rows), 1, [&](int64_t from, int64_t to) {
        for (auto r = static_cast<size_t>(from); r < static_cast<size_t>(to); ++r) {
          const auto p = row_of(base_logits, r, n_vocab);
          const auto q = row_of(model_logits, r, n_vocab);
          divergences[first + r] = kl_divergence(p, q);
          same[r] = index_of_max(p) == index_of_max(q) ? 1 : 0;
          const TokenId target = window[begin + r + 1];
          surprise[2 * r] = negative_log_likelihood(q, target);
          surprise[2 * r + 1] = negative_log_likelihood(p, target);
        }
      });
      agreed += std::count(same.begin(), same.end(), uint8_t{1});
      for (size_t r = 0; r < rows; ++r) {
        model_surprise += surprise[2 * r];
        base_surprise += surprise[2 * r + 1];
      }
    }
    if (options.progress)
      options.progress(static_cast<int64_t>(w + 1), static_cast<int64_t>(windows.size()));
  }
  Divergence out;
  out.tokens = static_cast<int64_t>(divergences.size());
  const auto count = static_cast<double>(out.tokens);
  for (const double divergence : divergences) out.mean_kld += divergence / count;
  const auto rank = static_cast<size_t>(std::ceil(0.99 * count)) - 1;
  std::nth_element(divergences.begin(), divergences.begin() + static_cast<std::ptrdiff_t>(rank),
                   divergences.end());
  out.p99_kld = divergences[rank];
  out.top1_agreement = static_cast<double>(agreed) / count;
  out.perplexity = std::exp(model_surprise / count);
  out.base_perplexity = std::exp(base_surprise / count);
  return out;
}

}  // namespace hadal
