#pragma once
/// PageLedger: how many holders each page of a pool has, and which pages are free.
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/kv_pool.h"

namespace hadal {

inline constexpr PageId kNoPage = -1;

/// Not thread-safe: the engine's thread owns it. Never allocates after the constructor.
class PageLedger {
 public:
  explicit PageLedger(int64_t n_pages);

  int64_t n_pages() const { return static_cast<int64_t>(references_.size()); }
  int64_t free_count() const { return static_cast<int64_t>(free_.size()); }
  int32_t references(PageId page) const { return references_[index(page)]; }

  /// A free page with one reference, the caller's; the one freed last, whose memory is warm.
  std::optional<PageId> acquire();
  /// One more holder. REQUIRES: the page has one.
  void retain(PageId page);
  /// One holder less; without any the page is free.
  void release(PageId page);

  /// CHECKs that page i has holders[i] references, and that exactly those without are free, once.
  void check_integrity(std::span<const int32_t> holders) const;

 private:
  size_t index(PageId page) const;

  std::vector<int32_t> references_;
  std::vector<PageId> free_;  ///< taken from the back; low pages first at the beginning
};

}  // namespace hadal
