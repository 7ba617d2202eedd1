#pragma once
/// The parts of a layer, each from its tensors. `block` is the prefix of their names ("blk.3.").
#include <string>

#include "model/config.h"
#include "model/file/binder.h"
#include "model/weights.h"

namespace hadal {

/// What activations are rounded to in a layer's products.
struct Rounding {
  Activations usual;
  Activations keys;  ///< for what makes keys and values
};

/// q, k and v may be stored apart or as one tensor with their rows in that order.
Result<GroupedWeights> bind_grouped(Binder& binder, const ModelConfig& config,
                                    const std::string& block, Rounding rounding);
/// From attn_kv_b, or attn_k_b and attn_v_b; what a file does not have is derived.
Result<LatentWeights> bind_latent(Binder& binder, const ModelConfig& config,
                                  const std::string& block, Rounding rounding);
Result<DenseWeights> bind_dense(Binder& binder, const std::string& block, const std::string& suffix,
                                int64_t d_model, int64_t d_ff, Activations activations);
/// Experts in one tensor of three axes, gate and up fused, or a tensor for each.
Result<std::unique_ptr<MoeWeights>> bind_moe(Binder& binder, const ModelConfig& config,
                                             const std::string& block, Activations activations);

}  // namespace hadal
