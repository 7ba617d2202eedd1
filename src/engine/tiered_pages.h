#pragma once
/// TieredPages: memory beside the pool, then a disk, as one PageTier.
///
///   TieredPages pages({.shape = kv_page_shape(model.kv_layout()), .ram_bytes = ...}, env);
///   Engine engine(model, {.model_fingerprint = pages.fingerprint(), .tier = &pages}, env);
///   ...
///   pages.begin_drain(deadline);  // ends the engine, which offers what its pool holds, then this
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "engine/kv/tiers/disk_tier.h"
#include "engine/kv/tiers/ram_tier.h"
#include "kernels/kv_pool.h"

namespace hadal {

struct TieredPagesOptions {
  PageShape shape;
  uint64_t ram_bytes = 0;   ///< 0: none
  int64_t ram_seconds = 0;  ///< pages that nobody used for so long go; 0: no limit
  uint64_t disk_bytes = 0;  ///< 0: none
  int64_t disk_seconds = 0;
  std::filesystem::path directory;  ///< of the pages on disk; made for this user alone
  /// Whatever keys and values depend on besides the tokens: the model's digest, KV layout, how it
  /// computes. Equal fingerprints must mean equal keys and values.
  std::string fingerprint;
  bool own_thread = true;  ///< of the disk; false: work() does what it would (tests)
};

/// Of an engine's pages for a model with that layout.
PageShape kv_page_shape(const KvLayout& layout);

/// The files of pages in a directory, whatever model they are of.
struct KeptPages {
  uint64_t files = 0;
  uint64_t bytes = 0;
};
/// None where there is no such directory.
KeptPages kept_pages(const std::filesystem::path& directory);
/// Removes them; returns the bytes that became free. kUnavailable while a process uses them.
Result<uint64_t> clear_kept_pages(const std::filesystem::path& directory);

/// The engine's thread alone calls the tier's functions, stats are for all.
class TieredPages final : public PageTier {
 public:
  /// A disk that cannot be used is told of in the log and does without: only `ram` is left then.
  TieredPages(const TieredPagesOptions& options, Env& env, FileLayer& files = FileLayer::real());
  /// After a begin_drain(): what is in memory goes to the disk, most reused pages first, until the
  /// deadline.
  ~TieredPages() override;

  /// For root_key(): the options' fingerprint and the directory's secret, or one of this process.
  const std::string& fingerprint() const { return fingerprint_; }

  void offer(const PageKey& key, std::span<const TokenId> tokens, std::span<const std::byte> bytes,
             uint32_t hits) override;
  bool holds(const PageKey& key) const override;
  void prefetch(std::span<const PageKey> keys) override;
  Fetch fetch(const PageKey& key, std::span<const TokenId> tokens,
              std::span<std::byte> out) override;

  /// Before the engine ends: from now on everything that fits is kept, and an offer may wait for
  /// the disk until `deadline_micros` (Env's monotonic clock). Any thread.
  void begin_drain(int64_t deadline_micros);
  /// REQUIRES: no own thread. Does one piece of the disk's work; false when there was none.
  bool work() { return disk_ != nullptr && disk_->work(); }
  TierStats ram_stats() const { return ram_.stats(); }
  TierStats disk_stats() const;

 private:
  void note_drain();

  std::unique_ptr<DiskTier> disk_;  ///< null: none
  RamTier ram_;
  std::string fingerprint_;
  std::atomic<int64_t> drain_deadline_micros_ = 0;  ///< 0: no drain
  bool draining_ = false;
};

}  // namespace hadal
