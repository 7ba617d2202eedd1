#include "engine/kv/page_ledger.h"

#include "base/check.h"

namespace hadal {

PageLedger::PageLedger(int64_t n_pages) {
  CHECK(n_pages > 0);
  references_.resize(static_cast<size_t>(n_pages), 0);
  for (int64_t page = n_pages - 1; page >= 0; --page) free_.push_back(static_cast<PageId>(page));
}

size_t PageLedger::index(PageId page) const {
  CHECK(page >= 0 && static_cast<size_t>(page) < references_.size());
  return static_cast<size_t>(page);
}

std::optional<PageId> PageLedger::acquire() {
  if (free_.empty()) return std::nullopt;
  const PageId page = free_.back();
  free_.pop_back();
  CHECK(references_[index(page)] == 0);
  references_[index(page)] = 1;
  return page;
}

void PageLedger::retain(PageId page) {
  CHECK(references_[index(page)] > 0);
  ++references_[index(page)];
}

void PageLedger::release(PageId page) {
  CHECK(references_[index(page)] > 0);
  if (--references_[index(page)] == 0) free_.push_back(page);
}

void PageLedger::check_integrity(std::span<const int32_t> holders) const {
  CHECK(holders.size() == references_.size());
  size_t unused = 0;
  for (size_t i = 0; i < holders.size(); ++i) {
    CHECK(references_[i] == holders[i]);
    unused += holders[i] == 0 ? 1 : 0;
  }
  std::vector<bool> seen(references_.size(), false);
  for (PageId page : free_) {
    CHECK(references_[index(page)] == 0);
    CHECK(!seen[index(page)]);
    seen[index(page)] = true;
  }
  CHECK(free_.size() == unused);
}

}  // namespace hadal
