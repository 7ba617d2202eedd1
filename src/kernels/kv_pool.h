#pragma once
/// KvPool: memory for keys and values in pages; KvSequence: one sequence's page table.
///
/// Layout of one layer: pages of `page_tokens` positions; in a page, keys of all KV heads
/// [kv_head][position][d_head], then values likewise. Pages are handed out and taken back by the
/// engine; the model only reads and writes through addresses given here.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/check.h"

namespace hadal {

enum class KvType : uint8_t { kF32, kF16 };
inline constexpr size_t kv_type_bytes(KvType type) {
  return type == KvType::kF32 ? 4 : 2;
}

/// What a model stores per position.
struct KvLayout {
  int64_t n_layers = 0;
  int64_t n_kv_heads = 0;
  int64_t d_head = 0;
  KvType type = KvType::kF16;

  uint64_t bytes_per_token() const {
    return static_cast<uint64_t>(n_layers * n_kv_heads * d_head) * 2 * kv_type_bytes(type);
  }
};

using PageId = int32_t;

/// A sequence's pages in order: position p lies in pages[p / page_tokens] at p % page_tokens.
struct KvSequence {
  std::span<const PageId> pages;
};

/// Owns the memory. Not thread-safe as a whole; distinct pages may be written by distinct threads.
class KvPool {
 public:
  /// Memory is reserved at once and touched on first use.
  KvPool(const KvLayout& layout, int64_t page_tokens, int64_t n_pages);
  ~KvPool();
  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;

  const KvLayout& layout() const { return layout_; }
  int64_t page_tokens() const { return page_tokens_; }
  int64_t n_pages() const { return n_pages_; }

  /// First byte of the keys (values) of `kv_head` in `page` of `layer`: page_tokens x d_head.
  std::byte* keys(int64_t layer, PageId page, int64_t kv_head) {
    return base(layer, page) + kv_head * head_bytes_;
  }
  std::byte* values(int64_t layer, PageId page, int64_t kv_head) {
    return base(layer, page) + (layout_.n_kv_heads + kv_head) * head_bytes_;
  }

 private:
  std::byte* base(int64_t layer, PageId page) {
    DCHECK(layer >= 0 && layer < layout_.n_layers && page >= 0 && page < n_pages_);
    return data_ + (static_cast<int64_t>(page) * layout_.n_layers + layer) * layer_bytes_;
  }

  KvLayout layout_;
  int64_t page_tokens_;
  int64_t n_pages_;
  int64_t head_bytes_;
  int64_t layer_bytes_;
  size_t mapped_bytes_;
  std::byte* data_;
};

}  // namespace hadal
