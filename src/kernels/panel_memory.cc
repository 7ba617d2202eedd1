#include "kernels/panel_memory.h"

#include <algorithm>
#include <utility>

#include "base/big_memory.h"
#include "base/check.h"
#include "base/mutex.h"

namespace hadal {
namespace {

constexpr int64_t kChunkBytes = int64_t{64} << 20;

}  // namespace

struct PanelMemory::Chunk {
  explicit Chunk(int64_t bytes) : memory(bytes) {}

  BigMemory memory;
  int64_t used = 0;
  int64_t blocks = 0;
};

/// The chunk that new blocks come from, and the guard of all chunks' counts.
struct PanelMemory::Current {
  Mutex mutex;
  Chunk* chunk GUARDED_BY(mutex) = nullptr;
};

PanelMemory::Current& PanelMemory::current() {
  static Current current;
  return current;
}

PanelMemory::PanelMemory(int64_t bytes) {
  CHECK(bytes >= 0);
  const int64_t size = (bytes + 63) / 64 * 64;
  Current& now = current();
  const MutexLock lock(now.mutex);
  if (now.chunk == nullptr || now.chunk->memory.size() - now.chunk->used < size) {
    now.chunk = new Chunk(std::max(kChunkBytes, size));  // an earlier one stays with its blocks
  }
  chunk_ = now.chunk;
  data_ = chunk_->memory.data() + chunk_->used;
  chunk_->used += size;
  ++chunk_->blocks;
}

PanelMemory::~PanelMemory() {
  if (chunk_ == nullptr) return;
  Current& now = current();
  const MutexLock lock(now.mutex);
  if (--chunk_->blocks > 0) return;
  if (now.chunk == chunk_) now.chunk = nullptr;
  delete chunk_;
}

PanelMemory::PanelMemory(PanelMemory&& other) noexcept
    : chunk_(std::exchange(other.chunk_, nullptr)), data_(std::exchange(other.data_, nullptr)) {}

PanelMemory& PanelMemory::operator=(PanelMemory&& other) noexcept {
  std::swap(chunk_, other.chunk_);
  std::swap(data_, other.data_);
  return *this;
}

}  // namespace hadal
