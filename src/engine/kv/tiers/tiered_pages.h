#pragma once
/// TieredPages: memory beside the pool, then a disk, as one PageTier.
///
///   TRY(auto pages, TieredPages::create({.shape = ..., .ram_bytes = ..., ...}, files, env));
///   Engine engine(model, {.tier = pages.get(), .tier_fingerprint = pages->fingerprint()}, env);
///   ...
///   pages->begin_drain(deadline);   // the engine still offers what its pool holds
///   engine.reset();
///   pages->finish_drain();
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "engine/kv/tiers/disk_tier.h"
#include "engine/kv/tiers/ram_tier.h"

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
};

/// The engine's thread alone calls the tier's functions, stats are for all.
class TieredPages final : public PageTier {
 public:
  /// A disk that cannot be used is told of in the log and does without: only `ram` is left then.
  TieredPages(const TieredPagesOptions& options, FileLayer& files, Env& env);

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
  /// After the engine has ended: what is in memory goes to the disk, most reused pages first.
  void finish_drain();

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
