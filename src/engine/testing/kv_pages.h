#pragma once
/// What tests of the tiers share: pages whose bytes follow from their number, a directory that goes
/// with the test, files that fail when told to.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/check.h"
#include "engine/kv/tier.h"
#include "engine/kv/tiers/file_layer.h"

namespace hadal::testing {

/// Of everything that has nothing better.
inline constexpr PageShape kTestShape = {.tokens = 32, .bytes = 6000};

/// A page as an engine would have it; number and shape say all.
struct TestPage {
  PageKey key;
  std::vector<TokenId> tokens;
  std::vector<std::byte> bytes;

  explicit TestPage(uint64_t number, const PageShape& shape = kTestShape)
      : tokens(static_cast<size_t>(shape.tokens)), bytes(shape.bytes) {
    uint64_t state = number * 0x9E3779B97F4A7C15u + 1;
    const auto next = [&] {
      state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u + 0x94D049BB133111EBu;
      return state ^ (state >> 31);
    };
    for (TokenId& token : tokens) token = static_cast<TokenId>(next() % 100'000);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(next() >> 56);
    key = next_key(root_key("test", std::to_string(number)), tokens);
  }
};

/// A new directory below the system's temporary one; removed with its content.
class TempDirectory {
 public:
  TempDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "hadal-kv-XXXXXX").string();
    CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDirectory(const TempDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// The real files until `fail_from`: the operation of that number, and all behind it, fails. A
/// write that fails has written half of its bytes.
class FaultyFiles final : public FileLayer {
 public:
  std::atomic<int64_t> operations = 0;
  std::atomic<int64_t> fail_from = INT64_MAX;
  std::atomic<bool> only_writes = false;  ///< fails only what changes something
  std::atomic<uint64_t> free = UINT64_MAX / 2;

  Status make_private_directory(const std::filesystem::path& path) override {
    if (fails(true)) return refusal();
    return real().make_private_directory(path);
  }
  Result<std::vector<Listed>> list(const std::filesystem::path& directory) override {
    if (fails(false)) return refusal();
    return real().list(directory);
  }
  Status remove(const std::filesystem::path& path) override {
    if (fails(true)) return refusal();
    return real().remove(path);
  }
  Result<uint64_t> free_bytes(const std::filesystem::path&) override {
    if (fails(false)) return refusal();
    return free.load();
  }
  Result<FileHandle> open(const std::filesystem::path& path, Mode mode) override {
    if (fails(mode != Mode::kRead)) return refusal();
    return real().open(path, mode);
  }
  Result<FileHandle> lock(const std::filesystem::path& path) override {
    if (fails(true)) return refusal();
    return real().lock(path);
  }
  Result<size_t> read(const FileHandle& file, std::span<std::byte> out, uint64_t offset) override {
    if (fails(false)) return refusal();
    return real().read(file, out, offset);
  }
  Status write(const FileHandle& file, std::span<const std::byte> bytes, uint64_t offset) override {
    if (!fails(true)) return real().write(file, bytes, offset);
    const Status half = real().write(file, bytes.first(bytes.size() / 2), offset);
    (void)half;
    return refusal();
  }
  void erase(const FileHandle& file, uint64_t offset, uint64_t bytes) override {
    if (!fails(true)) real().erase(file, offset, bytes);
  }

 private:
  bool fails(bool changes) {
    if (only_writes && !changes) return false;
    return operations++ >= fail_from;
  }
  static Error refusal() { return Error{Code::kIo, "the disk refuses (made up)"}; }
};

}  // namespace hadal::testing
