#include "base/big_memory.h"

#include <utility>

#include <sys/mman.h>

#include "base/check.h"

namespace hadal {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kPage = 4096;

size_t round_up(size_t value, size_t unit) {
  return (value + unit - 1) / unit * unit;
}

uint8_t* map(size_t bytes) {
  const size_t reserved = bytes + (bytes >= kHugePage ? kHugePage : 0);
  void* memory =
      mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  auto* begin = static_cast<uint8_t*>(memory);
  if (reserved == bytes) return begin;
  const size_t skip =
      round_up(reinterpret_cast<size_t>(begin), kHugePage) - reinterpret_cast<size_t>(begin);
  if (skip > 0) munmap(begin, skip);
  if (skip < kHugePage) munmap(begin + skip + bytes, kHugePage - skip);
  madvise(begin + skip, bytes, MADV_HUGEPAGE);  // a kernel without them refuses: small pages then
  return begin + skip;
}

}  // namespace

BigMemory::BigMemory(int64_t bytes) {
  CHECK(bytes >= 0);
  if (bytes == 0) return;
  size_ = static_cast<int64_t>(round_up(static_cast<size_t>(bytes), kPage));
  data_ = map(static_cast<size_t>(size_));
}

BigMemory::~BigMemory() {
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(size_));
}

BigMemory::BigMemory(BigMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

BigMemory& BigMemory::operator=(BigMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

uint8_t* BigMemory::reserve(int64_t bytes) {
  if (bytes > size_) *this = BigMemory(bytes);
  return data_;
}

}  // namespace hadal
