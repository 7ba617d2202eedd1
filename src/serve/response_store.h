#pragma once
/// ResponseStore: answers of the Responses API that clients may fetch, delete, cancel and build on.
/// In memory, and behind that on a disk where an archive is given.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/json.h"
#include "base/mutex.h"
#include "serve/event_log.h"

namespace hadal {

class ResponseArchive;

/// What one answer added to its conversation, and the answer that it built on. Immutable; later
/// answers keep it alive when the answer itself was deleted.
struct ResponseTurn {
  std::string id = {};                                ///< of the answer
  json::array input = {};                             ///< items of the request, each with an id
  json::array output = {};                            ///< items of the answer
  std::shared_ptr<const ResponseTurn> previous = {};  // immutable; tidy: allow
  int length = 1;                                     ///< of the chain
  size_t bytes = 0;                                   ///< of the chain
};
using ResponseTurnRef = std::shared_ptr<const ResponseTurn>;  // immutable; tidy: allow

/// What a turn takes in memory, with those before it: values take some times what their text does.
size_t stored_turn_bytes(size_t input_bytes, size_t body_bytes, const ResponseTurnRef& previous);

/// One answer as clients see it.
struct StoredResponse {
  std::string body = {};    ///< JSON of the response object
  std::string status = {};  ///< queued, in_progress, completed, incomplete, failed, cancelled
  bool background = false;
  ResponseTurnRef turn = {};          ///< without output as long as there is none
  EventLogRef events = {};            ///< what was streamed; null: nothing that can be sent again
  std::function<void()> cancel = {};  ///< ends an answer in the making; empty: nothing to end

  bool unfinished() const { return status == "queued" || status == "in_progress"; }
};

/// Thread-safe. Memory is bounded by limits::kStoredResponse*: what was put first goes first, and
/// is found in the archive if there is one. Answers are found by the owner they were put for only.
class ResponseStore {
 public:
  ResponseStore();
  ~ResponseStore();
  /// From now on answers are kept on the disk, too. Before the store is used.
  void keep_in(std::unique_ptr<ResponseArchive> archive);

  /// New, or in place of the one with that id. A turn larger than a quarter of the store is not
  /// kept; false then.
  bool put(const std::string& owner, const std::string& id, StoredResponse response, int64_t now);
  /// The same for an answer that must still be there: one that was deleted meanwhile stays so. What
  /// ends it is kept while it is in progress.
  void update(const std::string& owner, const std::string& id, StoredResponse response,
              int64_t now);
  /// These may wait for the disk.
  std::optional<StoredResponse> find(const std::string& owner, const std::string& id, int64_t now);
  bool erase(const std::string& owner, const std::string& id);

 private:
  using Key = std::pair<std::string, std::string>;
  struct Entry {
    Key key = {};
    StoredResponse response = {};
    size_t bytes = 0;
    int64_t put_at = 0;
  };
  bool put_in(Key key, StoredResponse response, int64_t now) REQUIRES(mutex_);
  void drop(std::list<Entry>::iterator entry) REQUIRES(mutex_);
  void prune(int64_t now) REQUIRES(mutex_);

  std::unique_ptr<ResponseArchive> archive_;  ///< null: memory only; set before all use
  Mutex mutex_;
  std::list<Entry> entries_ GUARDED_BY(mutex_);  ///< oldest first
  std::map<Key, std::list<Entry>::iterator> by_key_ GUARDED_BY(mutex_);
  size_t bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace hadal
