#pragma once
/// KvPool: memory for keys and values in pages; KvSequence: one sequence's page table.
///
/// Pages are handed out and taken back by the engine; the model only reads and writes through
/// addresses given here. In a page of a layer lie the keys of each KV head, then its values, both
/// as blocks of 16 positions (kKvBlock), so that neither scores nor mixes need a transposition. `w`
/// is d_head rounded up to 32.
///
///   F32, F16, BF16
///             key block:   [column < w][position < 16]
///             value block: [position < 16][column < w]
///   Q8_0      codes are round(x / scale) + 128 in [1, 255], a byte each
///             key block:   codes [w / 4][16 positions][4 columns], then a scale in F16 per 32
///                          columns and position: [w / 32][16 positions]
///             value block: codes [4][w][4 positions], then a scale in F32 per position: [16]
///             A scale is the largest magnitude / 127. A group that holds infinities or NaN (a key
///             above 127 * 65504 counts as infinite) is no number as a whole.
///
/// Where values are columns of the keys (values_in_keys), a key block is 16 records, one per
/// position, so that single positions can be picked (kernels/latent_attention.h):
///
///   F32, F16, BF16
///             [column < w]
///   Q8_0      codes round(x / scale) in [-127, 127] as signed bytes [w], then a scale in F16 per
///   32
///             columns [w / 32]; scales as above
///
/// Four neighbours of the direction that a product sums over fill 32 bits, as in packed weights
/// (cpu/cpu_ops.h). Values have one scale per position because it must leave the sum over
/// positions through the weights.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/check.h"

namespace hadal {

enum class KvType : uint8_t { kF32, kF16, kQ8_0, kBF16 };
inline constexpr KvType kKvTypes[] = {KvType::kF32, KvType::kF16, KvType::kQ8_0, KvType::kBF16};

/// "f32", "f16", "q8_0", "bf16", and back.
std::string_view name_of(KvType type);
std::optional<KvType> kv_type_of(std::string_view name);

inline constexpr int64_t kKvBlock = 16;
/// Rises whenever the bytes of a page come to mean something else: pages kept before are not taken.
/// 2: keys of the indexer in 16 bits (index_key.h).
inline constexpr int kKvContents = 2;

/// What a model stores per position.
struct KvLayout {
  int64_t n_layers = 0;
  int64_t n_kv_heads = 0;
  int64_t d_head = 0;
  KvType type = KvType::kF16;
  /// Nothing is stored for values: they are columns of the keys (multi-head latent attention).
  bool values_in_keys = false;
  /// Beside keys and values, per position, all layers together: what the model makes of it. A
  /// multiple of 4.
  int64_t extra_bytes = 0;

  /// d_head as stored.
  int64_t width() const { return (d_head + 31) / 32 * 32; }
  int64_t key_block_bytes() const;
  int64_t value_block_bytes() const;
  /// A position's share of a key block.
  int64_t key_record_bytes() const;
  uint64_t bytes_per_token() const {
    const int64_t blocks = n_layers * n_kv_heads * (key_block_bytes() + value_block_bytes());
    return static_cast<uint64_t>(blocks / kKvBlock + extra_bytes);
  }
};

using PageId = int32_t;

/// A sequence's pages in order: position p lies in pages[p / page_tokens] at p % page_tokens.
struct KvSequence {
  std::span<const PageId> pages;
};

/// Owns the memory. Not thread-safe as a whole; distinct positions may be written by distinct
/// threads.
class KvPool {
 public:
  /// Memory is reserved at once and touched on first use. `page_tokens` is rounded up to whole
  /// blocks.
  KvPool(const KvLayout& layout, int64_t page_tokens, int64_t n_pages);
  ~KvPool();
  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;

  const KvLayout& layout() const { return layout_; }
  int64_t page_tokens() const { return page_tokens_; }
  int64_t n_pages() const { return n_pages_; }

  /// A page of all layers and what is beside them, in one piece.
  std::span<std::byte> page_bytes(PageId page) {
    return {base(0, page), static_cast<size_t>(page_bytes_)};
  }

  /// page_tokens * layout().extra_bytes bytes, aligned to 64.
  std::byte* extra(PageId page) { return base(0, page) + layout_.n_layers * layer_bytes_; }

  /// First block of the keys (values) of `kv_head` in `page` of `layer`: page_tokens / 16 blocks.
  std::byte* keys(int64_t layer, PageId page, int64_t kv_head) {
    return base(layer, page) + kv_head * page_tokens_ / kKvBlock * key_block_bytes_;
  }
  std::byte* values(int64_t layer, PageId page, int64_t kv_head) {
    return base(layer, page) +
           page_tokens_ / kKvBlock *
               (layout_.n_kv_heads * key_block_bytes_ + kv_head * value_block_bytes_);
  }
  /// The block that holds `position` of a sequence.
  std::byte* key_block(int64_t layer, const KvSequence& sequence, int64_t kv_head,
                       int64_t position) {
    return keys(layer, page_of(sequence, position), kv_head) +
           position % page_tokens_ / kKvBlock * key_block_bytes_;
  }
  /// The record of `position`; layouts with values_in_keys.
  std::byte* key_record(int64_t layer, const KvSequence& sequence, int64_t position) {
    return key_block(layer, sequence, 0, position) + position % kKvBlock * key_record_bytes_;
  }
  std::byte* value_block(int64_t layer, const KvSequence& sequence, int64_t kv_head,
                         int64_t position) {
    return values(layer, page_of(sequence, position), kv_head) +
           position % page_tokens_ / kKvBlock * value_block_bytes_;
  }

 private:
  PageId page_of(const KvSequence& sequence, int64_t position) const {
    return sequence.pages[static_cast<size_t>(position / page_tokens_)];
  }
  std::byte* base(int64_t layer, PageId page) {
    DCHECK(layer >= 0 && layer < layout_.n_layers && page >= 0 && page < n_pages_);
    return data_ + static_cast<int64_t>(page) * page_bytes_ + layer * layer_bytes_;
  }

  KvLayout layout_;
  int64_t page_tokens_;
  int64_t n_pages_;
  int64_t key_block_bytes_;
  int64_t value_block_bytes_;
  int64_t key_record_bytes_;
  int64_t layer_bytes_;
  int64_t page_bytes_;
  size_t mapped_bytes_;
  std::byte* data_;
};

}  // namespace hadal
