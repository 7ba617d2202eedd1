#pragma once
/// Pages on a disk, with a thread that reads and writes them. The engine's thread never waits for
/// it: an offer that finds the queue full is dropped, a page that is not read yet is "pending".
///
/// When the disk refuses something, the tier turns itself off with one line in the log and the
/// server goes on without it.
#include <cstdint>
#include <deque>
#include <memory>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/big_memory.h"
#include "base/env.h"
#include "base/mutex.h"
#include "base/result.h"
#include "engine/kv/tier.h"
#include "engine/kv/tiers/admission.h"
#include "engine/kv/tiers/page_store.h"

namespace hadal {

struct DiskTierOptions {
  PageStoreOptions store;
  bool own_thread = true;  ///< false: work() does what the thread would (tests on virtual time)
};

/// Calls come from the engine's thread; stats() is for all.
class DiskTier final : public PageTier {
 public:
  static Result<std::unique_ptr<DiskTier>> open(const DiskTierOptions& options, FileLayer& files,
                                                Env& env);
  /// Finishes the page that is being written; what still waits is lost (see drain).
  ~DiskTier() override;

  void offer(const PageKey& key, std::span<const TokenId> tokens, std::span<const std::byte> bytes,
             uint32_t hits) override;
  bool holds(const PageKey& key) const override;
  void prefetch(std::span<const PageKey> keys) override;
  Fetch fetch(const PageKey& key, std::span<const TokenId> tokens,
              std::span<std::byte> out) override;

  /// From now on every offer is taken and waits for its turn until `deadline_micros` (Env's
  /// monotonic clock). Pages that were there before make room, those offered from now on do not.
  void begin_drain(int64_t deadline_micros);
  /// Waits until all is written, or until the deadline.
  void finish_drain();

  const std::string& secret() const { return store_->secret(); }
  TierStats stats() const { return counters_.snapshot(); }

  /// REQUIRES: no own thread. Does one piece of work; false when there was none.
  bool work();

 private:
  /// A page on its way from or to the disk.
  struct Staged {
    enum class State : uint8_t { kFree, kBusy, kReady };
    State state = State::kFree;
    PageKey key;
    std::vector<TokenId> tokens;
    std::span<std::byte> bytes;
    uint32_t hits = 0;
    bool wanted = false;  ///< fetch() asked for it
    int64_t since_micros = 0;
  };
  struct Wish {
    PageKey key;
    bool wanted;
  };

  DiskTier(const DiskTierOptions& options, Env& env);
  void run();
  bool has_work() REQUIRES(mu_);
  bool read_one() EXCLUDES(mu_);
  bool write_one() EXCLUDES(mu_);
  Staged* place_for(const Wish& wish) REQUIRES(mu_);
  Staged* find_staged(const PageKey& key) REQUIRES(mu_);
  void wish(const PageKey& key, bool wanted) REQUIRES(mu_);
  Staged* wait_for_place() REQUIRES(mu_);
  void turn_off(const Error& error) EXCLUDES(mu_);

  const DiskTierOptions options_;
  Env& env_;
  mutable TierCounters counters_;
  std::unique_ptr<PageStore> store_;
  ReuseGate gate_{0};  ///< the engine's thread's
  bool draining_ = false;
  int64_t drain_deadline_micros_ = 0;
  BigMemory memory_;

  Mutex mu_;
  CondVar work_;   ///< something to do
  CondVar quiet_;  ///< something was done
  std::vector<Staged> reads_ GUARDED_BY(mu_);
  std::vector<Staged> writes_ GUARDED_BY(mu_);
  std::deque<Wish> wishes_ GUARDED_BY(mu_);  ///< pages to read, in this order
  std::unordered_set<PageKey, PageKeyHash> wished_ GUARDED_BY(mu_);  ///< their keys
  std::deque<size_t> written_ GUARDED_BY(mu_);  ///< places of writes_ to write, in this order
  std::optional<int64_t> only_older_than_ GUARDED_BY(mu_);
  bool stop_ GUARDED_BY(mu_) = false;
  int64_t swept_micros_ = 0;  ///< the I/O thread's
  std::thread thread_;
};

}  // namespace hadal
