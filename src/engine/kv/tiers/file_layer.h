#pragma once
/// FileLayer: the file operations of the disk tier, so that tests can let each of them fail.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace hadal {

/// An open file; closed with the object.
class FileHandle {
 public:
  explicit FileHandle(int fd = -1) : fd_(fd) {}
  ~FileHandle();
  FileHandle(FileHandle&& other) noexcept;
  FileHandle& operator=(FileHandle&& other) noexcept;
  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }

 private:
  int fd_;
};

/// Thread-safe. Errors are kIo with the path and the system's reason, kNotFound when a file is not
/// there, kUnavailable for a lock that another process holds.
class FileLayer {
 public:
  virtual ~FileLayer() = default;
  static FileLayer& real();

  enum class Mode : uint8_t { kRead, kReadWrite, kCreate };  ///< kCreate: must not be there yet
  struct Listed {
    std::string name;
    uint64_t bytes = 0;
    int64_t modified_unix = 0;  ///< seconds
    bool is_directory = false;
  };

  /// Makes the directory for this user alone (0700) if it is not there. kDenied when it belongs to
  /// someone else, others may look into it or it is a link.
  virtual Status make_private_directory(const std::filesystem::path& path) = 0;
  virtual Result<std::vector<Listed>> list(const std::filesystem::path& directory) = 0;
  virtual Status remove(const std::filesystem::path& path) = 0;  ///< a file or an empty directory
  virtual Result<uint64_t> free_bytes(const std::filesystem::path& path) = 0;

  /// New files are for this user alone (0600). Links are not followed.
  virtual Result<FileHandle> open(const std::filesystem::path& path, Mode mode) = 0;
  /// A file that no other process has locked, made if it is not there; locked until closed.
  virtual Result<FileHandle> lock(const std::filesystem::path& path) = 0;
  /// Reads until `out` is full or the file ends; the bytes read.
  virtual Result<size_t> read(const FileHandle& file, std::span<std::byte> out,
                              uint64_t offset) = 0;
  /// All or an error; a part of the bytes may have been written then.
  virtual Status write(const FileHandle& file, std::span<const std::byte> bytes,
                       uint64_t offset) = 0;
  /// Takes the bytes from the disk; they read as zeros. Where a file system cannot, they stay.
  virtual void erase(const FileHandle& file, uint64_t offset, uint64_t bytes) = 0;
};

}  // namespace hadal
