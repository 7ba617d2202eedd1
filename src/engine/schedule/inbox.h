#pragma once
/// Inbox: the border between callers' threads and the engine's thread. Everything that crosses it
/// is here, under one mutex: waiting requests, cancellations, the stop flag and the counters.
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <unordered_set>
#include <vector>

#include "base/mutex.h"
#include "engine/engine.h"
#include "engine/schedule/queue.h"
#include "engine/schedule/row.h"

namespace hadal {

/// What the engine's thread takes at the start of a step.
struct InboxWork {
  std::vector<std::unique_ptr<Row>> admitted;   ///< in the order of their turns
  std::vector<std::unique_ptr<Row>> cancelled;  ///< were still waiting
  std::vector<std::unique_ptr<Row>> expired;    ///< waited longer than they may
  int64_t wait_estimate = 0;                    ///< of a new request; set when some expired
  std::vector<std::function<void()>> tasks;     ///< one, or with stop all
  std::vector<RequestId> cancelled_running;     ///< oldest first
  bool stop = false;
};

/// What the scheduler counted since it last reported.
struct StepCounts {
  uint64_t prompt_tokens = 0;
  uint64_t completion_tokens = 0;
  uint64_t steps = 0;
  uint64_t drafted_tokens = 0;
  uint64_t accepted_tokens = 0;
  KvStats kv;  ///< as it is now
};

/// The last step, for statistics.
struct StepGauges {
  int64_t budget = 0;  ///< see EngineStats
  int64_t tokens = 0;
  int64_t micros = 0;
  std::array<double, 5> cost = {};
};

/// A request is live from push() to retire(), and open until close(): between the two its sink
/// hears of the end. So statistics never show a request whose end was announced, and drain()
/// returns only when the last announcement is over.
class Inbox {
 public:
  explicit Inbox(const EngineOptions& options) : queue_(options) {}

  // From any thread.
  /// kExhausted when full, kUnavailable after close_door() or stop(); the row is dropped then.
  Status push(std::unique_ptr<Row> row, int64_t now_micros);
  /// Ids that are not live are ignored.
  void cancel(RequestId id);
  /// See Engine::between_steps.
  Status push_task(std::function<void()> task);
  /// What still waits at `deadline_micros` ends with kExpired.
  void close_door(int64_t deadline_micros);
  void stop();
  /// True when nothing is open; false when `timeout` passed first.
  bool wait_until_idle(std::chrono::microseconds timeout);
  EngineStats stats(int64_t now_micros) const;
  /// Something is there for take().
  bool has_work() const;

  // From the engine's thread.
  /// Blocks until there is something to do.
  void wait();
  /// Admits at most `room` rows.
  InboxWork take(int room, int64_t now_micros);
  void retire(const Row& row, bool was_waiting);
  void close();
  void report(const StepCounts& counts, const StepGauges& gauges);
  /// Waits for a cancellation or the stop, not longer than `timeout`: nothing else can be done.
  void pause(std::chrono::microseconds timeout);
  void check_integrity() const;

 private:
  bool work_is_there() const REQUIRES(mu_) {
    return stop_ || queue_.size() > 0 || !cancelled_.empty() || !tasks_.empty();
  }

  mutable Mutex mu_;
  CondVar work_;
  CondVar idle_;
  WaitQueue queue_ GUARDED_BY(mu_);
  std::unordered_set<RequestId> live_ GUARDED_BY(mu_);
  std::set<RequestId> cancelled_ GUARDED_BY(mu_);  ///< subset of live_, oldest first
  std::deque<std::function<void()>> tasks_ GUARDED_BY(mu_);
  int open_ GUARDED_BY(mu_) = 0;
  bool closed_ GUARDED_BY(mu_) = false;
  bool stop_ GUARDED_BY(mu_) = false;
  EngineStats stats_ GUARDED_BY(mu_);
};

}  // namespace hadal
