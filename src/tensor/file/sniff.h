#pragma once
/// What a file that is not GGUF seems to be. Private to the room.
#include <cstddef>
#include <span>
#include <string>

namespace hadal {

/// One guess from the first bytes with advice, for example {"a zip archive", "..."}.
struct FileGuess {
  std::string what;
  std::string hint;
};

/// `bytes` is the whole file; it does not start with "GGUF".
FileGuess guess_file(std::span<const std::byte> bytes);

}  // namespace hadal
