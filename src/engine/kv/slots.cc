#include "engine/kv/slots.h"

#include "base/check.h"

namespace hadal {

SlotTable::SlotTable(int n_slots) : slots_(static_cast<size_t>(n_slots)) {
  CHECK(n_slots > 0);
  for (int i = n_slots - 1; i >= 0; --i) {
    slots_[static_cast<size_t>(i)].pages = {static_cast<PageId>(i)};
    free_.push_back(i);
  }
}

std::optional<int> SlotTable::acquire(RequestId owner) {
  CHECK(owner != 0);
  if (free_.empty()) return std::nullopt;
  const int slot = free_.back();
  free_.pop_back();
  Slot& taken = slots_[static_cast<size_t>(slot)];
  CHECK(taken.owner == 0);
  taken.owner = owner;
  return slot;
}

void SlotTable::release(int slot, RequestId owner) {
  CHECK(slot >= 0 && static_cast<size_t>(slot) < slots_.size());
  Slot& held = slots_[static_cast<size_t>(slot)];
  CHECK(owner != 0 && held.owner == owner);
  held.owner = 0;
  free_.push_back(slot);
}

KvSequence SlotTable::sequence(int slot) const {
  CHECK(slot >= 0 && static_cast<size_t>(slot) < slots_.size());
  return {slots_[static_cast<size_t>(slot)].pages};
}

void SlotTable::check_integrity() const {
  std::vector<bool> is_free(slots_.size(), false);
  for (int slot : free_) {
    CHECK(slot >= 0 && static_cast<size_t>(slot) < slots_.size());
    CHECK(!is_free[static_cast<size_t>(slot)]);
    is_free[static_cast<size_t>(slot)] = true;
  }
  std::vector<bool> page_seen(slots_.size(), false);
  for (size_t i = 0; i < slots_.size(); ++i) {
    CHECK(is_free[i] == (slots_[i].owner == 0));
    for (PageId page : slots_[i].pages) {
      CHECK(page >= 0 && static_cast<size_t>(page) < page_seen.size());
      CHECK(!page_seen[static_cast<size_t>(page)]);
      page_seen[static_cast<size_t>(page)] = true;
    }
  }
}

}  // namespace hadal
