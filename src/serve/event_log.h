#pragma once
/// EventLog: the events of an answer that is made in the background, kept so that clients can
/// leave and come back, and the clients that read them now.
///
///   worker thread: append() --post--> network thread: EventFollower --read()--> client
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "net/exchange.h"

namespace hadal {

/// Thread-safe. Events are numbered from 0 without a gap. Bounded by limits::kResponseEventBytes:
/// the first go first.
class EventLog {
 public:
  /// The next event, as it is sent.
  void append(std::string event);
  /// There will be no more.
  void close();

  struct Part {
    std::string bytes = {};  ///< whole events; empty: none yet
    int64_t next = 0;        ///< number of the event behind them
    bool lost = false;       ///< the one asked for is not kept any more
    bool ended = false;      ///< nothing comes behind these
  };
  /// Events from number `from` on: at least one, if there is, and no more once there are
  /// `bytes_max`.
  Part read(int64_t from, size_t bytes_max) const;
  /// Number of the first that is kept.
  int64_t first() const;
  size_t bytes() const;

 private:
  friend class EventFollower;
  struct Follower {
    uint64_t number = 0;
    PeerRef peer;
    bool told = false;  ///< and has not read since
  };
  uint64_t add_follower(const PeerRef& peer);
  void remove_follower(uint64_t number);
  void ready(uint64_t number);
  void tell_followers() REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::deque<std::string> events_ GUARDED_BY(mutex_);
  int64_t first_ GUARDED_BY(mutex_) = 0;
  size_t bytes_ GUARDED_BY(mutex_) = 0;
  bool closed_ GUARDED_BY(mutex_) = false;
  std::vector<Follower> followers_ GUARDED_BY(mutex_);
  uint64_t next_follower_ GUARDED_BY(mutex_) = 0;
};
using EventLogRef = std::shared_ptr<EventLog>;  // its writer or a client may be last; tidy: allow

/// Answers with the log's events from number `from` on, as they come, until it is closed. The
/// client may leave at any time. Any thread.
void follow_events(const PeerRef& peer, const EventLogRef& log, int64_t from, HeaderList headers);

}  // namespace hadal
