#pragma once
/// Rope of config.json (rope_theta, rope_scaling, or rope_parameters with both) as GGUF keys.
/// Private to the room.
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "tensor/hf/json_file.h"
#include "tensor/hf/metadata.h"

namespace hadal {

enum class HfRopeKind : uint8_t {
  kPlain,     ///< magnitudes as in transformers
  kLatent,    ///< DeepSeek V2 and V3: mscale belongs to the softmax scale
  kUnscaled,  ///< DeepSeek V4: no magnitudes
};

/// `dims`: how many of a head's dimensions turn. Returns the divisors of llama3's scaling, one per
/// pair, or nothing. kUnsupported names a type that is not known.
Result<std::vector<float>> write_hf_rope(const JsonFile& config, HfRopeKind kind, int64_t dims,
                                         MetadataWriter& out);

}  // namespace hadal
