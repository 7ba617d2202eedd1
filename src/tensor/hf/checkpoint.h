#pragma once
/// The weights of a directory: one safetensors file or shards with an index, mapped and checked
/// against each other. Private to the room.
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "tensor/file/safetensors.h"

namespace hadal {

struct CheckpointTensor : SafeTensor {
  uint32_t shard = 0;
};

struct Checkpoint {
  std::vector<MappedFile> shards;
  std::vector<std::filesystem::path> paths;  ///< of each
  std::vector<CheckpointTensor> tensors;     ///< by name

  /// Without model.safetensors.index.json: model.safetensors, or the only .safetensors file, or
  /// nothing. With it every shard must hold exactly the tensors that the index says.
  static Result<Checkpoint> open(const std::filesystem::path& directory);

  /// nullptr when absent.
  const CheckpointTensor* find(std::string_view name) const;
  /// "FILE: tensor 'NAME'", for messages.
  std::string place_of(const CheckpointTensor& tensor) const;
};

}  // namespace hadal
