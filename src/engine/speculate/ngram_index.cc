#include "engine/speculate/ngram_index.h"

#include <algorithm>

#include "base/check.h"

namespace hadal {
namespace {

constexpr int32_t kNone = -1;
constexpr size_t kSlotsMin = 256;

}  // namespace

bool NgramIndex::same_ngram(int64_t a, int64_t b) const {
  const auto end = tokens_.begin() + a + 1;
  return std::equal(end - kNgram, end, tokens_.begin() + b + 1 - kNgram);
}

/// The slot of the n-gram that ends at `end`, or the free one where it belongs.
size_t NgramIndex::slot_of(int64_t end) const {
  uint64_t hash = 0;
  for (int64_t i = end - kNgram + 1; i <= end; ++i) {
    hash = (hash ^ static_cast<uint64_t>(tokens_[static_cast<size_t>(i)])) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  size_t slot = hash & (slots_.size() - 1);
  while (slots_[slot] != kNone && !same_ngram(slots_[slot], end)) {
    slot = (slot + 1) & (slots_.size() - 1);
  }
  return slot;
}

/// Links stay as they are; the table is built again from the newest ends.
void NgramIndex::grow() {
  std::vector<int32_t> old(std::max(kSlotsMin, slots_.size() * 2), kNone);
  old.swap(slots_);
  for (const int32_t end : old) {
    if (end != kNone) slots_[slot_of(end)] = end;
  }
}

void NgramIndex::append_one(TokenId token) {
  CHECK(tokens_.size() < size_t{INT32_MAX});
  const auto end = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
  previous_.push_back(kNone);
  if (end + 1 < kNgram) return;
  if ((used_ + 1) * 2 > slots_.size()) grow();
  int32_t& slot = slots_[slot_of(end)];
  if (slot == kNone) ++used_;
  previous_.back() = slot;
  slot = end;
}

void NgramIndex::append(std::span<const TokenId> tokens) {
  for (const TokenId token : tokens) append_one(token);
}

NgramIndex::Match NgramIndex::find() const {
  Match best;
  if (tokens_.empty()) return best;
  const int64_t end = static_cast<int64_t>(tokens_.size()) - 1;
  int64_t candidate = previous_.back();
  for (int64_t i = 0; i < kCandidates && candidate != kNone; ++i) {
    const int64_t most = std::min(kMatchMax, candidate + 1);
    int64_t length = kNgram;
    while (length < most && tokens_[static_cast<size_t>(candidate - length)] ==
                                tokens_[static_cast<size_t>(end - length)]) {
      ++length;
    }
    if (length > best.length) best = {candidate + 1, length};
    if (best.length == kMatchMax) break;
    candidate = previous_[static_cast<size_t>(candidate)];
  }
  return best;
}

}  // namespace hadal
