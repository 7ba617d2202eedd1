#include "engine/kv/tiers/file_layer.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace hadal {
namespace {

Error failure(const char* what, const std::filesystem::path& path, int number) {
  return Error{number == ENOENT ? Code::kNotFound : Code::kIo,
               std::string(what) + " " + path.string() + ": " + std::strerror(number)};
}

class RealFiles final : public FileLayer {
 public:
  Status make_private_directory(const std::filesystem::path& path) override {
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
      return failure("cannot create", path, errno);
    }
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return failure("cannot look at", path, errno);
    if (!S_ISDIR(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 077) != 0) {
      return Error{Code::kDenied, path.string() + " is not a directory of this user alone",
                   "make it so with: chmod 700 " + path.string()};
    }
    return {};
  }

  Result<std::vector<Listed>> list(const std::filesystem::path& directory) override {
    std::vector<Listed> out;
    std::error_code failed;
    for (std::filesystem::directory_iterator it(directory, failed), end; !failed && it != end;
         it.increment(failed)) {
      struct stat info {};
      if (::lstat(it->path().c_str(), &info) != 0) continue;  // it has gone meanwhile
      out.push_back({it->path().filename().string(), static_cast<uint64_t>(info.st_size),
                     info.st_mtim.tv_sec, S_ISDIR(info.st_mode)});
    }
    if (failed) return failure("cannot list", directory, failed.value());
    return out;
  }

  Status remove(const std::filesystem::path& path) override {
    if (::remove(path.c_str()) != 0) return failure("cannot remove", path, errno);
    return {};
  }

  Result<uint64_t> free_bytes(const std::filesystem::path& path) override {
    struct statvfs info {};
    if (::statvfs(path.c_str(), &info) != 0) return failure("cannot look at", path, errno);
    return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  }

  Result<FileHandle> open(const std::filesystem::path& path, Mode mode) override {
    const int flags = mode == Mode::kRead        ? O_RDONLY
                      : mode == Mode::kReadWrite ? O_RDWR
                                                 : O_RDWR | O_CREAT | O_EXCL;
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return failure("cannot open", path, errno);
    return FileHandle(fd);
  }

  Result<FileHandle> lock(const std::filesystem::path& path) override {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return failure("cannot open", path, errno);
    FileHandle file(fd);
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return file;
    if (errno != EWOULDBLOCK) return failure("cannot lock", path, errno);
    return Error{Code::kUnavailable, "another process uses " + path.parent_path().string()};
  }

  Result<size_t> read(const FileHandle& file, std::span<std::byte> out, uint64_t offset) override {
    size_t done = 0;
    while (done < out.size()) {
      const ssize_t n = ::pread(file.fd(), out.data() + done, out.size() - done,
                                static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failure("cannot read", "a file of cached pages", errno);
      if (n == 0) break;
      done += static_cast<size_t>(n);
    }
    return done;
  }

  Status write(const FileHandle& file, std::span<const std::byte> bytes, uint64_t offset) override {
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t n = ::pwrite(file.fd(), bytes.data() + done, bytes.size() - done,
                                 static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return failure("cannot write", "a file of cached pages", n < 0 ? errno : ENOSPC);
      done += static_cast<size_t>(n);
    }
    return {};
  }

  void erase(const FileHandle& file, uint64_t offset, uint64_t bytes) override {
    const int failed = ::fallocate(file.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                   static_cast<off_t>(offset), static_cast<off_t>(bytes));
    (void)failed;
  }
};

}  // namespace

FileHandle::~FileHandle() {
  if (fd_ >= 0) ::close(fd_);
}

FileHandle::FileHandle(FileHandle&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

FileHandle& FileHandle::operator=(FileHandle&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FileLayer& FileLayer::real() {
  static RealFiles files;
  return files;
}

}  // namespace hadal
