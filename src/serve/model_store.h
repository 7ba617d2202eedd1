#pragma once
/// ModelStore: the models on this server's disk, as far as clients may change them. What they may
/// is the program's to decide; a server without a store refuses it all.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "serve/errors.h"

namespace hadal {

enum class PullStage : uint8_t {
  kWaiting,    ///< others come first
  kFetching,   ///< from the first byte to the last
  kVerifying,  ///< the whole file is compared with a hash
};

struct PullProgress {
  PullStage stage = PullStage::kWaiting;
  uint64_t done = 0;   ///< bytes
  uint64_t total = 0;  ///< 0: not known
  /// "sha256:" and 64 digits that tell this file from others: its hash where that is known before.
  std::string digest = {};
};

/// Hears of a pull, on the store's thread. Must not block.
class PullWatcher {
 public:
  virtual ~PullWatcher() = default;
  virtual void on_progress(const PullProgress& progress) = 0;
  /// Once, as the last call, unless the pull was cancelled. `name`: what the model is called now.
  virtual void on_end(const Checked& problem, const std::string& name) = 0;
};

using PullId = uint64_t;

/// Thread-safe. Names are those of clients; ":latest" at their end means nothing.
class ModelStore {
 public:
  virtual ~ModelStore() = default;
  /// Gets a model from where models come from. Sets `id` and calls the watcher, unless it says no.
  virtual Checked pull(std::string_view name, std::unique_ptr<PullWatcher> watcher, PullId& id) = 0;
  /// Nobody waits for it any more: it ends soon, and a later pull goes on where it stopped. Unknown
  /// ids are ignored. The watcher is gone when this returns.
  virtual void cancel(PullId id) = 0;
  /// Gives the model a further name.
  virtual Checked copy(std::string_view from, std::string_view to) = 0;
  /// Takes a name of a model away, and its file with the last one.
  virtual Checked remove(std::string_view name) = 0;
};

}  // namespace hadal
