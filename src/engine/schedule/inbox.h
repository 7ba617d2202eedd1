#pragma once
/// Inbox: the border between callers' threads and the engine's thread. Everything that crosses it
/// is here, under one mutex: waiting requests, cancellations, the stop flag and the counters.
#include <deque>
#include <memory>
#include <unordered_set>
#include <vector>

#include "base/mutex.h"
#include "engine/engine.h"
#include "engine/schedule/row.h"

namespace hadal {

/// What the engine's thread takes at the start of a step.
struct InboxWork {
  std::vector<std::unique_ptr<Row>> admitted;   ///< oldest first
  std::vector<std::unique_ptr<Row>> cancelled;  ///< were still waiting
  std::vector<RequestId> cancelled_running;
  bool stop = false;
};

/// What the scheduler counted since it last reported.
struct StepCounts {
  uint64_t prompt_tokens = 0;
  uint64_t completion_tokens = 0;
  uint64_t steps = 0;
  KvStats kv;  ///< as it is now
};

/// A request is live from push() to retire(), and open until close(): between the two its sink
/// hears of the end. So statistics never show a request whose end was announced, and drain()
/// returns only when the last announcement is over.
class Inbox {
 public:
  explicit Inbox(int max_queue) : max_queue_(max_queue) {}

  // From any thread.
  /// kExhausted when full, kUnavailable after close_door() or stop(); the row is dropped then.
  Status push(std::unique_ptr<Row> row);
  /// Ids that are not live are ignored.
  void cancel(RequestId id);
  void close_door();
  void stop();
  /// True when nothing is open; false when `timeout` passed first.
  bool wait_until_idle(std::chrono::microseconds timeout);
  EngineStats stats() const;

  // From the engine's thread.
  /// Waits until there is something to do, unless `busy`. Admits at most `room` rows.
  InboxWork take(bool busy, int room);
  void retire(RequestId id, bool was_waiting);
  void close();
  void report(const StepCounts& counts);
  /// Waits for a cancellation or the stop, not longer than `timeout`: nothing else can be done.
  void pause(std::chrono::microseconds timeout);

 private:
  bool has_work() const REQUIRES(mu_) { return stop_ || !waiting_.empty() || !cancelled_.empty(); }

  const int max_queue_;
  mutable Mutex mu_;
  CondVar work_;
  CondVar idle_;
  std::deque<std::unique_ptr<Row>> waiting_ GUARDED_BY(mu_);
  std::unordered_set<RequestId> live_ GUARDED_BY(mu_);
  std::unordered_set<RequestId> cancelled_ GUARDED_BY(mu_);  ///< subset of live_
  int open_ GUARDED_BY(mu_) = 0;
  bool closed_ GUARDED_BY(mu_) = false;
  bool stop_ GUARDED_BY(mu_) = false;
  EngineStats stats_ GUARDED_BY(mu_);
};

}  // namespace hadal
