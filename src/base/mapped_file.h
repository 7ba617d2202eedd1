#pragma once
/// A file's bytes mapped read-only. The pages come from the page cache when first touched.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>

#include "base/result.h"

namespace hadal {

/// What the file system knows of a file. It changes with every write, replacement and rename, so
/// two equal identities mean equal content, but for writes within one tick of the file system's
/// clock: trust an identity only when it was `settled` as it was taken.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t bytes = 0;
  int64_t modified_ns = 0;  ///< since 1970; of the content
  int64_t changed_ns = 0;   ///< of the content, the name or the rights
  bool operator==(const FileIdentity&) const = default;

  /// Whether the last change lay at least a second before `unix_ns`.
  bool settled(int64_t unix_ns) const;
  /// Of the file that `path` leads to now.
  static Result<FileIdentity> of(const std::filesystem::path& path);
};

/// Owns the mapping; views into bytes() must not outlive it. Reading is thread-safe. A file that
/// another process truncates while mapped raises SIGBUS: model files must not be edited in place.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        identity_(other.identity_) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(identity_, other.identity_);
    return *this;
  }
  MappedFile(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  /// Of the file that is mapped, as it was when it was opened.
  const FileIdentity& identity() const { return identity_; }

  /// Gives the memory of `part` (of bytes()) back to the page cache; it comes again when touched.
  void forget(std::span<const std::byte> part) const;

 private:
  MappedFile(const std::byte* data, size_t size, const FileIdentity& identity)
      : data_(data), size_(size), identity_(identity) {}
  const std::byte* data_;
  size_t size_;
  FileIdentity identity_;
};

}  // namespace hadal
