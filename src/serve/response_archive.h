#pragma once
/// ResponseArchive: the level of a ResponseStore that is on a disk. Answers are written by a thread
/// of its own, because those who put them (the network's thread among them) must not wait.
///
///   put() --> queue --> thread --> AnswerRecords <-- find(), erase() on the caller's thread
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/env.h"
#include "base/mutex.h"
#include "serve/response_store.h"
#include "store/answer_records.h"

namespace hadal {

/// Thread-safe. Borrows `env`.
class ResponseArchive {
 public:
  ResponseArchive(std::unique_ptr<AnswerRecords> records, Env& env);
  /// Writes what still waits.
  ~ResponseArchive();

  /// Does not wait. What comes faster than the disk takes it is left out, with a warning.
  void put(const std::string& owner, const std::string& id, StoredResponse response);
  /// Waits for the disk, like erase(). An answer that was still being made when an earlier program
  /// ended is one that failed.
  std::optional<StoredResponse> find(const std::string& owner, const std::string& id);
  /// False: it was not there. Its bytes are gone when this returns.
  bool erase(const std::string& owner, const std::string& id);
  /// Returns when all that was put is written.
  void flush();

 private:
  struct Job {
    std::string owner = {};
    std::string id = {};
    StoredResponse response = {};
  };
  void work();
  /// Writes the first that waits; false when nothing does.
  bool write_next() EXCLUDES(queue_mutex_) REQUIRES(records_mutex_);

  Env& env_;
  Mutex records_mutex_;  ///< taken before queue_mutex_
  std::unique_ptr<AnswerRecords> records_ GUARDED_BY(records_mutex_);
  Mutex queue_mutex_;
  CondVar wake_;
  std::deque<Job> queue_ GUARDED_BY(queue_mutex_);
  size_t queued_bytes_ GUARDED_BY(queue_mutex_) = 0;
  bool ending_ GUARDED_BY(queue_mutex_) = false;
  std::thread thread_;  ///< last: begins when all else is there
};

}  // namespace hadal
