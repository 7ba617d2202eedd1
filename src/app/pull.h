#pragma once
/// pull: from a name to a verified file in the store.
///
/// What is tried for a file on a hub, in this order: a copy in the local Hugging Face cache, the
/// mirror (HADAL_MIRROR), the hubs that answer within 5 seconds. The file grows as NAME.part,
/// is compared with a hash and only then appears under its name, in one step. The hash comes from
/// the caller, else from the catalogue, else from the hub itself; the last one protects from broken
/// transfers, not from a hub that serves something else. The record says which it was.
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "app/app.h"
#include "app/store.h"

namespace hadal {

struct PullOptions {
  std::string
      reference;     ///< catalogue name, hf:ORG/REPO/FILE, ms:ORG/REPO/FILE, http(s) address, path
  std::string name;  ///< in the store; empty: from the reference
  std::string sha256;  ///< what the file must hash to; empty: see above
  bool quiet = false;
  int stall_seconds = 30;
  uint64_t bytes_max = UINT64_MAX;          ///< a larger file is kExhausted
  const std::atomic<bool>* stop = nullptr;  ///< kCancelled soon after it became true
  /// Hears the bytes done from time to time; `total` 0: not known; `verifying`: all are here, and
  /// are compared with the hash.
  std::function<void(uint64_t done, uint64_t total, bool verifying)> progress = {};
};

/// Blocks; another process that pulls the same name is waited for. A model that is there already
/// is returned at once. Prints progress to standard error.
Result<StoredModel> pull(const PullOptions& options, const Settings& settings);

/// Throws away what a pull of that name left unfinished. False: there is nothing; kUnavailable:
/// somebody pulls it right now.
Result<bool> discard_unfinished(const std::string& name, const Settings& settings);

/// The name that `reference` gets in the store unless another is chosen.
std::string store_name_of(const std::string& reference);

}  // namespace hadal
