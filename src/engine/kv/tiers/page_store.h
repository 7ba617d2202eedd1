#pragma once
/// PageStore: pages in files of a directory, found again after a restart. No thread of its own.
///
/// Whatever the files hold, reading them gives the page that was written under a key or nothing.
/// docs/formats/kv-pages.md says what lies in the directory and why that is so.
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/mutex.h"
#include "base/result.h"
#include "engine/kv/tier.h"
#include "engine/kv/tiers/counters.h"
#include "engine/kv/tiers/file_layer.h"
#include "engine/kv/tiers/page_index.h"
#include "engine/kv/tiers/segment.h"

namespace hadal {

struct PageStoreOptions {
  std::filesystem::path directory;  ///< one process at a time; its parent must exist
  /// Whatever keys and values depend on besides the tokens: the model's digest, KV layout, how it
  /// computes. Pages of other fingerprints in the directory only count against the budget.
  std::string fingerprint;
  PageShape shape;
  uint64_t bytes = 0;   ///< of all files in the directory
  int64_t seconds = 0;  ///< pages that nobody used for so long go; 0: no limit
};

/// The segments of all models in a store's directory; empty where there is none.
std::vector<std::filesystem::path> page_files(const std::filesystem::path& directory,
                                              FileLayer& files);

/// holds() and touch() are for any thread; the rest is one thread's.
class PageStore {
 public:
  /// kUnavailable when another process has the directory, kDenied when others may look into it.
  static Result<std::unique_ptr<PageStore>> open(const PageStoreOptions& options, FileLayer& files,
                                                 Env& env, TierCounters& counters);

  /// Unknown to whom cannot read the directory; stays the same as long as the directory.
  const std::string& secret() const { return secret_; }

  bool holds(const PageKey& key) const EXCLUDES(mu_);
  /// The pages were used; the first one counts as the last used.
  void touch(std::span<const PageKey> keys) EXCLUDES(mu_);
  void add_hit(const PageKey& key) EXCLUDES(mu_);

  struct Page {
    PageKey key;
    std::span<const TokenId> tokens;
    std::span<const std::byte> bytes;
    uint32_t hits = 0;
  };
  /// False when there is no room: with `only_older_than`, only pages last used before it make room.
  /// An error means that the disk refused.
  Result<bool> write(const Page& page, std::optional<int64_t> only_older_than) EXCLUDES(mu_);
  /// The page's tokens and, in `out`, its bytes; nothing when it is gone.
  Result<std::optional<std::vector<TokenId>>> read(const PageKey& key, std::span<std::byte> out)
      EXCLUDES(mu_);
  /// Removes what was not used for too long. Call it now and then.
  void drop_old() EXCLUDES(mu_);

 private:
  struct Segment {
    segment::Head head;
    std::filesystem::path path;
    uint64_t used = 0;  ///< slots that the file reaches over
    uint64_t live = 0;  ///< slots that hold a page
    uint64_t bytes = 0;
  };
  struct Foreign {
    std::filesystem::path path;
    uint64_t bytes = 0;
    int64_t modified_unix = 0;
  };
  using SegmentMap = std::map<uint32_t, Segment>;

  PageStore(const PageStoreOptions& options, FileLayer& files, Env& env, TierCounters& counters);
  Status take_secret();
  Status scan_directory();
  Status scan_foreign(const std::filesystem::path& directory);
  Status scan_own();
  struct Found;
  void scan_segment(uint32_t number, uint64_t file_bytes, std::vector<Found>& found);
  void index_found(std::vector<Found> found);
  void shrink_to_budget();

  Result<std::optional<uint64_t>> new_segment();
  Result<std::optional<uint64_t>> take_slot(std::optional<int64_t> only_older_than);
  void remove_foreign(uint64_t bytes);
  Result<bool> make_room(uint64_t bytes);
  Result<std::optional<segment::Record>> read_checked(const PageKey& key, uint64_t slot,
                                                      std::span<std::byte> out);
  void forget(const PageKey& key, uint64_t slot);
  void free_slot(uint64_t slot);
  void remove_segment(SegmentMap::iterator it);
  void count();

  const PageStoreOptions options_;
  FileLayer& files_;
  Env& env_;
  TierCounters& counters_;
  FileHandle lock_;
  std::string secret_;
  PageKey model_;
  std::filesystem::path own_directory_;
  std::vector<Foreign> foreign_;  ///< newest first
  uint64_t other_bytes_ = 0;      ///< of files that are not ours to remove
  SegmentMap segments_;
  std::vector<uint64_t> free_;  ///< slots without a page, below their segment's `used`
  uint64_t bytes_ = 0;
  uint64_t sequence_ = 0;

  mutable Mutex mu_;
  PageIndex index_ GUARDED_BY(mu_);
};

}  // namespace hadal
