#pragma once
/// DetachedGeneration: an answer that is made while nobody waits for it. Its writer gets the whole
/// answer, or its parts if the plan streams, or the failure, and does with it what it wants; the
/// bytes that it gives are dropped.
///
///   engine thread: sink --> inbox --work--> worker thread: Generation --> ReplyWriter
#include <deque>
#include <functional>
#include <memory>

#include "base/mutex.h"
#include "net/exchange.h"
#include "serve/directory.h"
#include "serve/generation.h"

namespace hadal {

/// Thread-safe. Kept alive by what still runs for it.
class DetachedGeneration {
 public:
  /// Ends an answer early: its writer gets what there is, before the call returns.
  using Cancel = std::function<void()>;

  /// Starts; on an error nothing is left running. Calls `started` before the writer hears of
  /// anything. `peer` lends its server's worker threads.
  static Checked start(const PeerRef& peer, const ServedRef& served, GenerationPlan plan,
                       UniqueFunction<void(Cancel cancel)> started);

  DetachedGeneration(const PeerRef& peer, const ServedRef& served, GenerationPlan plan);

 private:
  class Sink;
  using Event = UniqueFunction<void(Generation&)>;
  using Ref = std::shared_ptr<DetachedGeneration>;  // many threads may be last; tidy: allow

  /// Hands an event over, in order.
  static void post(const Ref& self, Event event);
  static void drain(const Ref& self);
  void settle() REQUIRES(generation_mutex_);
  void stop();

  const PeerRef peer_;
  const ServedRef served_;  ///< outlives generation_
  Mutex inbox_mutex_;
  std::deque<Event> inbox_ GUARDED_BY(inbox_mutex_);
  bool draining_ GUARDED_BY(inbox_mutex_) = false;
  Mutex generation_mutex_;
  Generation generation_ GUARDED_BY(generation_mutex_);
  bool settled_ GUARDED_BY(generation_mutex_) = false;  ///< the writer has heard the end
};

}  // namespace hadal
