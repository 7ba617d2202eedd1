#pragma once
/// SHA-256 of files.
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hadal {

/// Lower-case hex. `progress` (may be empty) hears the bytes done from time to time; kCancelled
/// soon after `stop` (may be null) became true.
Result<std::string> sha256_of_file(const std::filesystem::path& path,
                                   const std::function<void(uint64_t)>& progress = {},
                                   const std::atomic<bool>* stop = nullptr);
/// Lower-case hex of bytes in memory.
std::string sha256_of(std::string_view bytes);
/// Whether `text` is 64 hex digits.
bool is_sha256(std::string_view text);

}  // namespace hadal
