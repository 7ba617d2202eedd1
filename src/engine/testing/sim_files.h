#pragma once
/// The disk of a simulated story: files in memory that outlive the engine and now and then refuse,
/// lie or rot. Paths are names only, nothing of the machine's file system is touched.
#include <algorithm>
#include <map>
#include <set>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "engine/kv/tiers/file_layer.h"
#include "engine/testing/numbers.h"

namespace hadal::testing {

class SimFiles final : public FileLayer {
 public:
  /// Faults come once in `fault_rate` calls; 0: never.
  SimFiles(uint64_t seed, int64_t fault_rate) : numbers_(seed), fault_rate_(fault_rate) {}

  /// What may have become of the files when the machine comes back: bits turned, ends cut off,
  /// files lost.
  void rot() {
    for (auto file = files_.begin(); file != files_.end();) {
      const int fd = file->second.fd();
      const auto bytes = static_cast<int64_t>(::lseek(fd, 0, SEEK_END));
      if (numbers_.once_in(4 * fault_rate_)) {
        file = files_.erase(file);
        continue;
      }
      if (bytes > 0 && numbers_.once_in(fault_rate_)) CHECK(::ftruncate(fd, below(bytes)) == 0);
      for (int i = 0; bytes > 0 && numbers_.once_in(fault_rate_) && i < 8; ++i) turn_bit(fd, bytes);
      ++file;
    }
  }

  Status make_private_directory(const std::filesystem::path& path) override {
    directories_.insert(path);
    return {};
  }

  Result<std::vector<Listed>> list(const std::filesystem::path& directory) override {
    if (numbers_.once_in(8 * fault_rate_)) return refused();
    std::vector<Listed> out;
    for (const auto& [path, file] : files_) {
      const auto bytes = static_cast<uint64_t>(::lseek(file.fd(), 0, SEEK_END));
      if (path.parent_path() == directory) out.push_back({path.filename(), bytes, 0, false});
    }
    for (const auto& path : directories_) {
      if (path.parent_path() == directory) out.push_back({path.filename(), 0, 0, true});
    }
    return out;
  }

  Status remove(const std::filesystem::path& path) override {
    if (files_.erase(path) + directories_.erase(path) > 0) return {};
    return Error{Code::kNotFound, "no " + path.string()};
  }

  Result<uint64_t> free_bytes(const std::filesystem::path&) override {
    return numbers_.once_in(fault_rate_) ? 0 : uint64_t{1} << 40;
  }

  Result<FileHandle> open(const std::filesystem::path& path, Mode mode) override {
    if (numbers_.once_in(8 * fault_rate_)) return refused();
    if (files_.contains(path) == (mode == Mode::kCreate)) {
      return Error{mode == Mode::kCreate ? Code::kIo : Code::kNotFound, path.string()};
    }
    return handle_of(path);
  }

  Result<FileHandle> lock(const std::filesystem::path& path) override { return handle_of(path); }

  Result<size_t> read(const FileHandle& file, std::span<std::byte> out, uint64_t offset) override {
    if (numbers_.once_in(8 * fault_rate_)) return refused();
    TRY(const size_t n, real().read(file, out, offset));
    if (n > 0 && numbers_.once_in(fault_rate_)) {
      out[static_cast<size_t>(below(static_cast<int64_t>(n)))] ^= std::byte{4};
    }
    return n;
  }

  /// A part that the disk took, with an error or, as when the power fails, without one.
  Status write(const FileHandle& file, std::span<const std::byte> bytes, uint64_t offset) override {
    const bool refuses = numbers_.once_in(8 * fault_rate_);
    if (!refuses && !numbers_.once_in(fault_rate_)) return real().write(file, bytes, offset);
    const auto part = static_cast<size_t>(below(static_cast<int64_t>(bytes.size()) + 1));
    TRY_STATUS(real().write(file, bytes.first(part), offset));
    if (refuses) return refused();
    return {};
  }

  void erase(const FileHandle& file, uint64_t offset, uint64_t bytes) override {
    if (!numbers_.once_in(fault_rate_)) real().erase(file, offset, bytes);
  }

 private:
  static Error refused() { return {Code::kIo, "simulated failure of a disk"}; }
  int64_t below(int64_t bound) { return numbers_.below(bound); }

  FileHandle handle_of(const std::filesystem::path& path) {
    const auto [found, fresh] = files_.try_emplace(path);
    if (fresh) found->second = FileHandle(::memfd_create("sim", MFD_CLOEXEC));
    FileHandle copy(::fcntl(found->second.fd(), F_DUPFD_CLOEXEC, 0));
    CHECK(copy.is_open());
    return copy;
  }

  void turn_bit(int fd, int64_t bytes) {
    const auto at = static_cast<off_t>(below(bytes));
    uint8_t byte = 0;
    if (::pread(fd, &byte, 1, at) != 1) return;  // it was cut off
    byte = static_cast<uint8_t>(byte ^ 1 << below(8));
    CHECK(::pwrite(fd, &byte, 1, at) == 1);
  }

  Numbers numbers_;
  int64_t fault_rate_;
  std::map<std::filesystem::path, FileHandle> files_;
  std::set<std::filesystem::path> directories_;
};

}  // namespace hadal::testing
