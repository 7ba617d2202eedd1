#pragma once
/// ClientStore: the model store as clients of a server may change it (`hadal serve --allow-pull`).
///
/// They name models of the catalogue or files of the hubs, never addresses or paths; what they pull
/// stays within a budget of bytes; models that the server was started with are not theirs to take
/// away. Pulls go without HF_TOKEN: what that opens is not for everybody who reaches the server.
#include <atomic>
#include <deque>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "app/app.h"
#include "base/mutex.h"
#include "serve/directory.h"
#include "serve/model_store.h"

namespace hadal {

/// A thread of its own pulls one model at a time.
class ClientStore final : public ModelStore {
 public:
  struct Limits {
    uint64_t bytes = 0;  ///< of everything in the store, whoever brought it; then pulls are refused
    std::vector<std::filesystem::path> kept = {};  ///< files that must stay
  };
  /// Borrows the directory.
  ClientStore(const Settings& settings, ModelDirectory& models, Limits limits);
  /// shutdown().
  ~ClientStore() override;

  Checked pull(std::string_view name, std::unique_ptr<PullWatcher> watcher, PullId& id) override;
  void cancel(PullId id) override;
  Checked copy(std::string_view from, std::string_view to) override;
  Checked remove(std::string_view name) override;
  /// Whoever waits is told 503; what was pulled is kept for another time.
  void shutdown();

 private:
  struct Job {
    PullId id = 0;
    std::string reference;
    std::string digest;
    std::unique_ptr<PullWatcher> watcher = {};  ///< null: nobody waits
  };

  void run();
  void work(const std::string& reference);
  void report(PullProgress progress);

  const Settings settings_;
  ModelDirectory& models_;
  const Limits limits_;
  Mutex mu_;
  CondVar changed_;
  std::deque<Job> waiting_ GUARDED_BY(mu_);
  Job running_ GUARDED_BY(mu_);
  PullId last_id_ GUARDED_BY(mu_) = 0;
  bool ending_ GUARDED_BY(mu_) = false;
  std::atomic<bool> stop_{false};  ///< the running pull is to end
  std::thread thread_;
};

}  // namespace hadal
