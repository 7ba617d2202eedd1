#pragma once
/// Turns: who may use the processor's cores. Every loaded model has threads for all of them, so two
/// models that computed at once would only take cores from each other; they take turns, one forward
/// pass at a time, in the order in which they asked.
#include <cstdint>
#include <memory>

#include "base/mutex.h"
#include "engine/drafter.h"
#include "model/model.h"

namespace hadal {

/// Thread-safe.
class Turns {
 public:
  /// Waits for the turn of this thread.
  void take();
  void give();

 private:
  Mutex mu_;
  CondVar changed_;
  uint64_t next_ GUARDED_BY(mu_) = 0;
  uint64_t served_ GUARDED_BY(mu_) = 0;
};

/// A turn, for as long as it lives.
class Turn {
 public:
  explicit Turn(Turns& turns) : turns_(turns) { turns_.take(); }
  ~Turn() { turns_.give(); }
  Turn(const Turn&) = delete;

 private:
  Turns& turns_;
};

/// `model`, whose passes wait for their turn. Borrows both.
class TurnTakingModel final : public ForwardModel {
 public:
  TurnTakingModel(ForwardModel& model, Turns& turns) : model_(model), turns_(turns) {}
  int64_t n_vocab() const override { return model_.n_vocab(); }
  int64_t n_ctx_train() const override { return model_.n_ctx_train(); }
  KvLayout kv_layout() const override { return model_.kv_layout(); }
  Status forward(const Batch& batch, KvPool& kv, std::span<float> logits) override;
  bool predicts() const override { return model_.predicts(); }
  Status predict(const Batch& batch, KvPool& kv, std::span<float> logits) override;

 private:
  ForwardModel& model_;
  Turns& turns_;
};

/// A drafter whose guesses wait for their turn. Null for null.
std::unique_ptr<Drafter> take_turns(std::unique_ptr<Drafter> drafter, Turns& turns);

}  // namespace hadal
