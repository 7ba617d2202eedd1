#pragma once
/// BigMemory: a block of zeroed memory for data that is streamed: weights, buffers of many rows.
#include <cstddef>
#include <cstdint>

namespace hadal {

/// Owns `size()` bytes, aligned to 64, zero until written. Blocks of 2 MiB and more begin on a huge
/// page and ask the kernel for huge pages (fewer misses of the address cache, longer prefetches);
/// where it has none, small pages serve. Pages are taken when first touched, on the memory node of
/// the thread that touches them.
class BigMemory {
 public:
  BigMemory() = default;
  explicit BigMemory(int64_t bytes);
  ~BigMemory();
  BigMemory(BigMemory&& other) noexcept;
  BigMemory& operator=(BigMemory&& other) noexcept;

  uint8_t* data() const { return data_; }
  int64_t size() const { return size_; }

  /// At least `bytes` bytes; what was there is lost when it grows.
  uint8_t* reserve(int64_t bytes);

 private:
  uint8_t* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace hadal
