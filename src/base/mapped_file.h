#pragma once
/// A file's bytes mapped read-only. The pages come from the page cache when first touched.
#include <cstddef>
#include <filesystem>
#include <span>
#include <utility>

#include "base/result.h"

namespace hadal {

/// Owns the mapping; views into bytes() must not outlive it. Reading is thread-safe. A file that
/// another process truncates while mapped raises SIGBUS: model files must not be edited in place.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  MappedFile(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  MappedFile(const std::byte* data, size_t size) : data_(data), size_(size) {}
  const std::byte* data_;
  size_t size_;
};

}  // namespace hadal
