#include "base/mapped_file.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace hadal {
namespace {

int64_t nanoseconds(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

FileIdentity identity_from(const struct stat& info) {
  return {static_cast<uint64_t>(info.st_dev), static_cast<uint64_t>(info.st_ino),
          static_cast<uint64_t>(info.st_size), nanoseconds(info.st_mtim),
          nanoseconds(info.st_ctim)};
}

}  // namespace

bool FileIdentity::settled(int64_t unix_ns) const {
  constexpr int64_t kTick = 1'000'000'000;  // the coarsest clock of a file system in use
  return changed_ns <= unix_ns - kTick;     // nobody can set this time, unlike modified_ns
}

Result<FileIdentity> FileIdentity::of(const std::filesystem::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    return Error{errno == ENOENT ? Code::kNotFound : Code::kIo,
                 "cannot stat " + path.string() + ": " + std::strerror(errno)};
  }
  return identity_from(info);
}

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const auto fail = [&](const char* what) {
    const Code code = errno == ENOENT ? Code::kNotFound : Code::kIo;
    return Error{code, std::string(what) + " " + path.string() + ": " + std::strerror(errno)};
  };
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail("cannot open");
  struct stat info {};
  if (::fstat(fd, &info) != 0) {
    const Error error = fail("cannot stat");
    ::close(fd);
    return error;
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    return Error{Code::kInvalidArgument, path.string() + " is not a regular file"};
  }
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) {
    ::close(fd);
    return MappedFile(nullptr, 0, identity_from(info));
  }
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  ::close(fd);
  if (data == MAP_FAILED) return fail("cannot map");
  return MappedFile(static_cast<const std::byte*>(data), size, identity_from(info));
}

void MappedFile::forget(std::span<const std::byte> part) const {
  // Whole pages only: a page at an edge may hold something that is still in use.
  constexpr size_t kPage = 4096;
  const auto first = static_cast<size_t>(part.data() - data_);
  const size_t begin = (first + kPage - 1) / kPage * kPage;
  const size_t end = (first + part.size()) / kPage * kPage;
  if (begin < end) ::madvise(const_cast<std::byte*>(data_ + begin), end - begin, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace hadal
