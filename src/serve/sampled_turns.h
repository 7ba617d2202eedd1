#pragma once
/// SampledTurns: the exact bytes of turns with tool calls that this server sampled lately. When
/// such a turn comes back as history, it is put into the prompt as it was sampled and not as we
/// would write it, so that the keys and values of its tokens are found again.
#include <cstddef>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/mutex.h"
#include "text/conversation.h"

namespace hadal {

/// Thread-safe. Bounded by limits::kSampledTurnBytes; what was used longest ago goes first.
class SampledTurns {
 public:
  /// `turn.sampled` must be set, and `turn.tool_calls` begin with the id that only its receiver
  /// knows. A turn that is too large is not kept.
  void put(const std::string& tenant, Message turn);

  /// The bytes of the turn that `message` is, if it was sampled for the same tenant and says the
  /// same: its calls, its text, and its reasoning unless that was left out.
  std::optional<SampledTurn> find(const std::string& tenant, const Message& message);

 private:
  using Key = std::pair<std::string, std::string>;  ///< tenant, id of the first call
  struct Entry {
    Key key;
    Message turn;
    size_t bytes = 0;
  };

  Mutex mutex_;
  std::list<Entry> entries_ GUARDED_BY(mutex_);  ///< newest first
  std::map<Key, std::list<Entry>::iterator> by_key_ GUARDED_BY(mutex_);
  size_t bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace hadal
