#pragma once
/// A ModelStore for tests: pulls stand until they are told to go on.
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "serve/model_store.h"

namespace hadal {

class ScriptedStore final : public ModelStore {
 public:
  Checked pull(std::string_view name, std::unique_ptr<PullWatcher> watcher, PullId& id) override {
    const std::lock_guard lock(mutex_);
    if (name == "refused") return ApiError{.status = 404, .message = "model 'refused' not found"};
    watcher->on_progress({});
    name_ = name;
    watcher_ = std::move(watcher);
    id = 1;
    changed_.notify_all();
    return std::nullopt;
  }
  void cancel(PullId id) override {
    const std::lock_guard lock(mutex_);
    watcher_.reset();
    cancelled_ += id;
    changed_.notify_all();
  }
  Checked copy(std::string_view from, std::string_view to) override {
    calls_ += "copy " + std::string(from) + " " + std::string(to) + ";";
    return std::nullopt;
  }
  Checked remove(std::string_view name) override {
    calls_ += "remove " + std::string(name) + ";";
    if (name == "kept") return ApiError{.status = 403, .message = "'kept' stays"};
    return std::nullopt;
  }

  /// Waits for a pull and tells its client.
  void progress(const PullProgress& progress) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return watcher_ != nullptr; });
    watcher_->on_progress(progress);
  }
  void end(const Checked& problem) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return watcher_ != nullptr; });
    watcher_->on_end(problem, name_);
    watcher_.reset();
  }
  void wait_cancelled() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return cancelled_ > 0; });
  }
  const std::string& calls() const { return calls_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string name_;
  std::unique_ptr<PullWatcher> watcher_;
  PullId cancelled_ = 0;
  std::string calls_;
};

}  // namespace hadal
