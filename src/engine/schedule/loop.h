#pragma once
/// EngineLoop: what the engine does, without its thread. Engine gives it one; simulations turn it
/// themselves, on virtual time.
#include <memory>

#include "engine/engine.h"
#include "engine/schedule/inbox.h"
#include "engine/schedule/scheduler.h"

namespace hadal {

class EngineLoop {
 public:
  /// Borrows `model` and `env`. `drafter` may be null.
  EngineLoop(ForwardModel& model, const EngineOptions& options, Env& env,
             std::unique_ptr<Drafter> drafter = nullptr);

  const EngineOptions& options() const { return options_; }

  // From any thread; as in Engine.
  Result<RequestId> submit(GenerateRequest request, std::unique_ptr<TokenSink> sink);
  Inbox& inbox() { return inbox_; }

  // From the engine's thread.
  /// Nothing to do until someone submits, cancels or stops.
  bool idle() const { return !scheduler_.busy() && !inbox_.has_work(); }
  /// Takes what came in and makes one step. False: stop() was called, and every request has ended.
  bool turn();

  /// The last turn could only wait for the tier.
  bool stalled() const { return stalled_; }

  /// CHECKs queue, rows and pages. Between two turns.
  void check_integrity() const;

 private:
  void end_waiting(Row& row, FinishReason reason, int64_t wait_estimate);

  ForwardModel& model_;
  const EngineOptions options_;
  Env& env_;
  Inbox inbox_;
  Scheduler scheduler_;
  bool stalled_ = false;
};

}  // namespace hadal
