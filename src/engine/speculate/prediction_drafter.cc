/// The served model's own layer for multi-token prediction as drafter. It computes in the rows' own
/// pages, behind what is confirmed; forward() overwrites that.
#include <algorithm>

#include "base/log.h"
#include "engine/drafter.h"

namespace hadal {
namespace {

class PredictionDrafter final : public Drafter {
 public:
  PredictionDrafter(ForwardModel& model, double cost_per_token)
      : model_(model), cost_per_token_(cost_per_token) {}

  double cost_per_token() const override { return cost_per_token_; }
  /// DeepSeek-V3's layer is right in 85 to 90 % of cases (2412.19437, 5.4.3); guesses that go on
  /// from guesses are worse.
  double prior(int) const override { return 0.7; }
  bool computes_in_pages() const override { return true; }
  void forget(RequestId) override {}

  void propose(std::span<const DraftTask> tasks) override {
    active_.clear();
    for (const DraftTask& task : tasks) {
      if (task.most > 0 && task.tokens.size() > 1) {
        active_.push_back({&task, task.tokens.back(), task.sampler->fork()});
      }
    }
    for (int64_t depth = 0; predict(depth); ++depth) take();
  }

 private:
  /// A row whose draft is being made.
  struct Active {
    const DraftTask* task;
    TokenId last;
    Sampler sampler;
  };

  static bool has_room(const DraftTask& task, int64_t position) {
    return position < static_cast<int64_t>(task.pages.pages.size()) * task.pool->page_tokens();
  }

  /// One more token for each active row; false when there is nothing more to do.
  bool predict(int64_t depth) {
    batch_.rows.clear();
    batch_.sequences.clear();
    std::erase_if(active_, [&](const Active& active) {
      const DraftTask& task = *active.task;
      const int64_t position = static_cast<int64_t>(task.tokens.size()) - 1 + depth;
      if (depth >= task.most || !has_room(task, position)) return true;
      batch_.rows.push_back({.token = active.last,
                             .position = static_cast<int32_t>(position),
                             .sequence = static_cast<int32_t>(batch_.sequences.size()),
                             .wants_logits = true});
      batch_.sequences.push_back(task.pages);
      return false;
    });
    if (active_.empty()) return false;
    logits_.resize(active_.size() * static_cast<size_t>(model_.n_vocab()));
    const Status status = model_.predict(batch_, *active_.front().task->pool, logits_);
    if (status.ok()) return true;
    log_event(LogLevel::kWarn, "draft_failed", {{"error", status.error().message}});
    return false;
  }

  /// Draws from what was predicted, with the random numbers that the rows will use.
  void take() {
    const auto n_vocab = static_cast<size_t>(model_.n_vocab());
    std::span<float> rest = logits_;
    std::erase_if(active_, [&](Active& active) {
      const Result<Sampled> sampled = active.sampler.sample(rest.first(n_vocab), {});
      rest = rest.subspan(n_vocab);
      if (!sampled.ok()) return true;
      active.last = sampled.value().id;
      active.task->draft->add(active.last);
      return false;
    });
  }

  ForwardModel& model_;
  const double cost_per_token_;
  // Kept to save allocations.
  Batch batch_;
  std::vector<Active> active_;
  std::vector<float> logits_;
};

}  // namespace

std::unique_ptr<Drafter> make_prediction_drafter(ForwardModel& model, double cost_per_token) {
  return std::make_unique<PredictionDrafter>(model, cost_per_token);
}

}  // namespace hadal
