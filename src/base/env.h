#pragma once
/// Env: clock, files and randomness, so that tests can run on virtual time and inject failures.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hadal {

/// Thread-safe. Passed by reference; Env::real() is the operating system's.
class Env {
 public:
  virtual ~Env() = default;
  static Env& real();

  /// Monotonic time, for durations.
  virtual int64_t now_micros() = 0;
  /// Wall-clock time since 1970-01-01 UTC.
  virtual int64_t unix_micros() = 0;
  /// Unpredictable bytes (getrandom).
  virtual void random_bytes(std::span<std::byte> out) = 0;
  /// The whole file; kExhausted when it is larger than `bytes_max`.
  virtual Result<std::string> read_file(const std::filesystem::path& path, size_t bytes_max) = 0;
  /// Replaces `path` in one step: readers see the old or the new content, also after a crash.
  virtual Status write_file(const std::filesystem::path& path, std::string_view bytes) = 0;

  /// 64 random bits.
  uint64_t random_u64();
};

}  // namespace hadal
