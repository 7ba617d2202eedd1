#pragma once
/// What a model's file says about its shape. Units: elements.
#include <cstdint>
#include <string>

#include "base/result.h"
#include "kernels/router.h"
#include "tensor/gguf.h"

namespace hadal {

enum class RopeStyle : uint8_t { kInterleaved, kHalfSplit };  ///< GGUF "NORM" and "NEOX"
enum class RopeScaling : uint8_t { kNone, kLinear, kLlama3, kYarn };

/// Multi-head latent attention (DeepSeek-V2, 2405.04434): keys and values of all heads come from
/// one vector of kv_lora_rank numbers per token, and a rotated key of d_rope that all heads share.
struct LatentConfig {
  int64_t q_lora_rank = 0;   ///< 0: queries come straight from the residual stream (V2-Lite)
  int64_t kv_lora_rank = 0;  ///< 0: the model has ordinary attention
  int64_t d_nope = 0;        ///< per head, not rotated
  int64_t d_rope = 0;
  int64_t d_value = 0;  ///< per head

  explicit operator bool() const { return kv_lora_rank > 0; }
  int64_t d_cache() const { return kv_lora_rank + d_rope; }  ///< stored per token and layer
  int64_t d_query() const { return d_nope + d_rope; }        ///< per head
};

/// DeepSeek sparse attention (V3.2): each row attends to the positions that score best with a small
/// attention of its own.
struct IndexerConfig {
  int64_t n_heads = 0;  ///< 0: none
  int64_t d_index = 0;
  int64_t top_k = 0;

  explicit operator bool() const { return n_heads > 0; }
};

/// Feed-forward layers of which each token uses a few experts (DeepSeekMoE, 2401.06066).
struct MoeConfig {
  RouterParams router;         ///< n_experts 0: all layers are dense
  int64_t d_expert = 0;        ///< width of an expert
  int64_t d_shared = 0;        ///< of the experts that all tokens use, together; 0: none
  int64_t n_dense_layers = 0;  ///< the first so many have no experts

  explicit operator bool() const { return router.n_experts > 0; }
};

struct ModelConfig {
  std::string architecture;
  int64_t n_vocab = 0;
  int64_t n_layers = 0;   ///< without those for multi-token prediction
  bool predicts = false;  ///< a layer for multi-token prediction follows (2412.19437, 2.2)
  int64_t d_model = 0;
  int64_t d_ff = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t d_head = 0;  ///< key and value width per head
  int64_t n_ctx_train = 0;
  float rms_eps = 1e-5f;
  float attention_scale = 0;  ///< on scores
  RopeStyle rope_style = RopeStyle::kInterleaved;
  RopeScaling rope_scaling = RopeScaling::kNone;
  int64_t rope_dims = 0;
  float rope_theta = 10000.0f;
  float rope_factor = 1.0f;
  float rope_magnitude = 1.0f;  ///< on cos and sin
  float yarn_beta_fast = 32.0f;
  float yarn_beta_slow = 1.0f;
  int64_t rope_original_context = 0;
  bool qk_norm = false;    ///< RMSNorm on each head of q and k (Qwen3)
  bool tied_head = false;  ///< output.weight absent: token_embd is used
  LatentConfig latent;
  IndexerConfig indexer;
  MoeConfig moe;

  bool has_experts(int64_t layer) const { return moe && layer >= moe.n_dense_layers; }

  /// Reads and checks the keys of general.architecture. kUnsupported names an unknown
  /// architecture and lists the known ones.
  static Result<ModelConfig> from_gguf(const GgufFile& file);
};

}  // namespace hadal
