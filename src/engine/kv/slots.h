#pragma once
/// Who owns which pages of the KvPool. Here every slot has one page that holds a whole sequence;
/// readers see page tables only, so pages may become smaller and shared without touching them.
#include <cstdint>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "kernels/kv_pool.h"

namespace hadal {

/// Slots of running sequences and their page tables. Not thread-safe: the engine's thread owns it.
class SlotTable {
 public:
  explicit SlotTable(int n_slots);

  int free_count() const { return static_cast<int>(free_.size()); }
  int used_count() const { return static_cast<int>(slots_.size() - free_.size()); }

  /// A slot and its pages for `owner` (not 0), or nothing when all are taken.
  std::optional<int> acquire(RequestId owner);
  /// REQUIRES: `owner` holds `slot`.
  void release(int slot, RequestId owner);

  /// Valid while the slot is held.
  KvSequence sequence(int slot) const;

  /// CHECKs that each page has exactly one holder: one slot, and that slot either owned or free.
  void check_integrity() const;

 private:
  struct Slot {
    RequestId owner = 0;
    std::vector<PageId> pages;
  };
  std::vector<Slot> slots_;
  std::vector<int> free_;  ///< lowest last, so that low pages are reused while warm
};

}  // namespace hadal
