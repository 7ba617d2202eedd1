/// A small model as drafter. Its keys and values follow each row's tokens; what a row did not take
/// of a guess is overwritten by the next pass.
#include <algorithm>
#include <limits>
#include <unordered_map>

#include "base/check.h"
#include "base/log.h"
#include "engine/drafter.h"

namespace hadal {
namespace {

/// Tokens that a row is behind (its prompt at first) are computed in chunks of so many per step,
/// for all rows together: nobody's next token should wait long for guesses.
constexpr int64_t kCatchUpTokens = 256;

class ModelDrafter final : public Drafter {
 public:
  ModelDrafter(ForwardModel& model, const ModelDrafterOptions& options)
      : model_(model), options_(options), kv_(model.kv_layout(), options.n_ctx, options.rows) {
    for (PageId page = 0; page < options.rows; ++page) free_.push_back(page);
  }

  double cost_per_token() const override { return options_.cost_per_token; }
  double prior(int) const override { return 0.6; }

  void propose(std::span<const DraftTask> tasks) override {
    active_.clear();
    clear_batch();
    catch_up(tasks);
    while (!batch_.rows.empty() && forward()) continue_drafts();
  }

  void forget(RequestId id) override {
    const auto found = rows_.find(id);
    if (found == rows_.end()) return;
    free_.push_back(found->second.page);
    rows_.erase(found);
  }

 private:
  struct Row {
    PageId page = 0;
    std::vector<TokenId> fed;  ///< tokens whose keys and values are in the page
    size_t sure = 0;           ///< of them, tokens that the text is known to have
  };
  /// A row whose draft is being made.
  struct Active {
    const DraftTask* task;
    Row* row;
    Sampler sampler;
  };

  /// Nothing when all pages are taken.
  Row* row_of(RequestId id) {
    const auto found = rows_.find(id);
    if (found != rows_.end()) return &found->second;
    if (free_.empty()) return nullptr;
    Row& row = rows_[id];
    row.page = free_.back();
    free_.pop_back();
    return &row;
  }

  /// Ids that only one of the models knows cannot be computed, or proposed.
  bool knows(TokenId id) const { return id < model_.n_vocab(); }

  /// Forgets guesses that did not come true.
  static void roll_back(const DraftTask& task, Row& row) {
    const size_t length = task.tokens.size();
    size_t same = row.sure;
    while (same < row.fed.size() && same < length && row.fed[same] == task.tokens[same]) ++same;
    row.fed.resize(same);
    row.sure = same;
  }

  void clear_batch() {
    batch_.rows.clear();
    batch_.sequences.clear();
  }

  void add_to_batch(Row& row, TokenId token, bool wants_logits) {
    batch_.rows.push_back({.token = token,
                           .position = static_cast<int32_t>(row.fed.size()),
                           .sequence = static_cast<int32_t>(batch_.sequences.size()) - 1,
                           .wants_logits = wants_logits});
    row.fed.push_back(token);
  }

  void catch_up(std::span<const DraftTask> tasks) {
    int64_t left = kCatchUpTokens;
    for (const DraftTask& task : tasks) {
      const size_t length = task.tokens.size();
      if (static_cast<int64_t>(length) + task.most > options_.n_ctx) continue;
      Row* row = row_of(task.id);
      if (row == nullptr || left == 0) continue;
      roll_back(task, *row);
      CHECK(row->fed.size() < length);  // the newest token was not there yet
      if (!knows(task.tokens[row->fed.size()])) continue;
      batch_.sequences.push_back({std::span(&row->page, 1)});
      while (row->fed.size() < length && left > 0) {
        const size_t at = row->fed.size();
        if (!knows(task.tokens[at])) break;
        add_to_batch(*row, task.tokens[at], at + 1 == length);
        --left;
      }
      row->sure = row->fed.size();
      if (row->sure == length) active_.push_back({&task, row, task.sampler->fork()});
    }
  }

  /// False: there is no more to draft, or the pass failed.
  bool forward() {
    const size_t n_vocab = static_cast<size_t>(model_.n_vocab());
    logits_.resize(active_.size() * n_vocab);
    const Status status = model_.forward(batch_, kv_, logits_);
    clear_batch();
    if (status.ok()) return !active_.empty();
    log_event(LogLevel::kWarn, "draft_failed", {{"error", status.error().message}});
    for (auto& [id, row] : rows_) row = {.page = row.page, .fed = {}, .sure = 0};
    return false;
  }

  /// Draws a token for each row behind the last pass, and prepares the next one.
  void continue_drafts() {
    const size_t n_vocab = static_cast<size_t>(model_.n_vocab());
    std::span<const float> rest = logits_;
    std::erase_if(active_, [&](Active& active) {
      one_.assign(static_cast<size_t>(options_.n_vocab), -std::numeric_limits<float>::infinity());
      std::copy_n(rest.begin(), std::min(n_vocab, one_.size()), one_.begin());
      rest = rest.subspan(n_vocab);
      const Result<Sampled> sampled = active.sampler.sample(one_, {});
      if (!sampled.ok()) return true;
      Draft& draft = *active.task->draft;
      draft.add(sampled.value().id);
      if (draft.count >= active.task->most) return true;
      batch_.sequences.push_back({std::span(&active.row->page, 1)});
      add_to_batch(*active.row, sampled.value().id, true);
      return false;
    });
  }

  ForwardModel& model_;
  const ModelDrafterOptions options_;
  KvPool kv_;
  std::vector<PageId> free_;
  std::unordered_map<RequestId, Row> rows_;
  // Kept to save allocations.
  Batch batch_;
  std::vector<Active> active_;
  std::vector<float> logits_;
  std::vector<float> one_;  ///< a row of logits for the served model's vocabulary
};

}  // namespace

std::unique_ptr<Drafter> make_model_drafter(ForwardModel& model,
                                            const ModelDrafterOptions& options) {
  return std::make_unique<ModelDrafter>(model, options);
}

}  // namespace hadal
