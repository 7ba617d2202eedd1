#pragma once
/// The architectures by their GGUF names: one line each. What differs between files of one
/// architecture (biases, tied heads, fused tensors, rope scaling, experts) is read from the file
/// itself.
#include <array>
#include <string_view>

#include "model/model.h"

namespace hadal {

struct Architecture {
  std::string_view name;  ///< general.architecture, also the prefix of the file's keys
  RopeStyle rope_style;   ///< as the file converters leave the rows of q and k
  bool qk_norm;           ///< RMSNorm on each head of q and k
  bool latent;            ///< multi-head latent attention
  bool indexer;           ///< sparse attention
  bool experts;           ///< feed-forward layers with experts are known
};

inline constexpr std::array kArchitectures = {
    Architecture{"llama", RopeStyle::kInterleaved, false, false, false, false},
    Architecture{"qwen2", RopeStyle::kHalfSplit, false, false, false, false},
    Architecture{"qwen3", RopeStyle::kHalfSplit, true, false, false, false},
    // deepseek-llm's block with experts: deepseek-moe-16b.
    Architecture{"deepseek", RopeStyle::kInterleaved, false, false, false, true},
    // V2, V2-Lite, V2.5, Coder-V2, V3, R1, V3.1.
    Architecture{"deepseek2", RopeStyle::kInterleaved, false, true, false, true},
    // V3.2.
    Architecture{"deepseek32", RopeStyle::kInterleaved, false, true, true, true},
};

}  // namespace hadal
