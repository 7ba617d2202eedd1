#include "app/turns.h"

#include <utility>

namespace hadal {
namespace {

class TurnTakingDrafter final : public Drafter {
 public:
  TurnTakingDrafter(std::unique_ptr<Drafter> drafter, Turns& turns)
      : drafter_(std::move(drafter)), turns_(turns) {}
  double cost_per_token() const override { return drafter_->cost_per_token(); }
  bool computes_in_pages() const override { return drafter_->computes_in_pages(); }
  double prior(int kind) const override { return drafter_->prior(kind); }
  void propose(std::span<const DraftTask> tasks) override {
    const Turn turn(turns_);
    drafter_->propose(tasks);
  }
  void forget(RequestId id) override { drafter_->forget(id); }

 private:
  std::unique_ptr<Drafter> drafter_;
  Turns& turns_;
};

}  // namespace

void Turns::take() {
  const MutexLock lock(mu_);
  const uint64_t mine = next_++;
  while (served_ != mine) changed_.wait(mu_);
}

void Turns::give() {
  const MutexLock lock(mu_);
  ++served_;
  if (served_ != next_) changed_.notify_all();
}

Status TurnTakingModel::forward(const Batch& batch, KvPool& kv, std::span<float> logits) {
  const Turn turn(turns_);
  return model_.forward(batch, kv, logits);
}

Status TurnTakingModel::predict(const Batch& batch, KvPool& kv, std::span<float> logits) {
  const Turn turn(turns_);
  return model_.predict(batch, kv, logits);
}

std::unique_ptr<Drafter> take_turns(std::unique_ptr<Drafter> drafter, Turns& turns) {
  if (drafter == nullptr) return nullptr;
  return std::make_unique<TurnTakingDrafter>(std::move(drafter), turns);
}

}  // namespace hadal
