#include "engine/kv/tiers/disk_tier.h"

#include <algorithm>
#include <csignal>
#include <cstring>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"

namespace hadal {
namespace {

constexpr int64_t kMicros = 1'000'000;
/// A page that was read and not fetched for so long belongs to a request that has gone.
constexpr int64_t kAbandonedMicros = 2 * kMicros;
constexpr int64_t kSweepMicros = 10 * kMicros;
constexpr std::chrono::microseconds kNap{1'000'000};
constexpr uint64_t kPlaceAlignment = 4096;

uint64_t places_for(const PageShape& shape) {
  return std::clamp(limits::kKvStagingBytes / shape.bytes, limits::kKvStagingPagesMin,
                    limits::kKvStagingPages);
}

uint64_t place_stride(const PageShape& shape) {
  return (shape.bytes + kPlaceAlignment - 1) / kPlaceAlignment * kPlaceAlignment;
}

/// A limit on file sizes is an error of write(), not the end of the process.
void block_size_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGXFSZ);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

}  // namespace

DiskTier::DiskTier(const DiskTierOptions& options, Env& env)
    : options_(options),
      env_(env),
      memory_(static_cast<int64_t>(2 * places_for(options.store.shape) *
                                   place_stride(options.store.shape))),
      reads_(places_for(options.store.shape)),
      writes_(places_for(options.store.shape)) {
  const PageShape& shape = options.store.shape;
  auto* next = reinterpret_cast<std::byte*>(memory_.data());
  for (auto* places : {&reads_, &writes_}) {
    for (Staged& place : *places) {
      place.bytes = {next, shape.bytes};
      place.tokens.resize(static_cast<size_t>(shape.tokens));
      next += place_stride(shape);
    }
  }
}

Result<std::unique_ptr<DiskTier>> DiskTier::open(const DiskTierOptions& options, FileLayer& files,
                                                 Env& env) {
  std::unique_ptr<DiskTier> tier(new DiskTier(options, env));
  TRY(tier->store_, PageStore::open(options.store, files, env, tier->counters_));
  if (options.own_thread) tier->thread_ = std::thread([raw = tier.get()] { raw->run(); });
  return tier;
}

