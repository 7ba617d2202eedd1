#pragma once
/// Scheduler: the running batch. One step = one forward pass: a token of every decoding row first,
/// then prompt chunks up to the budget, then sampling and delivery.
///
/// Rows that were admitted wait (oldest first) until there are pages for all their tokens, begin
/// behind the prefix that the cache knows, and get pages as they grow. When there are none, the
/// youngest row is parked: its pages go to the cache, it waits again and goes on later where the
/// cache lets it, with its tokens and its sampler as they were. The oldest row is never parked, so
/// something always moves. Of prompts that continue alike only the oldest is computed; the others
/// take its pages when they are full.
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "engine/kv/kv_cache.h"
#include "engine/schedule/budget.h"
#include "engine/schedule/inbox.h"
#include "engine/schedule/row.h"

namespace hadal {

/// Pages that the options pay for; at least one.
int64_t kv_pages(const EngineOptions& options, const KvLayout& layout);

/// Belongs to the engine's thread.
class Scheduler {
 public:
  Scheduler(ForwardModel& model, const EngineOptions& options, Env& env, Inbox& inbox,
            std::unique_ptr<Drafter> drafter);

  bool busy() const { return !rows_.empty() || !waiting_.empty(); }
  /// Rows that may be admitted now: none while some wait for pages.
  int room() const;

  void admit(std::unique_ptr<Row> row);
  /// Ends a row that was admitted; other ids are ignored.
  void cancel(RequestId id);
  void cancel_all();
  /// False: nothing could be computed, the tier is not ready. REQUIRES: busy().
  bool step();

  /// Offers what is cached to the tier. REQUIRES: not busy().
  void offer_cached() { kv_.offer_all(); }
  void check_integrity() const;

 private:
  /// A row's part of the current batch.
  struct Part {
    Row* row;
    int64_t tokens;
    int64_t logits;  ///< so many of its last tokens want logits
  };
  /// The page of tokens that a row is about to fill.
  struct Claim {
    NodeId tail;
    std::span<const TokenId> page;
  };

  void start_waiting();
  int64_t owed_pages() const;
  bool start(Row& row);
  void continue_loading();
  void plan(int64_t now_micros);
  int64_t plan_prefill(Row& row);
  bool computed_by_older(const Row& row);
  void speculate();
  void reserve_pages();
  void park(size_t index);
  void add_part(Row& row);
  void learn(int64_t micros);
  void fill_batch();
  void deliver(Row& row, std::span<float> logits);
  void deliver_all(const Part& part, std::span<float> logits);
  void deliver_drafted(const Part& part, std::span<float> logits);
  void fail(Row& row, std::span<const float> logits, std::string error);
  void end(Row& row, FinishReason reason, std::string error = {});
  void report();
  void drop_ended();

  ForwardModel& model_;
  const EngineOptions options_;
  Env& env_;
  Inbox& inbox_;
  KvCache kv_;
  std::vector<std::unique_ptr<Row>> rows_;     ///< oldest first; they hold pages
  std::vector<std::unique_ptr<Row>> waiting_;  ///< oldest first; for pages
  int64_t blocked_at_ = -1;  ///< pages at hand when the oldest waiting row found them too few
  StepCounts counts_;        ///< not yet reported
  int64_t computed_at_ = 0;  ///< end of the last forward pass
  StepBudget budget_;
  Speculator speculator_;
  StepLoad load_;  ///< of the current step
  StepGauges gauges_;
  // Of one step, kept to save allocations.
  std::vector<Part> parts_;
  std::vector<Row*> prefills_;
  std::vector<PrefillAsk> asks_;
  std::vector<int64_t> shares_;
  std::vector<Claim> claims_;
  std::vector<SpeculatedRow> speculated_;
  Batch batch_;
  std::vector<float> logits_;
};

}  // namespace hadal
