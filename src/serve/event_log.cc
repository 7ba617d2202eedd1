#include "serve/event_log.h"

#include <algorithm>
#include <utility>

#include "base/limits.h"

namespace hadal {

/// A client that reads a log. It takes what it can send; a slow one takes the rest later.
class EventFollower final : public PeerState {
 public:
  EventFollower(EventLogRef log, int64_t from) : log_(std::move(log)), next_(from) {}
  ~EventFollower() override { log_->remove_follower(number_); }

  void start(Exchange& exchange, const PeerRef& peer) {
    number_ = log_->add_follower(peer);
    send(exchange);
  }

  /// Destroys this object when the log has ended.
  void send(Exchange& exchange) {
    log_->ready(number_);
    while (exchange.unsent_bytes() < limits::kFollowerUnsentBytes) {
      EventLog::Part part = log_->read(next_, limits::kFollowerUnsentBytes);
      if (part.lost) {
        exchange.abort_stream();
        return;
      }
      if (!part.bytes.empty()) exchange.write(std::move(part.bytes));
      if (part.ended) {
        exchange.finish();
        return;
      }
      if (part.next == next_) return;
      next_ = part.next;
    }
  }

  void on_sent(Exchange& exchange) override { send(exchange); }

 private:
  EventLogRef log_;
  int64_t next_;
  uint64_t number_ = 0;
};

void EventLog::append(std::string event) {
  const MutexLock lock(mutex_);
  bytes_ += event.size();
  events_.push_back(std::move(event));
  while (bytes_ > limits::kResponseEventBytes && events_.size() > 1) {
    bytes_ -= events_.front().size();
    events_.pop_front();
    ++first_;
  }
  tell_followers();
}

void EventLog::close() {
  const MutexLock lock(mutex_);
  closed_ = true;
  tell_followers();
}

EventLog::Part EventLog::read(int64_t from, size_t bytes_max) const {
  const MutexLock lock(mutex_);
  Part part{.next = from};
  const int64_t end = first_ + static_cast<int64_t>(events_.size());
  part.lost = from < first_;
  while (!part.lost && part.next < end && part.bytes.size() < bytes_max) {
    part.bytes += events_[static_cast<size_t>(part.next - first_)];
    ++part.next;
  }
  part.ended = closed_ && part.next >= end;
  return part;
}

int64_t EventLog::first() const {
  const MutexLock lock(mutex_);
  return first_;
}

size_t EventLog::bytes() const {
  const MutexLock lock(mutex_);
  return bytes_;
}

uint64_t EventLog::add_follower(const PeerRef& peer) {
  const MutexLock lock(mutex_);
  followers_.push_back({.number = ++next_follower_, .peer = peer});
  return next_follower_;
}

void EventLog::remove_follower(uint64_t number) {
  const MutexLock lock(mutex_);
  std::erase_if(followers_, [&](const Follower& f) { return f.number == number; });
}

void EventLog::ready(uint64_t number) {
  const MutexLock lock(mutex_);
  const auto found = std::ranges::find(followers_, number, &Follower::number);
  if (found != followers_.end()) found->told = false;
}

void EventLog::tell_followers() {
  for (Follower& follower : followers_) {
    if (follower.told) continue;
    follower.told = true;
    follower.peer.post([](Exchange& exchange) {
      // Only follow_events() attaches a state to the exchanges that follow.
      auto* reader = static_cast<EventFollower*>(exchange.state());
      if (reader != nullptr) reader->send(exchange);
    });
  }
}

void follow_events(const PeerRef& peer, const EventLogRef& log, int64_t from, HeaderList headers) {
  auto reader = std::make_unique<EventFollower>(log, from);
  peer.post(
      [peer, headers = std::move(headers), owned = std::move(reader)](Exchange& exchange) mutable {
        EventFollower& follower = *owned;
        exchange.attach(std::move(owned));
        exchange.start_stream({.content_type = "text/event-stream", .headers = std::move(headers)});
        follower.start(exchange, peer);
      });
}

}  // namespace hadal
