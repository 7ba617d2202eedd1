#pragma once
/// An EmbeddingBackend for tests: a vector is {3 * first id, 4 * first id, 0, 0}, a relevance the
/// number of the document's ids / 100.
#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "serve/embedding_backend.h"

namespace hadal {

/// Answers in submit(), unless it is told to hold.
class ScriptedEmbeddings final : public EmbeddingBackend {
 public:
  Result<EmbeddingId> submit(EmbeddingRequest request, Done done) override {
    std::vector<float> out;
    for (const EmbeddingText& text : request.texts) {
      if (request.task == EmbeddingTask::kScore) {
        // What follows the document is one separator.
        out.push_back(static_cast<float>(text.ids.size() - text.second - 1) / 100);
        continue;
      }
      const auto first = static_cast<float>(text.ids.front());
      out.insert(out.end(), {3 * first, 4 * first, 0, 0});
    }
    {
      const std::lock_guard lock(mutex_);
      if (full_) return Error{Code::kExhausted, "full"};
      last_ = request;
      ++submitted_;
      changed_.notify_all();
      if (held_) {
        held_done_.push_back(std::move(done));
        return submitted_;
      }
    }
    if (failing_) {
      done(Error{Code::kInternal, "broken"});
    } else {
      done(std::move(out));
    }
    return EmbeddingId{1};
  }
  void cancel(EmbeddingId id) override {
    const std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
    changed_.notify_all();
  }

  void set_full(bool full) { full_ = full; }
  void set_failing(bool failing) { failing_ = failing; }
  void hold() { held_ = true; }
  EmbeddingRequest last() {
    const std::lock_guard lock(mutex_);
    return last_;
  }
  /// Waits until so many requests came, or were cancelled.
  void wait_submitted(EmbeddingId count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return submitted_ >= count; });
  }
  std::vector<EmbeddingId> wait_cancelled() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !cancelled_.empty(); });
    return cancelled_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  EmbeddingRequest last_;
  EmbeddingId submitted_ = 0;
  bool full_ = false;
  bool failing_ = false;
  bool held_ = false;
  std::vector<Done> held_done_;
  std::vector<EmbeddingId> cancelled_;
};

}  // namespace hadal
