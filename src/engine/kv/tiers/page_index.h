#pragma once
/// Which pages a tier holds, in the order of their last use.
#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>

#include "engine/kv/tier.h"

namespace hadal {

/// Not thread-safe. A page's place (`slot`) is the tier's affair.
class PageIndex {
 public:
  struct Entry {
    PageKey key;
    uint64_t slot = 0;
    uint32_t hits = 0;
    int64_t used_micros = 0;
    uint32_t chances = 0;  ///< hits that still count: halved when the page is passed over
  };
  using Order = std::list<Entry>;

  size_t size() const { return by_key_.size(); }
  /// Most recently used first.
  const Order& entries() const { return order_; }
  const Entry* find(const PageKey& key) const;
  /// Most recently used from now on; all its hits count. REQUIRES: the key is not there.
  void insert(Entry entry);
  /// Counts as used now, `hits` more times. Unknown keys are ignored.
  void touch(const PageKey& key, uint32_t hits, int64_t now_micros);
  /// Counts a use; the order stays.
  void add_hit(const PageKey& key);
  void erase(const PageKey& key);
  /// Takes out the page to evict: the least recently used one, but pages that were reused get
  /// another round first. Nothing when it is empty.
  std::optional<Entry> take_victim();
  /// Takes out a page that was not used since `before_micros`, if there is one.
  std::optional<Entry> take_unused(int64_t before_micros);

 private:
  static void add_hits(Entry& entry, uint32_t hits);

  Order order_;
  std::unordered_map<PageKey, Order::iterator, PageKeyHash> by_key_;
};

}  // namespace hadal
