#include "text/tokenizer/merge_table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <queue>

#include "base/check.h"

namespace hadal {
namespace {

/// Up to here scanning all pairs per merge beats the heap.
constexpr size_t kShort = 128;

/// A pair that may be merged. It is stale when its symbols have changed since.
struct Candidate {
  uint32_t rank;
  Symbol left;
  Symbol right;
  size_t position;
  bool operator>(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

}  // namespace

MergeTable::MergeTable(size_t count)
    : slots_(std::bit_ceil(count * 2 + 2)),
      mask_(slots_.size() - 1),
      shift_(64 - std::countr_zero(slots_.size())) {
  merged_.reserve(count);
}

void MergeTable::add(Symbol left, Symbol right, Symbol merged) {
  CHECK(merged_.size() < kNoRank && merged_.size() * 2 < slots_.size());
  const uint64_t key = make_key(left, right);
  size_t at = slot_of(key);
  while (slots_[at].key != kEmpty && slots_[at].key != key) at = (at + 1) & mask_;
  if (slots_[at].key == kEmpty) slots_[at] = {key, static_cast<uint32_t>(merged_.size())};
  merged_.push_back(merged);
}

void MergeTable::merge(std::vector<Symbol>& symbols) const {
  if (symbols.size() < 2) return;
  symbols.size() <= kShort ? merge_short(symbols) : merge_long(symbols);
}

void MergeTable::merge_short(std::vector<Symbol>& symbols) const {
  std::array<uint32_t, kShort> ranks;  // ranks[i]: of symbols i and i + 1
  size_t pairs = symbols.size() - 1;
  for (size_t i = 0; i < pairs; ++i) ranks[i] = rank(symbols[i], symbols[i + 1]);
  while (pairs > 0) {
    size_t best = 0;
    for (size_t i = 1; i < pairs; ++i) best = ranks[i] < ranks[best] ? i : best;
    if (ranks[best] == kNoRank) break;
    symbols[best] = merged(ranks[best]);
    std::copy(&symbols[best + 1] + 1, symbols.data() + pairs + 1, &symbols[best + 1]);
    if (best + 1 < pairs) {
      std::copy(ranks.data() + best + 2, ranks.data() + pairs, ranks.data() + best + 1);
      ranks[best] = rank(symbols[best], symbols[best + 1]);
    }
    --pairs;
    if (best > 0) ranks[best - 1] = rank(symbols[best - 1], symbols[best]);
  }
  symbols.resize(pairs + 1);
}

void MergeTable::merge_long(std::vector<Symbol>& symbols) const {
  constexpr Symbol kGone = -1;
  const size_t count = symbols.size();
  std::vector<size_t> next(count);
  std::vector<size_t> previous(count);
  for (size_t i = 0; i < count; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;  // wraps at 0, never followed
  }
  std::vector<Candidate> first;
  first.reserve(count);
  const auto candidate = [&](size_t left, size_t right) {
    return Candidate{rank(symbols[left], symbols[right]), symbols[left], symbols[right], left};
  };
  for (size_t i = 0; i + 1 < count; ++i) {
    const Candidate c = candidate(i, i + 1);
    if (c.rank != kNoRank) first.push_back(c);
  }
  std::priority_queue heap(std::greater<Candidate>{}, std::move(first));
  while (!heap.empty()) {
    const Candidate best = heap.top();
    heap.pop();
    const size_t left = best.position;
    const size_t right = next[left];
    if (symbols[left] != best.left || right == count || symbols[right] != best.right) continue;
    symbols[left] = merged(best.rank);
    symbols[right] = kGone;
    next[left] = next[right];
    if (next[left] != count) previous[next[left]] = left;
    if (left != 0) {
      if (const Candidate c = candidate(previous[left], left); c.rank != kNoRank) heap.push(c);
    }
    if (next[left] != count) {
      if (const Candidate c = candidate(left, next[left]); c.rank != kNoRank) heap.push(c);
    }
  }
  std::erase(symbols, kGone);
}

}  // namespace hadal
