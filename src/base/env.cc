#include "base/env.h"

#include <cerrno>
#include <chrono>
#include <cstring>

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace hadal {
namespace {

Error io_error(const std::string& what, const std::filesystem::path& path, int number) {
  const Code code = number == ENOENT   ? Code::kNotFound
                    : number == EACCES ? Code::kDenied
                                       : Code::kIo;
  return Error{code, what + " " + path.string() + ": " + std::strerror(number)};
}

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

class RealEnv final : public Env {
 public:
  int64_t now_micros() override {
    return std::chrono::duration_cast<std::chrono::microseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

  int64_t unix_micros() override {
    return std::chrono::duration_cast<std::chrono::microseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }

  void random_bytes(std::span<std::byte> out) override {
    while (!out.empty()) {
      const ssize_t n = ::getrandom(out.data(), out.size(), 0);
      if (n < 0 && errno == EINTR) continue;
      CHECK(n > 0);
      out = out.subspan(static_cast<size_t>(n));
    }
  }

  Result<std::string> read_file(const std::filesystem::path& path, size_t bytes_max) override {
    File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.fd() < 0) return io_error("cannot open", path, errno);
    std::string out;
    char buffer[1 << 16];
    while (true) {
      const ssize_t n = ::read(file.fd(), buffer, sizeof(buffer));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return io_error("cannot read", path, errno);
      if (n == 0) return out;
      if (out.size() + static_cast<size_t>(n) > bytes_max) {
        return Error{Code::kExhausted, path.string() + " is larger than the limit of " +
                                           std::to_string(bytes_max) + " bytes"};
      }
      out.append(buffer, static_cast<size_t>(n));
    }
  }

  Status write_file(const std::filesystem::path& path, std::string_view bytes) override {
    std::filesystem::path draft = path;
    draft += ".draft-" + std::to_string(random_u64());
    {
      File file(::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
      if (file.fd() < 0) return io_error("cannot create", draft, errno);
      if (!write_all(file.fd(), bytes) || ::fsync(file.fd()) != 0) {
        const int number = errno;
        ::unlink(draft.c_str());
        return io_error("cannot write", draft, number);
      }
    }
    if (::rename(draft.c_str(), path.c_str()) != 0) {
      const int number = errno;
      ::unlink(draft.c_str());
      return io_error("cannot replace", path, number);
    }
    return {};
  }
};

}  // namespace

Env& Env::real() {
  static RealEnv env;
  return env;
}

uint64_t Env::random_u64() {
  uint64_t value = 0;
  random_bytes(std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

}  // namespace hadal
