#include "engine/kv/tiers/page_index.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace hadal {
namespace {

/// Second chances given for one eviction: bounds its cost.
constexpr int kChances = 8;

}  // namespace

const PageIndex::Entry* PageIndex::find(const PageKey& key) const {
  const auto it = by_key_.find(key);
  return it == by_key_.end() ? nullptr : &*it->second;
}

void PageIndex::add_hits(Entry& entry, uint32_t hits) {
  constexpr uint32_t kMax = std::numeric_limits<uint32_t>::max();
  entry.hits += std::min(hits, kMax - entry.hits);
  entry.chances += std::min(hits, kMax - entry.chances);
}

void PageIndex::insert(Entry entry) {
  entry.chances = entry.hits;
  order_.push_front(entry);
  CHECK(by_key_.emplace(entry.key, order_.begin()).second);
}

void PageIndex::touch(const PageKey& key, uint32_t hits, int64_t now_micros) {
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return;
  Entry& entry = *it->second;
  add_hits(entry, hits);
  entry.used_micros = now_micros;
  order_.splice(order_.begin(), order_, it->second);
}

void PageIndex::add_hit(const PageKey& key) {
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return;
  add_hits(*it->second, 1);
}

void PageIndex::erase(const PageKey& key) {
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return;
  order_.erase(it->second);
  by_key_.erase(it);
}

std::optional<PageIndex::Entry> PageIndex::take_victim() {
  if (order_.empty()) return std::nullopt;
  for (int i = 0; i < kChances && order_.back().chances > 0; ++i) {
    order_.back().chances /= 2;
    order_.splice(order_.begin(), order_, std::prev(order_.end()));
  }
  const Entry victim = order_.back();
  erase(victim.key);
  return victim;
}

std::optional<PageIndex::Entry> PageIndex::take_unused(int64_t before_micros) {
  const auto it = std::find_if(order_.rbegin(), order_.rend(), [&](const Entry& entry) {
    return entry.used_micros < before_micros;
  });
  if (it == order_.rend()) return std::nullopt;
  const Entry found = *it;
  erase(found.key);
  return found;
}

}  // namespace hadal
