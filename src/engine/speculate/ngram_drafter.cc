/// Prompt lookup (Saxena 2023; LLMA, 2304.04487): copies from the row's own text.
#include <bit>
#include <unordered_map>

#include "engine/drafter.h"
#include "engine/speculate/ngram_index.h"

namespace hadal {
namespace {

/// Longer agreement, better guess: 3 to 7 tokens, to 15, to 31, 32.
int kind_of(int64_t match_length) {
  return std::bit_width(static_cast<uint64_t>(match_length / 8)) >= Draft::kKinds
             ? Draft::kKinds - 1
             : std::bit_width(static_cast<uint64_t>(match_length / 8));
}

class NgramDrafter final : public Drafter {
 public:
  double cost_per_token() const override { return 0; }
  double prior(int kind) const override {
    constexpr double kPriors[Draft::kKinds] = {0.35, 0.5, 0.7, 0.8};
    return kPriors[kind];
  }

  void propose(std::span<const DraftTask> tasks) override {
    for (const DraftTask& task : tasks) propose_one(task, follow(task));
  }

  void forget(RequestId id) override { rows_.erase(id); }

 private:
  /// The row's index with all of its tokens.
  const NgramIndex& follow(const DraftTask& task) {
    NgramIndex& index = rows_[task.id];
    index.append(task.tokens.subspan(index.tokens().size()));
    return index;
  }

  /// Behind the text's end the copy goes on with itself: a repeated pattern repeats.
  static void propose_one(const DraftTask& task, const NgramIndex& index) {
    const NgramIndex::Match match = index.find();
    if (match.length == 0) return;
    task.draft->kind = kind_of(match.length);
    const auto size = static_cast<int64_t>(index.tokens().size());
    for (int64_t i = 0; i < task.most; ++i) {
      const int64_t at = match.next + i;
      task.draft->add(at < size ? index.tokens()[static_cast<size_t>(at)]
                                : task.draft->ids[static_cast<size_t>(at - size)]);
    }
  }

  std::unordered_map<RequestId, NgramIndex> rows_;
};

}  // namespace

std::unique_ptr<Drafter> make_ngram_drafter() {
  return std::make_unique<NgramDrafter>();
}

}  // namespace hadal
