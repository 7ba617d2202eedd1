#pragma once
/// config.json: the shapes that the tensors must have, and the same facts as GGUF keys. Private to
/// the room.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/hf/checkpoint.h"
#include "tensor/hf/json_file.h"
#include "tensor/hf/metadata.h"

namespace hadal {

/// What a tensor, or a layer, may have beside what all have. A row of the tables in names.cc counts
/// where the layer has all parts that the row asks for.
enum HfParts : uint32_t {
  kPartQkvBias = 1 << 0,
  kPartQkNorm = 1 << 1,
  kPartQLora = 1 << 2,    ///< q through a latent
  kPartQFull = 1 << 3,    ///< q directly
  kPartDense = 1 << 4,    ///< one feed-forward network
  kPartExperts = 1 << 5,  ///< many
  kPartShared = 1 << 6,   ///< and shared ones
  kPartBias = 1 << 7,     ///< the router has a bias
  kPartHash = 1 << 8,     ///< the router is a table of token ids
  kPartIndexer = 1 << 9,
  kPartCompressor = 1 << 10,
  kPartNextn = 1 << 11,                ///< a layer that predicts the token after the next
  kPartHead = 1 << 12,                 ///< lm_head is not the embedding
  kPartClassifier = 1 << 13,           ///< bert: a pooler, then one matrix
  kPartClassifierOfRoberta = 1 << 14,  ///< bert: two matrices
  kPartTypes = 1 << 15,                ///< bert: an embedding of which text of a pair a token is in
};

/// Lengths of the axes of tensors. Members that a model has no use for are 0.
struct HfShape {
  int64_t vocab = 0, d = 0, two_d = 0, one = 1;
  int64_t q = 0, kv = 0, head = 0, o_in = 0;
  int64_t ff = 0, moe_ff = 0, shared_ff = 0, experts = 0, used = 0;
  int64_t q_lora = 0, kv_lora = 0, kv_a = 0, kv_b = 0;
  int64_t index_q = 0, index_head = 0, index_heads = 0;
  int64_t heads = 0, o_a_rows = 0, o_a_cols = 0;          ///< deepseek4
  int64_t streams = 0, stream_d = 0, mix = 0, three = 3;  ///< deepseek4
  int64_t compress = 0, ratio = 0, index_compress = 0;    ///< deepseek4, of one layer
  int64_t positions = 0, types = 0, labels = 0;           ///< bert
};

/// Before the names of V4's layer for multi-token prediction.
inline constexpr std::string_view kHfV4Nextn = "mtp.0.";

struct HfModel {
  std::string architecture;       ///< as GGUF names it
  std::string prefix = "model.";  ///< before the names of all tensors but the head's
  int64_t position_offset = 0;    ///< bert: rows of the position table before that of position 0
  bool numbered_layers_bare = false;  ///< names as DeepSeek's own code has them: no "model." before
  HfShape shape;
  int64_t layers = 0;  ///< main ones
  int64_t nextn = 0;   ///< layers behind them that predict further tokens
  int64_t dense_layers = 0;
  int64_t hash_layers = 0;
  uint32_t parts = 0;                ///< of every layer
  std::vector<int64_t> ratios;       ///< deepseek4: compression of each layer
  std::vector<float> rope_divisors;  ///< llama3's scaling; empty: none
  int64_t block_rows = 128;          ///< of FP8 scales
  int64_t block_columns = 128;

  uint32_t parts_of(int64_t layer) const;
  HfShape shape_of(int64_t layer) const;
};

/// general.architecture behind config.json's architectures (or model_type); kUnsupported for
/// others.
Result<std::string> hf_architecture(const JsonFile& config);

/// Checks config.json and writes its facts as keys. `weights` decides what the config leaves open.
Result<HfModel> read_hf_config(const JsonFile& config, const Checkpoint& weights,
                               MetadataWriter& out);

}  // namespace hadal
