#include "engine/schedule/inbox.h"

#include <fmt/format.h>

#include "base/check.h"

namespace hadal {

Status Inbox::push(std::unique_ptr<Row> row, int64_t now_micros) {
  MutexLock lock(mu_);
  if (closed_ || stop_) return Error{Code::kUnavailable, "the engine takes no more requests"};
  if (queue_.full()) {
    ++stats_.refused;
    return Error{Code::kExhausted, fmt::format("{} requests are waiting already", queue_.size()),
                 "try again later"};
  }
  live_.insert(row->id);
  ++open_;
  ++stats_.requests;
  queue_.push(std::move(row), now_micros);
  work_.notify_one();
  return {};
}

Status Inbox::push_task(std::function<void()> task) {
  MutexLock lock(mu_);
  if (closed_ || stop_) return Error{Code::kUnavailable, "the engine takes no more work"};
  tasks_.push_back(std::move(task));
  work_.notify_one();
  return {};
}

void Inbox::cancel(RequestId id) {
  MutexLock lock(mu_);
  if (!live_.contains(id)) return;
  cancelled_.insert(id);
  work_.notify_one();
}

void Inbox::close_door(int64_t deadline_micros) {
  MutexLock lock(mu_);
  closed_ = true;
  queue_.limit_waits(deadline_micros);
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

EngineStats Inbox::stats(int64_t now_micros) const {
  MutexLock lock(mu_);
  EngineStats out = stats_;
  out.waiting = static_cast<int>(queue_.size());
  out.waiting_by_class = queue_.size_by_class();
  out.queue_wait_micros = queue_.wait_estimate(now_micros);
  return out;
}

bool Inbox::has_work() const {
  MutexLock lock(mu_);
  return work_is_there();
}

void Inbox::wait() {
  MutexLock lock(mu_);
  while (!work_is_there()) work_.wait(mu_);
}

/// Cancellations come first, so that nobody takes a place who does not want it any more.
InboxWork Inbox::take(int room, int64_t now_micros) {
  MutexLock lock(mu_);
  InboxWork work;
  work.stop = stop_;
  for (const RequestId id : cancelled_) {
    if (std::unique_ptr<Row> row = queue_.remove(id)) {
      work.cancelled.push_back(std::move(row));
    } else {
      work.cancelled_running.push_back(id);
    }
  }
  cancelled_.clear();
  while (stop_ && queue_.size() > 0) work.cancelled.push_back(queue_.remove_oldest());
  while (std::unique_ptr<Row> row = queue_.pop_expired(now_micros)) {
    ++stats_.expired;
    work.expired.push_back(std::move(row));
  }
  while (static_cast<int>(work.admitted.size()) < room && queue_.size() > 0) {
    ++stats_.running;
    work.admitted.push_back(queue_.pop(now_micros));
  }
  while (!tasks_.empty() && (stop_ || work.tasks.empty())) {
    work.tasks.push_back(std::move(tasks_.front()));
    tasks_.pop_front();
  }
  if (!work.expired.empty()) work.wait_estimate = queue_.wait_estimate(now_micros);
  return work;
}

void Inbox::retire(const Row& row, bool was_waiting) {
  MutexLock lock(mu_);
  CHECK(live_.erase(row.id) == 1);
  cancelled_.erase(row.id);
  if (was_waiting) return;
  --stats_.running;
  const auto prompt_tokens = static_cast<int64_t>(row.request.prompt.size());
  const bool answered = row.completion_tokens > 0;
  queue_.settle(row.id, answered ? prompt_tokens + row.completion_tokens : row.fed);
}

void Inbox::close() {
  MutexLock lock(mu_);
  CHECK(open_ > 0);
  if (--open_ == 0) idle_.notify_all();
}

void Inbox::report(const StepCounts& counts, const StepGauges& gauges) {
  MutexLock lock(mu_);
  stats_.prompt_tokens += counts.prompt_tokens;
  stats_.completion_tokens += counts.completion_tokens;
  stats_.steps += counts.steps;
  stats_.drafted_tokens += counts.drafted_tokens;
  stats_.accepted_tokens += counts.accepted_tokens;
  stats_.kv = counts.kv;
  stats_.step_budget = gauges.budget;
  stats_.step_tokens = gauges.tokens;
  stats_.step_micros = gauges.micros;
  stats_.step_cost = gauges.cost;
}

void Inbox::pause(std::chrono::microseconds timeout) {
  MutexLock lock(mu_);
  if (!stop_ && cancelled_.empty()) work_.wait_for(mu_, timeout);
}

void Inbox::check_integrity() const {
  MutexLock lock(mu_);
  queue_.check_integrity();
}

}  // namespace hadal
