#include "kernels/kv_pool.h"

#include <sys/mman.h>

#include "base/check.h"

namespace hadal {

std::string_view name_of(KvType type) {
  switch (type) {
    case KvType::kF32:
      return "f32";
    case KvType::kF16:
      return "f16";
    case KvType::kQ8_0:
      return "q8_0";
    case KvType::kBF16:
      return "bf16";
  }
  CHECK(false);
}

std::optional<KvType> kv_type_of(std::string_view name) {
  for (const KvType type : kKvTypes) {
    if (name_of(type) == name) return type;
  }
  return std::nullopt;
}

int64_t KvLayout::key_record_bytes() const {
  if (type == KvType::kQ8_0) return width() + width() / 32 * 2;
  return width() * (type == KvType::kF32 ? 4 : 2);
}

int64_t KvLayout::key_block_bytes() const {
  return (kKvBlock * key_record_bytes() + 63) / 64 * 64;
}

int64_t KvLayout::value_block_bytes() const {
  if (values_in_keys) return 0;
  if (type == KvType::kQ8_0) return kKvBlock * (width() + 4);
  return kKvBlock * width() * (type == KvType::kF32 ? 4 : 2);
}

KvPool::KvPool(const KvLayout& layout, int64_t page_tokens, int64_t n_pages)
    : layout_(layout),
      page_tokens_((page_tokens + kKvBlock - 1) / kKvBlock * kKvBlock),
      n_pages_(n_pages),
      key_block_bytes_(layout.key_block_bytes()),
      value_block_bytes_(layout.value_block_bytes()),
      key_record_bytes_(layout.key_record_bytes()) {
  CHECK(layout.n_layers > 0 && layout.n_kv_heads > 0 && layout.d_head > 0);
  CHECK(layout.n_kv_heads == 1 || !layout.values_in_keys);
  CHECK(page_tokens > 0 && n_pages > 0 && layout.extra_bytes % 4 == 0);
  layer_bytes_ =
      page_tokens_ / kKvBlock * layout.n_kv_heads * (key_block_bytes_ + value_block_bytes_);
  page_bytes_ = layout.n_layers * layer_bytes_ + (page_tokens_ * layout.extra_bytes + 63) / 64 * 64;
  mapped_bytes_ = static_cast<size_t>(n_pages * page_bytes_);
  void* memory = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(memory != MAP_FAILED);
  data_ = static_cast<std::byte*>(memory);
}

KvPool::~KvPool() {
  munmap(data_, mapped_bytes_);
}

}  // namespace hadal
