#pragma once
/// Scheduler: the running batch. One step = one forward pass: a token of every decoding row first,
/// then prompt chunks up to the budget, then sampling and delivery.
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "engine/kv/slots.h"
#include "engine/schedule/inbox.h"
#include "engine/schedule/row.h"
#include "kernels/kv_pool.h"

namespace hadal {

/// How many of `pending` prompt tokens each prefill may compute with `budget` rows: an equal share
/// each, what is left over to the oldest. So a short prompt never waits for a long one to end, and
/// among equals the oldest is done first.
std::vector<int64_t> share_budget(std::span<const int64_t> pending, int64_t budget);

/// Belongs to the engine's thread.
class Scheduler {
 public:
  Scheduler(ForwardModel& model, const EngineOptions& options, Env& env, Inbox& inbox);

  bool busy() const { return !rows_.empty(); }
  int room() const { return slots_.free_count(); }

  void admit(std::unique_ptr<Row> row);
  /// Ends a running row; ids that do not run are ignored.
  void cancel(RequestId id);
  void cancel_all();
  /// REQUIRES: busy().
  void step();

  void check_integrity() const;

 private:
  /// A row's part of the current batch.
  struct Part {
    Row* row;
    int64_t tokens;
    int64_t logits;  ///< so many of its last tokens want logits
  };

  std::vector<Part> plan() const;
  void fill_batch(std::span<const Part> parts);
  void deliver(Row& row, std::span<float> logits);
  void deliver_all(const Part& part, std::span<float> logits);
  void end(Row& row, FinishReason reason, std::string error = {});
  void report();
  void drop_ended();

  ForwardModel& model_;
  const EngineOptions options_;
  Env& env_;
  Inbox& inbox_;
  KvPool kv_;
  SlotTable slots_;
  std::vector<std::unique_ptr<Row>> rows_;  ///< oldest first
  Batch batch_;                             ///< kept to save allocations
  std::vector<float> logits_;
  StepCounts counts_;  ///< not yet reported
};

}  // namespace hadal
