#include "engine/schedule/inbox.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/check.h"

namespace hadal {

Status Inbox::push(std::unique_ptr<Row> row) {
  MutexLock lock(mu_);
  if (closed_ || stop_) return Error{Code::kUnavailable, "the engine takes no more requests"};
  if (waiting_.size() >= static_cast<size_t>(max_queue_)) {
    return Error{Code::kExhausted, fmt::format("{} requests are waiting already", max_queue_),
                 "try again later"};
  }
  live_.insert(row->id);
  ++open_;
  ++stats_.requests;
  waiting_.push_back(std::move(row));
  work_.notify_one();
  return {};
}

void Inbox::cancel(RequestId id) {
  MutexLock lock(mu_);
  if (!live_.contains(id)) return;
  cancelled_.insert(id);
  work_.notify_one();
}

void Inbox::close_door() {
  MutexLock lock(mu_);
  closed_ = true;
}

void Inbox::stop() {
  MutexLock lock(mu_);
  stop_ = true;
  work_.notify_one();
}

bool Inbox::wait_until_idle(std::chrono::microseconds timeout) {
  MutexLock lock(mu_);
  if (open_ > 0 && timeout.count() > 0) idle_.wait_for(mu_, timeout);
  return open_ == 0;
}

EngineStats Inbox::stats() const {
  MutexLock lock(mu_);
  EngineStats out = stats_;
  out.waiting = static_cast<int>(waiting_.size());
  return out;
}

InboxWork Inbox::take(bool busy, int room) {
  MutexLock lock(mu_);
  while (!busy && !has_work()) work_.wait(mu_);
  InboxWork work;
  work.stop = stop_;
  std::deque<std::unique_ptr<Row>> kept;
  for (auto& row : waiting_) {
    if (stop_ || cancelled_.erase(row->id) > 0) {
      work.cancelled.push_back(std::move(row));
    } else if (static_cast<int>(work.admitted.size()) < room) {
      ++stats_.running;
      work.admitted.push_back(std::move(row));
    } else {
      kept.push_back(std::move(row));
    }
  }
  waiting_ = std::move(kept);
  work.cancelled_running.assign(cancelled_.begin(), cancelled_.end());
  cancelled_.clear();
  return work;
}

void Inbox::retire(RequestId id, bool was_waiting) {
  MutexLock lock(mu_);
  CHECK(live_.erase(id) == 1);
  cancelled_.erase(id);
  if (!was_waiting) --stats_.running;
}

void Inbox::close() {
  MutexLock lock(mu_);
  CHECK(open_ > 0);
  if (--open_ == 0) idle_.notify_all();
}

void Inbox::report(const StepCounts& counts) {
  MutexLock lock(mu_);
  stats_.prompt_tokens += counts.prompt_tokens;
  stats_.completion_tokens += counts.completion_tokens;
  stats_.steps += counts.steps;
  stats_.kv = counts.kv;
}

void Inbox::pause(std::chrono::microseconds timeout) {
  MutexLock lock(mu_);
  if (!stop_ && cancelled_.empty()) work_.wait_for(mu_, timeout);
}

}  // namespace hadal
