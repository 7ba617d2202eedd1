#pragma once
/// A directory as model hubs publish it (config.json, safetensors, tokenizer.json), in the terms
/// of GGUF. Private to the room; docs/decisions/0015 tells why and how.
#include <deque>
#include <filesystem>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "tensor/gguf.h"

namespace hadal {

/// What GgufFile is made of. Metadata and tensors borrow from the other members, which may move.
struct TranslatedCheckpoint {
  std::filesystem::path directory;
  std::vector<MappedFile> mappings;
  std::vector<std::filesystem::path> mapped_paths;  ///< of each
  std::vector<std::byte> metadata_bytes;
  std::vector<float> rope_divisors;
  std::deque<std::string> names;
  std::vector<GgufValue> metadata;
  std::vector<TensorView> tensors;
};

/// The directory that `path` means, if that is no GGUF file: a directory itself, or a config.json,
/// an index or a safetensors file in it.
std::optional<std::filesystem::path> checkpoint_directory(const std::filesystem::path& path);

/// A directory with only a tokenizer.json gives a vocabulary without tensors.
Result<TranslatedCheckpoint> translate_checkpoint(const std::filesystem::path& directory);

}  // namespace hadal
