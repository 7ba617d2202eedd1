#include "engine/kv/tiers/ram_tier.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include <sys/mman.h>

#include "base/check.h"

namespace hadal {
namespace {

constexpr int64_t kMicros = 1'000'000;

/// Budgets' worth of pages that are taken before one of them must have been of use.
constexpr uint64_t kTrust = 2;

constexpr uint64_t kTouchBytes = uint64_t{2} << 20;        // at once: a huge page
constexpr uint64_t kTouchAheadBytes = uint64_t{64} << 20;  // before it is needed

}  // namespace

RamTier::RamTier(const RamTierOptions& options, PageTier* next, Env& env)
    : options_(options),
      next_(next),
      env_(env),
      capacity_(options.bytes / std::max<uint64_t>(options.shape.bytes, 1)),
      memory_(static_cast<int64_t>(capacity_ * options.shape.bytes)),
      tokens_(capacity_ * static_cast<size_t>(options.shape.tokens)),
      gate_(kTrust * capacity_),
      swept_micros_(env.now_micros()) {
  CHECK(options.shape.tokens > 0 && options.shape.bytes > 0);
  counters_.bytes_max = options.bytes;
  if (capacity_ > 0) toucher_ = std::thread([this] { touch_ahead(); });
}

RamTier::~RamTier() {
  {
    const MutexLock lock(mu_);
    stop_ = true;
    filled_.notify_one();
  }
  if (toucher_.joinable()) toucher_.join();
}

/// Asks the kernel for memory in front of the pages that come next. Where it does not know how, the
/// first copy of a page takes its faults itself.
void RamTier::touch_ahead() {
  const auto size = static_cast<uint64_t>(memory_.size());
  for (uint64_t done = 0; done < size;) {
    {
      const MutexLock lock(mu_);
      while (!stop_ && done >= fresh_ * options_.shape.bytes + kTouchAheadBytes) filled_.wait(mu_);
      if (stop_) return;
    }
    const uint64_t bytes = std::min(kTouchBytes, size - done);
    if (::madvise(memory_.data() + done, bytes, MADV_POPULATE_WRITE) != 0) return;
    done += bytes;
  }
}

void RamTier::offer(const PageKey& key, std::span<const TokenId> tokens,
                    std::span<const std::byte> bytes, uint32_t hits) {
  CHECK(bytes.size() == options_.shape.bytes);
  CHECK(tokens.size() == static_cast<size_t>(options_.shape.tokens));
  drop_old();
  if (const PageIndex::Entry* entry = index_.find(key); entry != nullptr) {
    index_.touch(key, hits > entry->hits ? hits - entry->hits : 0, env_.now_micros());
    return;
  }
  if (capacity_ == 0) {
    if (next_ != nullptr) next_->offer(key, tokens, bytes, hits);
    return;
  }
  if (!gate_.admit(key, hits)) {
    ++counters_.refused;
    return;
  }
  const uint64_t slot = free_slot();
  std::memcpy(bytes_of(slot).data(), bytes.data(), bytes.size());
  std::copy(tokens.begin(), tokens.end(), tokens_of(slot).begin());
  index_.insert({key, slot, hits, env_.now_micros()});
  ++counters_.stored;
  count_pages();
}

bool RamTier::holds(const PageKey& key) const {
  const PageIndex::Entry* entry = index_.find(key);
  if (entry == nullptr) gate_.missed(key);
  return entry != nullptr && !is_old(*entry);
}

void RamTier::prefetch(std::span<const PageKey> keys) {
  drop_old();
  for (size_t i = keys.size(); i-- > 0;) index_.touch(keys[i], 0, env_.now_micros());
}

PageTier::Fetch RamTier::fetch(const PageKey& key, std::span<const TokenId> tokens,
                               std::span<std::byte> out) {
  CHECK(out.size() == options_.shape.bytes);
  const PageIndex::Entry* entry = index_.find(key);
  if (entry == nullptr || is_old(*entry)) {
    ++counters_.misses;
    return Fetch::kGone;
  }
  const std::span<const TokenId> stored = tokens_of(entry->slot);
  if (!std::equal(stored.begin(), stored.end(), tokens.begin(), tokens.end())) {
    ++counters_.misses;
    ++counters_.corrupt;
    return Fetch::kGone;
  }
  std::memcpy(out.data(), bytes_of(entry->slot).data(), out.size());
  ++counters_.hits;
  gate_.reward();
  // The order stays: the prefetch before put a prefix's first page last, here they come in turn.
  index_.add_hit(key);
  return Fetch::kReady;
}

void RamTier::flush() {
  std::vector<PageIndex::Entry> all(index_.entries().begin(), index_.entries().end());
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return std::tie(a.hits, a.used_micros) > std::tie(b.hits, b.used_micros);
  });
  for (const PageIndex::Entry& entry : all) {
    index_.erase(entry.key);
    pass_on(entry);
  }
  count_pages();
}

std::span<std::byte> RamTier::bytes_of(uint64_t slot) {
  auto* begin = reinterpret_cast<std::byte*>(memory_.data()) + slot * options_.shape.bytes;
  return {begin, options_.shape.bytes};
}

std::span<TokenId> RamTier::tokens_of(uint64_t slot) {
  const auto count = static_cast<size_t>(options_.shape.tokens);
  return std::span(tokens_).subspan(slot * count, count);
}

uint64_t RamTier::free_slot() {
  if (free_.empty()) {
    const MutexLock lock(mu_);
    if (fresh_ < capacity_) {
      filled_.notify_one();
      return fresh_++;
    }
  }
  if (free_.empty()) {
    const auto victim = index_.take_victim();
    CHECK(victim.has_value());
    pass_on(*victim);
    ++counters_.evicted;
  }
  const uint64_t slot = free_.back();
  free_.pop_back();
  return slot;
}

/// The entry has left the index already.
void RamTier::pass_on(const PageIndex::Entry& entry) {
  if (next_ != nullptr) {
    next_->offer(entry.key, tokens_of(entry.slot), bytes_of(entry.slot), entry.hits);
  }
  free_.push_back(entry.slot);
}

bool RamTier::is_old(const PageIndex::Entry& entry) const {
  return options_.seconds > 0 && entry.used_micros < env_.now_micros() - options_.seconds * kMicros;
}

/// Looks through all pages, so only now and then; is_old() is exact.
void RamTier::drop_old() {
  const int64_t now = env_.now_micros();
  if (options_.seconds == 0 || now - swept_micros_ < options_.seconds * kMicros / 8) return;
  swept_micros_ = now;
  while (const auto old = index_.take_unused(now - options_.seconds * kMicros)) {
    pass_on(*old);
    ++counters_.expired;
  }
  count_pages();
}

void RamTier::count_pages() {
  counters_.pages = index_.size();
  counters_.bytes = index_.size() * options_.shape.bytes;
}

}  // namespace hadal
