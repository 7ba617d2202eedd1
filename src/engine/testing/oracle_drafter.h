#pragma once
/// A Drafter for tests that knows what FakeModel says next, and lies as often as it is told to.
#include <vector>

#include "engine/drafter.h"
#include "engine/testing/fake_model.h"

namespace hadal::testing {

/// Proposes the right token with probability `truth`, else any token. `cost`: see Drafter.
class OracleDrafter final : public Drafter {
 public:
  OracleDrafter(double truth, double cost) : truth_(truth), cost_(cost) {}
  double cost_per_token() const override { return cost_; }
  double prior(int) const override { return 0.5; }
  void propose(std::span<const DraftTask> tasks) override {
    for (const DraftTask& task : tasks) {
      std::vector<TokenId> text(task.tokens.begin(), task.tokens.end());
      Sampler sampler = task.sampler->fork();
      for (int64_t i = 0; i < task.most; ++i) {
        std::vector<float> logits = FakeModel::logits_after(text);
        const Result<Sampled> sampled = sampler.sample(logits, {});
        if (!sampled.ok()) break;  // the row's own parameters rule everything out
        TokenId id = sampled.value().id;
        hash_ = hash_step(hash_, 3);
        if (static_cast<double>(hash_ % 1000) >= truth_ * 1000) {
          id = static_cast<TokenId>((hash_ >> 32) % FakeModel::kVocab);
        }
        task.draft->add(id);
        text.push_back(id);
      }
    }
  }
  void forget(RequestId) override {}

 private:
  double truth_;
  double cost_;
  uint64_t hash_ = 1;
};

}  // namespace hadal::testing
