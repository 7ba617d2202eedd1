#pragma once
/// WordCache: the ids of short pieces seen lately. Most words of a text repeat, and a hit costs a
/// tenth of merging. One per thread (no locks), shared by all tokenizers of the thread: entries
/// name their owner.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace hadal {

class WordCache {
 public:
  static constexpr size_t kWordBytes = 24;
  static constexpr size_t kWordIds = 8;

  /// A word's bytes as three integers, padded with zero bytes.
  using Key = std::array<uint64_t, 3>;

  /// The calling thread's cache.
  static WordCache& of_thread() {
    thread_local WordCache cache;
    return cache;
  }
  /// A number that no other tokenizer of this process has or had.
  static uint32_t new_owner() {
    static std::atomic<uint32_t> last{0};
    return ++last;
  }

  /// REQUIRES: 1 <= size <= kWordBytes, and that many bytes at `position`. Reads whole words where
  /// the text is long enough.
  static Key key_of(std::string_view text, size_t position, size_t size) {
    Key key{};
    if (position + kWordBytes > text.size()) {
      std::memcpy(key.data(), text.data() + position, size);
      return key;
    }
    std::memcpy(key.data(), text.data() + position, kWordBytes);
    const auto mask = [](size_t bytes) { return ~uint64_t{0} >> (64 - 8 * bytes); };
    if (size <= 8) {
      key = {key[0] & mask(size), 0, 0};
    } else if (size <= 16) {
      key = {key[0], key[1] & mask(size - 8), 0};
    } else {
      key[2] &= mask(size - 16);
    }
    return key;
  }

  /// Ids of the word; empty when not cached (a word always has ids).
  std::span<const TokenId> find(uint32_t owner, const Key& key, size_t size) const {
    const Entry& entry = entries_[slot_of(key)];
    const bool hit = entry.key == key && entry.owner == owner && entry.size == size;
    return {entry.ids.data(), hit ? entry.count : size_t{0}};
  }

  void put(uint32_t owner, const Key& key, size_t size, std::span<const TokenId> ids) {
    if (ids.empty() || ids.size() > kWordIds) return;
    Entry& entry = entries_[slot_of(key)];
    entry = {key, owner, static_cast<uint8_t>(size), static_cast<uint8_t>(ids.size()), {}};
    std::copy(ids.begin(), ids.end(), entry.ids.begin());
  }

 private:
  /// One cache line.
  struct alignas(64) Entry {
    Key key{};
    uint32_t owner = 0;
    uint8_t size = 0;
    uint8_t count = 0;
    std::array<TokenId, kWordIds> ids{};
  };
  static constexpr int kSlotBits = 13;  // 512 KiB, about what a core's second-level cache holds

  WordCache() : entries_(size_t{1} << kSlotBits) {}

  static size_t slot_of(const Key& key) {
    const uint64_t mixed =
        (key[0] ^ (key[1] * 0xA0761D6478BD642Fu) ^ (key[2] * 0xE7037ED1A0B428DBu)) *
        0x9E3779B97F4A7C15u;
    return mixed >> (64 - kSlotBits);
  }

  std::vector<Entry> entries_;
};

}  // namespace hadal
