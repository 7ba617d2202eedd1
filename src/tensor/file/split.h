#pragma once
/// Names of split files: "NAME-00002-of-00003.gguf". Private to the room.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace hadal {

struct SplitName {
  std::string stem;   ///< "NAME"
  uint32_t part = 0;  ///< 1-based
  uint32_t count = 0;
};

/// nullopt when the file name has no such form (or 0 parts, or part > count).
std::optional<SplitName> parse_split_name(const std::filesystem::path& path);

/// File name of a part (1-based), without folder.
std::string split_file_name(const SplitName& name, uint32_t part);

}  // namespace hadal
