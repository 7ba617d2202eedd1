#pragma once
/// The dense architectures by their GGUF names: one line each. What differs between files of one
/// architecture (biases, tied heads, fused tensors, rope scaling) is read from the file itself.
#include <array>
#include <string_view>

#include "model/model.h"

namespace hadal {

struct Architecture {
  std::string_view name;  ///< general.architecture, also the prefix of the file's keys
  RopeStyle rope_style;   ///< as the file converters leave the rows of q and k
  bool qk_norm;           ///< RMSNorm on each head of q and k
};

inline constexpr std::array kArchitectures = {
    Architecture{"llama", RopeStyle::kInterleaved, false},
    Architecture{"qwen2", RopeStyle::kHalfSplit, false},
    Architecture{"qwen3", RopeStyle::kHalfSplit, true},
};

}  // namespace hadal
