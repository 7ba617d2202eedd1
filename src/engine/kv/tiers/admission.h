#pragma once
/// Which pages are worth a place in a tier. Most pages of most loads are never asked for again;
/// copying or writing them would make a server without reuse slower (docs/decisions/0012).
#include <cstdint>
#include <vector>

#include "engine/kv/tier.h"

namespace hadal {

/// A small memory of keys: a table in which the newer of two keys at one place wins, so old ones
/// fade away by themselves. A wrong yes has a chance of 2^-31.
class KeySketch {
 public:
  KeySketch() : tags_(kPlaces, 0) {}
  void note(const PageKey& key) { tags_[place(key)] = tag(key); }
  bool seen(const PageKey& key) const { return tags_[place(key)] == tag(key); }

 private:
  static constexpr size_t kPlaces = size_t{1} << 16;  // 256 KiB; pages of 4 million tokens
  static size_t place(const PageKey& key) { return key.low % kPlaces; }
  static uint32_t tag(const PageKey& key) { return static_cast<uint32_t>(key.high) | 1; }
  std::vector<uint32_t> tags_;
};

/// Lets pages in whose prefix was reused before or that are offered a second time. For others there
/// is a credit: each costs one, each page that proves useful earns `kReward`, up to the start's
/// value. Under a load without reuse the credit runs out and offers cost next to nothing; a page
/// that is asked for although it was refused shows that the load has changed.
class ReuseGate {
 public:
  /// `credit_max`: pages taken on trust; 0: none ever.
  explicit ReuseGate(uint64_t credit_max) : credit_(credit_max), credit_max_(credit_max) {}

  bool admit(const PageKey& key, uint32_t hits);
  /// A page that was let in was of use.
  void reward();
  /// A page that is not there was asked for.
  void missed(const PageKey& key);

 private:
  static constexpr uint64_t kReward = 64;
  KeySketch refused_;
  uint64_t credit_;
  uint64_t credit_max_;
};

}  // namespace hadal
