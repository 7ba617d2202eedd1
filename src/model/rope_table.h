#pragma once
/// Rope frequencies of a model: base frequencies with the scaling its file asks for.
#include <span>

#include "kernels/rope.h"
#include "model/config.h"

namespace hadal {

/// YaRN's correction for stretched contexts (2309.00071, 3.4): 0.1 * coefficient * ln(factor) + 1.
float yarn_magnitude(float factor, float coefficient);

/// frequency[i] = theta^(-2i/r) for r = rope_dims, then scaled: linear divides by the factor,
/// llama3 divides by `divisors` (rope_freqs.weight, r/2 entries), YaRN (2309.00071) blends both
/// ends. `divisors` is empty or has rope_dims / 2 entries.
RopeTable make_rope_table(const ModelConfig& config, std::span<const float> divisors);

}  // namespace hadal