DiskTier::~DiskTier() {
  {
    const MutexLock lock(mu_);
    stop_ = true;
    work_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void DiskTier::offer(const PageKey& key, std::span<const TokenId> tokens,
                     std::span<const std::byte> bytes, uint32_t hits) {
  CHECK(bytes.size() == options_.store.shape.bytes);
  CHECK(tokens.size() == static_cast<size_t>(options_.store.shape.tokens));
  if (counters_.off) return;
  if (store_->holds(key)) return store_->touch({&key, 1});
  if (!draining_ && !gate_.admit(key, hits)) {
    ++counters_.refused;
    return;
  }
  Staged* place = nullptr;
  {
    const MutexLock lock(mu_);
    const bool twice = std::any_of(writes_.begin(), writes_.end(), [&](const Staged& other) {
      return other.state != Staged::State::kFree && other.key == key;
    });
    if (twice) return;
    place = wait_for_place();
    if (place == nullptr) {
      ++counters_.dropped;
      return;
    }
    place->state = Staged::State::kBusy;
    place->key = key;
    place->hits = hits;
  }
  // The place is ours alone until it stands in the queue.
  std::copy(tokens.begin(), tokens.end(), place->tokens.begin());
  std::memcpy(place->bytes.data(), bytes.data(), bytes.size());
  const MutexLock lock(mu_);
  written_.push_back(static_cast<size_t>(place - writes_.data()));
  work_.notify_one();
}

/// Null when there is none; only a drain waits.
DiskTier::Staged* DiskTier::wait_for_place() {
  for (;;) {
    for (Staged& place : writes_) {
      if (place.state == Staged::State::kFree) return &place;
    }
    if (!draining_ || counters_.off || !options_.own_thread) return nullptr;
    const int64_t left = drain_deadline_micros_ - env_.now_micros();
    if (left <= 0) return nullptr;
    quiet_.wait_for(mu_, std::min(std::chrono::microseconds(left), kNap));
  }
}

bool DiskTier::holds(const PageKey& key) const {
  return !counters_.off && store_->holds(key);
}

void DiskTier::prefetch(std::span<const PageKey> keys) {
  if (counters_.off) return;
  store_->touch(keys);
  const MutexLock lock(mu_);
  for (const PageKey& key : keys) {
    if (wishes_.size() >= limits::kKvPrefetchPages) break;  // fetch() asks for the others
    if (store_->holds(key)) wish(key, false);
  }
  work_.notify_one();
}

PageTier::Fetch DiskTier::fetch(const PageKey& key, std::span<const TokenId> tokens,
                                std::span<std::byte> out) {
  CHECK(out.size() == options_.store.shape.bytes);
  Staged* staged = nullptr;
  {
    const MutexLock lock(mu_);
    staged = find_staged(key);
    if (staged == nullptr || staged->state == Staged::State::kBusy) {
      if (counters_.off || (staged == nullptr && !store_->holds(key))) {
        ++counters_.misses;
        return Fetch::kGone;
      }
      if (staged != nullptr) {
        staged->wanted = true;
      } else {
        wish(key, true);
        work_.notify_one();
      }
      return Fetch::kPending;
    }
    staged->state = Staged::State::kBusy;  // nobody else takes its place meanwhile
  }
  const bool same =
      std::equal(staged->tokens.begin(), staged->tokens.end(), tokens.begin(), tokens.end());
  if (same) std::memcpy(out.data(), staged->bytes.data(), out.size());
  ++(same ? counters_.hits : counters_.misses);
  if (same) store_->add_hit(key);
  const MutexLock lock(mu_);
  staged->state = Staged::State::kFree;
  work_.notify_one();
  return same ? Fetch::kReady : Fetch::kGone;
}

void DiskTier::begin_drain(int64_t deadline_micros) {
  draining_ = true;
  drain_deadline_micros_ = deadline_micros;
  const MutexLock lock(mu_);
  only_older_than_ = env_.unix_micros();
}

void DiskTier::finish_drain() {
  const MutexLock lock(mu_);
  while (!counters_.off && options_.own_thread) {
    const bool busy = std::any_of(writes_.begin(), writes_.end(), [](const Staged& place) {
      return place.state != Staged::State::kFree;
    });
    const int64_t left = drain_deadline_micros_ - env_.now_micros();
    if (!busy || left <= 0) return;
    quiet_.wait_for(mu_, std::min(std::chrono::microseconds(left), kNap));
  }
}

void DiskTier::run() {
  block_size_signal();
  for (;;) {
    {
      const MutexLock lock(mu_);
      if (stop_) return;
      // Wakes up without work too: places of requests that have gone become free with time.
      if (!has_work()) work_.wait_for(mu_, kNap);
      if (stop_) return;
    }
    work();
  }
}

bool DiskTier::work() {
  const int64_t now = env_.now_micros();
  if (now - swept_micros_ >= kSweepMicros) {
    swept_micros_ = now;
    store_->drop_old();
  }
  return read_one() || write_one();  // somebody waits for what is read
}

bool DiskTier::has_work() {
  return !written_.empty() || (!wishes_.empty() && place_for(wishes_.front()) != nullptr);
}

bool DiskTier::read_one() {
  Staged* place = nullptr;
  PageKey key;
  {
    const MutexLock lock(mu_);
    if (wishes_.empty()) return false;
    place = place_for(wishes_.front());
    if (place == nullptr) return false;
    key = wishes_.front().key;
    place->state = Staged::State::kBusy;
    place->key = key;
    place->wanted = wishes_.front().wanted;
    wishes_.pop_front();
    wished_.erase(key);
  }
  auto tokens = store_->read(key, place->bytes);
  if (!tokens.ok()) turn_off(tokens.error());
  const MutexLock lock(mu_);
  const bool found = tokens.ok() && tokens.value().has_value();
  if (found) place->tokens = std::move(*tokens.value());
  place->state = found ? Staged::State::kReady : Staged::State::kFree;
  place->since_micros = env_.now_micros();
  return true;
}

bool DiskTier::write_one() {
  Staged* place = nullptr;
  std::optional<int64_t> only_older_than;
  {
    const MutexLock lock(mu_);
    if (written_.empty()) return false;
    place = &writes_[written_.front()];
    written_.pop_front();
    only_older_than = only_older_than_;
  }
  if (!counters_.off) {
    const auto done =
        store_->write({place->key, place->tokens, place->bytes, place->hits}, only_older_than);
    if (!done.ok()) turn_off(done.error());
    if (done.ok() && !done.value()) ++counters_.dropped;
  }
  const MutexLock lock(mu_);
  place->state = Staged::State::kFree;
  quiet_.notify_all();
  return true;
}

/// A free place, else the oldest page that nobody has come for in time. What fetch() waits for
/// takes the place of the last page that was read ahead: its turn is farthest away.
DiskTier::Staged* DiskTier::place_for(const Wish& wish) {
  const int64_t abandoned = env_.now_micros() - kAbandonedMicros;
  Staged* oldest = nullptr;
  Staged* ahead = nullptr;
  for (Staged& place : reads_) {
    if (place.state == Staged::State::kFree) return &place;
    if (place.state == Staged::State::kBusy) continue;
    if (place.since_micros <= abandoned) {
      if (oldest == nullptr || place.since_micros < oldest->since_micros) oldest = &place;
    } else if (wish.wanted && !place.wanted) {
      if (ahead == nullptr || place.since_micros > ahead->since_micros) ahead = &place;
    }
  }
  return oldest != nullptr ? oldest : ahead;
}

DiskTier::Staged* DiskTier::find_staged(const PageKey& key) {
  for (Staged& place : reads_) {
    if (place.state != Staged::State::kFree && place.key == key) return &place;
  }
  return nullptr;
}

/// A page that fetch() waits for comes first.
void DiskTier::wish(const PageKey& key, bool wanted) {
  if (find_staged(key) != nullptr) return;
  if (!wished_.insert(key).second) {
    if (!wanted) return;
    const auto it = std::find_if(wishes_.begin(), wishes_.end(),
                                 [&](const Wish& other) { return other.key == key; });
    if (it->wanted) return;
    wishes_.erase(it);
  }
  if (wanted) {
    wishes_.push_front({key, true});
  } else {
    wishes_.push_back({key, false});
  }
}

void DiskTier::turn_off(const Error& error) {
  ++counters_.errors;
  if (counters_.off.exchange(true)) return;
  log_event(LogLevel::kError, "kv_disk.off",
            {{"reason", error.message}, {"consequence", "pages are kept in memory only"}});
  const MutexLock lock(mu_);
  wishes_.clear();
  wished_.clear();
  quiet_.notify_all();
}

}  // namespace hadal
