#include "app/embedding_queue.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"

namespace hadal {
namespace {

/// Tokens of one pass: enough for the matrix kernels to work at full speed.
constexpr size_t kPassTokens = 2048;

}  // namespace

EmbeddingQueue::EmbeddingQueue(Embedder& embedder, size_t waiting)
    : embedder_(embedder), waiting_max_(waiting), thread_([this] { run(); }) {}

EmbeddingQueue::~EmbeddingQueue() {
  stop();
  thread_.join();
}

Result<EmbeddingId> EmbeddingQueue::submit(EmbeddingRequest request, Done done) {
  CHECK(!request.texts.empty());
  auto job = std::make_unique<Job>();
  for (const EmbeddingText& text : request.texts) job->tokens += text.ids.size();
  job->request = std::move(request);
  job->done = std::move(done);
  MutexLock lock(mu_);
  if (closed_ || stop_) return Error{Code::kUnavailable, "no more texts are taken"};
  size_t tokens = job->tokens;
  for (const auto& other : jobs_) tokens += other->tokens;
  if (jobs_.size() >= waiting_max_ || (tokens > limits::kEmbeddingQueueTokens && !jobs_.empty())) {
    ++stats_.refused;
    return Error{Code::kExhausted, fmt::format("{} requests are waiting already", jobs_.size()),
                 "try again later"};
  }
  job->id = ++last_id_;
  ++stats_.requests;
  jobs_.push_back(std::move(job));
  changed_.notify_all();
  return last_id_;
}

std::unique_ptr<EmbeddingQueue::Job> EmbeddingQueue::take_out(EmbeddingId id) {
  const auto found =
      std::find_if(jobs_.begin(), jobs_.end(), [&](const auto& job) { return job->id == id; });
  if (found == jobs_.end()) return nullptr;
  std::unique_ptr<Job> job = std::move(*found);
  jobs_.erase(found);
  return job;
}

void EmbeddingQueue::cancel(EmbeddingId id) {
  std::unique_ptr<Job> job;  // dropped outside the lock: it holds what the caller put into `done`
  MutexLock lock(mu_);
  job = take_out(id);
}

void EmbeddingQueue::drain(int64_t timeout_micros) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(timeout_micros);
  MutexLock lock(mu_);
  closed_ = true;
  while (!stop_ && (!jobs_.empty() || answering_ > 0)) {
    const auto left = end - std::chrono::steady_clock::now();
    if (left.count() <= 0) return;
    changed_.wait_for(mu_, std::chrono::duration_cast<std::chrono::microseconds>(left));
  }
}

void EmbeddingQueue::stop() {
  std::deque<std::unique_ptr<Job>> left;
  {
    MutexLock lock(mu_);
    stop_ = true;
    left.swap(jobs_);
    changed_.notify_all();
  }
  for (const auto& job : left) job->done(Error{Code::kUnavailable, "the server is shutting down"});
}

EmbeddingQueue::Stats EmbeddingQueue::stats() const {
  MutexLock lock(mu_);
  Stats out = stats_;
  out.waiting = static_cast<int>(jobs_.size());
  return out;
}

void EmbeddingQueue::run() {
  for (;;) {
    Pass pass;
    {
      MutexLock lock(mu_);
      for (;;) {
        if (stop_) return;
        pass = next_pass();
        if (!pass.texts.empty()) break;
        changed_.wait(mu_);
      }
    }
    deliver(pass, embedder_.compute(pass.task, pass.texts));
  }
}

/// A text of each request in turn until the pass is full, all of the task of the oldest.
EmbeddingQueue::Pass EmbeddingQueue::next_pass() {
  Pass pass;
  if (jobs_.empty()) return pass;
  pass.task = jobs_.front()->request.task;
  bool grew = true;
  while (grew && pass.tokens < kPassTokens) {
    grew = false;
    for (const auto& job : jobs_) {
      if (job->request.task != pass.task || job->taken == job->request.texts.size()) continue;
      EmbeddingText& text = job->request.texts[job->taken];
      if (!pass.texts.empty() && pass.tokens + text.ids.size() > kPassTokens) continue;
      pass.tokens += text.ids.size();
      pass.texts.push_back(std::move(text));
      pass.owners.push_back(job->id);
      pass.places.push_back(job->taken++);
      grew = true;
    }
  }
  return pass;
}

void EmbeddingQueue::deliver(const Pass& pass, Result<std::vector<float>> numbers) {
  std::vector<std::unique_ptr<Job>> finished;
  {
    MutexLock lock(mu_);
    stats_.tokens += pass.tokens;
    for (size_t i = 0; i < pass.texts.size(); ++i) {
      const auto found = std::find_if(jobs_.begin(), jobs_.end(),
                                      [&](const auto& job) { return job->id == pass.owners[i]; });
      if (found == jobs_.end()) continue;  // cancelled, or failed by an earlier text
      Job& job = **found;
      if (!numbers.ok()) {
        finished.push_back(take_out(job.id));
        continue;
      }
      const size_t width = numbers.value().size() / pass.texts.size();
      job.numbers.resize(job.request.texts.size() * width);
      std::copy_n(numbers.value().begin() + static_cast<std::ptrdiff_t>(i * width), width,
                  job.numbers.begin() + static_cast<std::ptrdiff_t>(pass.places[i] * width));
      const bool complete = pass.places[i] + 1 == job.request.texts.size();
      if (complete) finished.push_back(take_out(job.id));
    }
    answering_ = static_cast<int>(finished.size());
  }
  for (const auto& job : finished) {
    if (numbers.ok()) {
      job->done(std::move(job->numbers));
    } else {
      job->done(numbers.error());
    }
  }
  MutexLock lock(mu_);
  answering_ = 0;
  changed_.notify_all();
}

}  // namespace hadal
