#pragma once
/// EmbeddingQueue: one thread that computes the texts of all requests, several requests in a pass.
#include <atomic>
#include <deque>
#include <memory>
#include <thread>

#include "app/embedder.h"
#include "base/mutex.h"

namespace hadal {

/// Every pass takes texts from all waiting requests in turn, so a long request does not keep short
/// ones out. What is cancelled leaves at the next pass.
class EmbeddingQueue final : public EmbeddingBackend {
 public:
  /// At most `waiting` requests at a time. Borrows the embedder.
  EmbeddingQueue(Embedder& embedder, size_t waiting);
  /// stop().
  ~EmbeddingQueue() override;

  Result<EmbeddingId> submit(EmbeddingRequest request, Done done) override;
  void cancel(EmbeddingId id) override;
  /// Nothing more is taken; waits until all are answered, not longer than `timeout_micros`.
  void drain(int64_t timeout_micros);
  /// Whoever still waits gets kUnavailable; nothing is computed any more when it returns.
  void stop();

  struct Stats {
    uint64_t requests = 0;  ///< accepted
    uint64_t refused = 0;
    uint64_t tokens = 0;  ///< computed
    int waiting = 0;
  };
  Stats stats() const;

 private:
  struct Job {
    EmbeddingId id = 0;
    EmbeddingRequest request;
    Done done;
    size_t taken = 0;   ///< texts in passes so far
    size_t tokens = 0;  ///< of all texts
    std::vector<float> numbers;
  };
  /// Texts of one pass and whose they are.
  struct Pass {
    EmbeddingTask task = EmbeddingTask::kEmbed;
    std::vector<EmbeddingText> texts;
    std::vector<EmbeddingId> owners;
    std::vector<size_t> places;  ///< in their requests
    size_t tokens = 0;
  };

  void run();
  Pass next_pass() REQUIRES(mu_);
  void deliver(const Pass& pass, Result<std::vector<float>> numbers);
  std::unique_ptr<Job> take_out(EmbeddingId id) REQUIRES(mu_);

  Embedder& embedder_;
  const size_t waiting_max_;
  mutable Mutex mu_;
  CondVar changed_;
  std::deque<std::unique_ptr<Job>> jobs_ GUARDED_BY(mu_);
  EmbeddingId last_id_ GUARDED_BY(mu_) = 0;
  bool closed_ GUARDED_BY(mu_) = false;
  bool stop_ GUARDED_BY(mu_) = false;
  int answering_ GUARDED_BY(mu_) = 0;  ///< left the queue, `done` not yet back
  Stats stats_ GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace hadal
