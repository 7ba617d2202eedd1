#pragma once
/// The parts of ModelConfig::from_gguf that only DeepSeek's own architectures have.
#include "base/result.h"
#include "model/config.h"
#include "model/file/keys.h"

namespace hadal {

/// Ranks and widths of latent attention. Files come in two forms: older ones give the widths of a
/// head, newer ones those of the cached vector and the heads' with the suffix _mla.
Status read_latent_heads(const GgufFile& file, const Keys& keys, ModelConfig& config);

/// REQUIRES: the rope keys are read. YaRN's magnitude goes into the scale of the scores, squared,
/// not into cos and sin.
Status read_latent_scale(const Keys& keys, ModelConfig& config);

/// REQUIRES: the latent heads are read.
Status read_indexer(const Keys& keys, ModelConfig& config);

Status read_experts(const Keys& keys, ModelConfig& config);

}  // namespace hadal
