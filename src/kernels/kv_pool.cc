#include "kernels/kv_pool.h"

#include <sys/mman.h>

#include "base/check.h"

namespace hadal {

KvPool::KvPool(const KvLayout& layout, int64_t page_tokens, int64_t n_pages)
    : layout_(layout), page_tokens_(page_tokens), n_pages_(n_pages) {
  CHECK(layout.n_layers > 0 && layout.n_kv_heads > 0 && layout.d_head > 0);
  CHECK(page_tokens > 0 && n_pages > 0);
  head_bytes_ = page_tokens * layout.d_head * static_cast<int64_t>(kv_type_bytes(layout.type));
  layer_bytes_ = 2 * layout.n_kv_heads * head_bytes_;
  mapped_bytes_ = static_cast<size_t>(n_pages * layout.n_layers * layer_bytes_);
  void* memory = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(memory != MAP_FAILED);
  data_ = static_cast<std::byte*>(memory);
}

KvPool::~KvPool() {
  munmap(data_, mapped_bytes_);
}

}  // namespace hadal
