#include "tensor/hf/names.h"

#include <array>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "tensor/file/reader.h"

namespace hadal {
namespace {

using Length = int64_t HfShape::*;

/// One tensor of a layer, or of the model. "{}" in both names is the number of an expert.
struct Row {
  std::string_view hf;
  std::string_view gguf;
  Length rows;  ///< null: a vector
  Length cols;
  uint32_t parts;  ///< of the layer, all of which it needs
  bool optional;   ///< some checkpoints do without
};

constexpr Length kVector = nullptr;
using S = HfShape;

// Behind the prefix.
constexpr Row kModelRows[] = {
    {"embed_tokens.weight", "token_embd.weight", &S::vocab, &S::d, 0, false},
    {"norm.weight", "output_norm.weight", kVector, &S::d, 0, false},
};
constexpr Row kHeadRows[] = {
    {"lm_head.weight", "output.weight", &S::vocab, &S::d, kPartHead, false},
};

// Behind "layers.N." (after the prefix) and "blk.N.".
constexpr Row kNormRows[] = {
    {"input_layernorm.weight", "attn_norm.weight", kVector, &S::d, 0, false},
    {"post_attention_layernorm.weight", "ffn_norm.weight", kVector, &S::d, 0, false},
};
constexpr Row kPlainAttentionRows[] = {
    {"self_attn.q_proj.weight", "attn_q.weight", &S::q, &S::d, 0, false},
    {"self_attn.k_proj.weight", "attn_k.weight", &S::kv, &S::d, 0, false},
    {"self_attn.v_proj.weight", "attn_v.weight", &S::kv, &S::d, 0, false},
    {"self_attn.o_proj.weight", "attn_output.weight", &S::d, &S::o_in, 0, false},
    {"self_attn.q_proj.bias", "attn_q.bias", kVector, &S::q, kPartQkvBias, false},
    {"self_attn.k_proj.bias", "attn_k.bias", kVector, &S::kv, kPartQkvBias, false},
    {"self_attn.v_proj.bias", "attn_v.bias", kVector, &S::kv, kPartQkvBias, false},
    {"self_attn.q_proj.bias", "attn_q.bias", kVector, &S::q, 0, true},
    {"self_attn.k_proj.bias", "attn_k.bias", kVector, &S::kv, 0, true},
    {"self_attn.v_proj.bias", "attn_v.bias", kVector, &S::kv, 0, true},
    {"self_attn.o_proj.bias", "attn_output.bias", kVector, &S::d, 0, true},
    {"self_attn.q_norm.weight", "attn_q_norm.weight", kVector, &S::head, kPartQkNorm, false},
    {"self_attn.k_norm.weight", "attn_k_norm.weight", kVector, &S::head, kPartQkNorm, false},
};
constexpr Row kLatentAttentionRows[] = {
    {"self_attn.q_proj.weight", "attn_q.weight", &S::q, &S::d, kPartQFull, false},
    {"self_attn.q_a_proj.weight", "attn_q_a.weight", &S::q_lora, &S::d, kPartQLora, false},
    {"self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight", kVector, &S::q_lora, kPartQLora,
     false},
    {"self_attn.q_b_proj.weight", "attn_q_b.weight", &S::q, &S::q_lora, kPartQLora, false},
    {"self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight", &S::kv_a, &S::d, 0, false},
    {"self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight", kVector, &S::kv_lora, 0, false},
    {"self_attn.kv_b_proj.weight", "attn_kv_b.weight", &S::kv_b, &S::kv_lora, 0, false},
    {"self_attn.o_proj.weight", "attn_output.weight", &S::d, &S::o_in, 0, false},
    {"self_attn.indexer.wq_b.weight", "indexer.attn_q_b.weight", &S::index_q, &S::q_lora,
     kPartIndexer, false},
    {"self_attn.indexer.wk.weight", "indexer.attn_k.weight", &S::index_head, &S::d, kPartIndexer,
     false},
    {"self_attn.indexer.k_norm.weight", "indexer.k_norm.weight", kVector, &S::index_head,
     kPartIndexer, false},
    {"self_attn.indexer.k_norm.bias", "indexer.k_norm.bias", kVector, &S::index_head, kPartIndexer,
     false},
    {"self_attn.indexer.weights_proj.weight", "indexer.proj.weight", &S::index_heads, &S::d,
     kPartIndexer, false},
};
constexpr Row kFeedForwardRows[] = {
    {"mlp.gate_proj.weight", "ffn_gate.weight", &S::ff, &S::d, kPartDense, false},
    {"mlp.up_proj.weight", "ffn_up.weight", &S::ff, &S::d, kPartDense, false},
    {"mlp.down_proj.weight", "ffn_down.weight", &S::d, &S::ff, kPartDense, false},
    {"mlp.gate_proj.bias", "ffn_gate.bias", kVector, &S::ff, kPartDense, true},
    {"mlp.up_proj.bias", "ffn_up.bias", kVector, &S::ff, kPartDense, true},
    {"mlp.down_proj.bias", "ffn_down.bias", kVector, &S::d, kPartDense, true},
    {"mlp.gate.weight", "ffn_gate_inp.weight", &S::experts, &S::d, kPartExperts, false},
    {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias", kVector, &S::experts,
     kPartExperts | kPartBias, false},
    {"mlp.experts.{}.gate_proj.weight", "ffn_gate.{}.weight", &S::moe_ff, &S::d, kPartExperts,
     false},
    {"mlp.experts.{}.up_proj.weight", "ffn_up.{}.weight", &S::moe_ff, &S::d, kPartExperts, false},
    {"mlp.experts.{}.down_proj.weight", "ffn_down.{}.weight", &S::d, &S::moe_ff, kPartExperts,
     false},
    {"mlp.shared_experts.gate_proj.weight", "ffn_gate_shexp.weight", &S::shared_ff, &S::d,
     kPartExperts | kPartShared, false},
    {"mlp.shared_experts.up_proj.weight", "ffn_up_shexp.weight", &S::shared_ff, &S::d,
     kPartExperts | kPartShared, false},
    {"mlp.shared_experts.down_proj.weight", "ffn_down_shexp.weight", &S::d, &S::shared_ff,
     kPartExperts | kPartShared, false},
};
constexpr Row kNextnRows[] = {
    {"embed_tokens.weight", "nextn.embed_tokens.weight", &S::vocab, &S::d, kPartNextn, true},
    {"enorm.weight", "nextn.enorm.weight", kVector, &S::d, kPartNextn, false},
    {"hnorm.weight", "nextn.hnorm.weight", kVector, &S::d, kPartNextn, false},
    {"eh_proj.weight", "nextn.eh_proj.weight", &S::d, &S::two_d, kPartNextn, false},
    {"shared_head.norm.weight", "nextn.shared_head_norm.weight", kVector, &S::d, kPartNextn, true},
    {"shared_head.head.weight", "nextn.shared_head_head.weight", &S::vocab, &S::d, kPartNextn,
     true},
};

// DeepSeek V4 as published.
constexpr Row kV4ModelRows[] = {
    {"embed.weight", "token_embd.weight", &S::vocab, &S::d, 0, false},
    {"norm.weight", "output_norm.weight", kVector, &S::d, 0, false},
    {"head.weight", "output.weight", &S::vocab, &S::d, kPartHead, false},
    {"hc_head_fn", "output_hc_fn.weight", &S::streams, &S::stream_d, 0, false},
    {"hc_head_base", "output_hc_base.weight", kVector, &S::streams, 0, false},
    {"hc_head_scale", "output_hc_scale.weight", kVector, &S::one, 0, false},
};
constexpr Row kV4LayerRows[] = {
    {"attn_norm.weight", "attn_norm.weight", kVector, &S::d, 0, false},
    {"ffn_norm.weight", "ffn_norm.weight", kVector, &S::d, 0, false},
    {"attn.wq_a.weight", "attn_q_a.weight", &S::q_lora, &S::d, 0, false},
    {"attn.q_norm.weight", "attn_q_a_norm.weight", kVector, &S::q_lora, 0, false},
    {"attn.wq_b.weight", "attn_q_b.weight", &S::q, &S::q_lora, 0, false},
    {"attn.wkv.weight", "attn_kv.weight", &S::head, &S::d, 0, false},
    {"attn.kv_norm.weight", "attn_kv_a_norm.weight", kVector, &S::head, 0, false},
    {"attn.wo_a.weight", "attn_output_a.weight", &S::o_a_rows, &S::o_a_cols, 0, false},
    {"attn.wo_b.weight", "attn_output_b.weight", &S::d, &S::o_a_rows, 0, false},
    {"attn.attn_sink", "attn_sinks.weight", kVector, &S::heads, 0, false},
    {"hc_attn_fn", "hc_attn_fn.weight", &S::mix, &S::stream_d, 0, false},
    {"hc_attn_base", "hc_attn_base.weight", kVector, &S::mix, 0, false},
    {"hc_attn_scale", "hc_attn_scale.weight", kVector, &S::three, 0, false},
    {"hc_ffn_fn", "hc_ffn_fn.weight", &S::mix, &S::stream_d, 0, false},
    {"hc_ffn_base", "hc_ffn_base.weight", kVector, &S::mix, 0, false},
    {"hc_ffn_scale", "hc_ffn_scale.weight", kVector, &S::three, 0, false},
    {"attn.compressor.wkv.weight", "attn_compressor_kv.weight", &S::compress, &S::d,
     kPartCompressor, false},
    {"attn.compressor.wgate.weight", "attn_compressor_gate.weight", &S::compress, &S::d,
     kPartCompressor, false},
    {"attn.compressor.ape", "attn_compressor_ape.weight", &S::ratio, &S::compress, kPartCompressor,
     false},
    {"attn.compressor.norm.weight", "attn_compressor_norm.weight", kVector, &S::head,
     kPartCompressor, false},
    {"attn.indexer.wq_b.weight", "indexer.attn_q_b.weight", &S::index_q, &S::q_lora, kPartIndexer,
     false},
    {"attn.indexer.weights_proj.weight", "indexer.proj.weight", &S::index_heads, &S::d,
     kPartIndexer, false},
    {"attn.indexer.compressor.wkv.weight", "indexer_compressor_kv.weight", &S::index_compress,
     &S::d, kPartIndexer, false},
    {"attn.indexer.compressor.wgate.weight", "indexer_compressor_gate.weight", &S::index_compress,
     &S::d, kPartIndexer, false},
    {"attn.indexer.compressor.ape", "indexer_compressor_ape.weight", &S::ratio, &S::index_compress,
     kPartIndexer, false},
    {"attn.indexer.compressor.norm.weight", "indexer_compressor_norm.weight", kVector,
     &S::index_head, kPartIndexer, false},
    {"ffn.gate.weight", "ffn_gate_inp.weight", &S::experts, &S::d, 0, false},
    {"ffn.gate.bias", "exp_probs_b.bias", kVector, &S::experts, kPartBias, false},
    {"ffn.gate.tid2eid", "ffn_gate_tid2eid.weight", &S::vocab, &S::used, kPartHash, false},
    {"ffn.experts.{}.w1.weight", "ffn_gate.{}.weight", &S::moe_ff, &S::d, 0, false},
    {"ffn.experts.{}.w3.weight", "ffn_up.{}.weight", &S::moe_ff, &S::d, 0, false},
    {"ffn.experts.{}.w2.weight", "ffn_down.{}.weight", &S::d, &S::moe_ff, 0, false},
    {"ffn.shared_experts.w1.weight", "ffn_gate_shexp.weight", &S::shared_ff, &S::d, kPartShared,
     false},
    {"ffn.shared_experts.w3.weight", "ffn_up_shexp.weight", &S::shared_ff, &S::d, kPartShared,
     false},
    {"ffn.shared_experts.w2.weight", "ffn_down_shexp.weight", &S::d, &S::shared_ff, kPartShared,
     false},
};

// Behind "mtp.0." and "blk.N.", N the number of main layers, beside the rows of a layer. GGUF files
// have this layer in a file of its own, where both projections are one nextn.eh_proj and hc_head_*
// takes the names of the model's output_hc_*.
constexpr Row kV4NextnRows[] = {
    {"e_proj.weight", "nextn.e_proj.weight", &S::d, &S::d, kPartNextn, false},
    {"h_proj.weight", "nextn.h_proj.weight", &S::d, &S::d, kPartNextn, false},
    {"enorm.weight", "nextn.enorm.weight", kVector, &S::d, kPartNextn, false},
    {"hnorm.weight", "nextn.hnorm.weight", kVector, &S::d, kPartNextn, false},
    {"norm.weight", "nextn.shared_head_norm.weight", kVector, &S::d, kPartNextn, false},
    {"hc_head_fn", "nextn.hc_head_fn.weight", &S::streams, &S::stream_d, kPartNextn, false},
    {"hc_head_base", "nextn.hc_head_base.weight", kVector, &S::streams, kPartNextn, false},
    {"hc_head_scale", "nextn.hc_head_scale.weight", kVector, &S::one, kPartNextn, false},
};

// BERT and XLM-R, behind the prefix.
constexpr Row kBertModelRows[] = {
    {"embeddings.word_embeddings.weight", "token_embd.weight", &S::vocab, &S::d, 0, false},
    {"embeddings.position_embeddings.weight", "position_embd.weight", &S::positions, &S::d, 0,
     false},
    {"embeddings.token_type_embeddings.weight", "token_types.weight", &S::types, &S::d, kPartTypes,
     false},
    {"embeddings.LayerNorm.weight", "token_embd_norm.weight", kVector, &S::d, 0, false},
    {"embeddings.LayerNorm.bias", "token_embd_norm.bias", kVector, &S::d, 0, false},
    {"pooler.dense.weight", "cls.weight", &S::d, &S::d, kPartClassifier, false},
    {"pooler.dense.bias", "cls.bias", kVector, &S::d, kPartClassifier, false},
};
// Without a prefix.
constexpr Row kBertHeadRows[] = {
    {"classifier.weight", "cls.output.weight", &S::labels, &S::d, kPartClassifier, false},
    {"classifier.bias", "cls.output.bias", kVector, &S::labels, kPartClassifier, false},
    {"classifier.dense.weight", "cls.weight", &S::d, &S::d, kPartClassifierOfRoberta, false},
    {"classifier.dense.bias", "cls.bias", kVector, &S::d, kPartClassifierOfRoberta, false},
    {"classifier.out_proj.weight", "cls.output.weight", &S::labels, &S::d, kPartClassifierOfRoberta,
     false},
    {"classifier.out_proj.bias", "cls.output.bias", kVector, &S::labels, kPartClassifierOfRoberta,
     false},
};
// Behind "encoder.layer.N." and "blk.N.".
constexpr Row kBertLayerRows[] = {
    {"attention.self.query.weight", "attn_q.weight", &S::d, &S::d, 0, false},
    {"attention.self.query.bias", "attn_q.bias", kVector, &S::d, 0, false},
    {"attention.self.key.weight", "attn_k.weight", &S::d, &S::d, 0, false},
    {"attention.self.key.bias", "attn_k.bias", kVector, &S::d, 0, false},
    {"attention.self.value.weight", "attn_v.weight", &S::d, &S::d, 0, false},
    {"attention.self.value.bias", "attn_v.bias", kVector, &S::d, 0, false},
    {"attention.output.dense.weight", "attn_output.weight", &S::d, &S::d, 0, false},
    {"attention.output.dense.bias", "attn_output.bias", kVector, &S::d, 0, false},
    {"attention.output.LayerNorm.weight", "attn_output_norm.weight", kVector, &S::d, 0, false},
    {"attention.output.LayerNorm.bias", "attn_output_norm.bias", kVector, &S::d, 0, false},
    {"intermediate.dense.weight", "ffn_up.weight", &S::ff, &S::d, 0, false},
    {"intermediate.dense.bias", "ffn_up.bias", kVector, &S::ff, 0, false},
    {"output.dense.weight", "ffn_down.weight", &S::d, &S::ff, 0, false},
    {"output.dense.bias", "ffn_down.bias", kVector, &S::d, 0, false},
    {"output.LayerNorm.weight", "layer_output_norm.weight", kVector, &S::d, 0, false},
    {"output.LayerNorm.bias", "layer_output_norm.bias", kVector, &S::d, 0, false},
};

/// Tensors that hold nothing the computation wants: tables that follow from the config, scales of
/// activations, and what V4's table-routed layers carry along.
constexpr std::string_view kIgnoredEnds[] = {".rotary_emb.inv_freq", ".masked_bias", ".input_scale",
                                             ".gate.bias_vl", ".position_ids"};

constexpr int64_t kFp4Columns = 32;  ///< under one scale

std::optional<DType> plain_dtype(SafeType type) {
  switch (type) {
    case SafeType::kF32:
      return DType::kF32;
    case SafeType::kF16:
      return DType::kF16;
    case SafeType::kBF16:
      return DType::kBF16;
    case SafeType::kF64:
      return DType::kF64;
    case SafeType::kI8:
      return DType::kI8;
    case SafeType::kI16:
      return DType::kI16;
    case SafeType::kI32:
      return DType::kI32;
    case SafeType::kI64:
      return DType::kI64;
    case SafeType::kF8E4M3:
      return DType::kF8_E4M3;
    default:
      return std::nullopt;
  }
}

class Names {
 public:
  Names(const HfModel& model, const Checkpoint& weights, const std::string& config_where,
        std::deque<std::string>& names)
      : model_(model),
        weights_(weights),
        config_where_(config_where),
        names_(names),
        used_(weights.tensors.size(), false) {}

  Result<std::vector<TensorView>> run() {
    if (model_.architecture == "bert") return run_bert();
    const bool v4 = model_.architecture == "deepseek4";
    const uint32_t parts = model_.parts;
    if (v4) {
      TRY_STATUS(add_all(kV4ModelRows, "", "", parts, model_.shape));
    } else {
      TRY_STATUS(add_all(kModelRows, model_.prefix, "", parts, model_.shape));
      TRY_STATUS(add_all(kHeadRows, "", "", parts, model_.shape));
    }
    for (int64_t layer = 0; layer < model_.layers + model_.nextn; ++layer) {
      TRY_STATUS(v4 ? add_v4_layer(layer) : add_layer(layer));
    }
    TRY_STATUS(check_all_used());
    return std::move(views_);
  }

 private:
  Result<std::vector<TensorView>> run_bert() {
    const uint32_t parts = model_.parts;
    TRY_STATUS(add_all(kBertModelRows, model_.prefix, "", parts, model_.shape));
    TRY_STATUS(add_all(kBertHeadRows, "", "", parts, model_.shape));
    for (int64_t layer = 0; layer < model_.layers; ++layer) {
      TRY_STATUS(add_all(kBertLayerRows, fmt::format("{}encoder.layer.{}.", model_.prefix, layer),
                         fmt::format("blk.{}.", layer), parts, model_.shape));
    }
    // As GGUF's converters have it: position 0 is row 0.
    TensorView& positions = views_[1];
    positions =
        positions.slice_rows(model_.position_offset, positions.ne[1] - model_.position_offset);
    TRY_STATUS(check_all_used());
    return std::move(views_);
  }

  Status add_layer(int64_t layer) {
    const std::string hf = fmt::format("{}layers.{}.", model_.prefix, layer);
    const std::string gguf = fmt::format("blk.{}.", layer);
    const uint32_t parts = model_.parts_of(layer);
    const HfShape shape = model_.shape_of(layer);
    const bool latent = model_.shape.kv_lora > 0;
    TRY_STATUS(add_all(kNormRows, hf, gguf, parts, shape));
    TRY_STATUS(add_all(latent ? std::span<const Row>(kLatentAttentionRows) : kPlainAttentionRows,
                       hf, gguf, parts, shape));
    TRY_STATUS(add_all(kFeedForwardRows, hf, gguf, parts, shape));
    return add_all(kNextnRows, hf, gguf, parts, shape);
  }

  Status add_v4_layer(int64_t layer) {
    const bool main = layer < model_.layers;
    const std::string hf = main ? fmt::format("layers.{}.", layer) : std::string(kHfV4Nextn);
    const std::string gguf = fmt::format("blk.{}.", layer);
    const uint32_t parts = model_.parts_of(layer);
    const HfShape shape = model_.shape_of(layer);
    TRY_STATUS(add_all(kV4LayerRows, hf, gguf, parts, shape));
    return add_all(kV4NextnRows, hf, gguf, parts, shape);
  }

  Status add_all(std::span<const Row> rows, const std::string& hf, const std::string& gguf,
                 uint32_t parts, const HfShape& shape) {
    for (const Row& row : rows) {
      if ((parts & row.parts) != row.parts) continue;
      const size_t slot = row.hf.find("{}");
      if (slot == std::string_view::npos) {
        TRY_STATUS(add(row, hf + std::string(row.hf), gguf + std::string(row.gguf), shape));
        continue;
      }
      for (int64_t expert = 0; expert < shape.experts; ++expert) {
        TRY_STATUS(
            add(row, hf + numbered(row.hf, expert), gguf + numbered(row.gguf, expert), shape));
      }
    }
    return Status::success();
  }

  static std::string numbered(std::string_view name, int64_t number) {
    const size_t slot = name.find("{}");
    return std::string(name.substr(0, slot)) + std::to_string(number) +
           std::string(name.substr(slot + 2));
  }

  /// The tensor, marked as used; null when absent.
  const CheckpointTensor* take(const std::string& name) {
    const CheckpointTensor* tensor = weights_.find(name);
    if (tensor != nullptr) used_[static_cast<size_t>(tensor - weights_.tensors.data())] = true;
    return tensor;
  }

  Status add(const Row& row, const std::string& hf, std::string gguf, const HfShape& shape) {
    const bool known = row.optional && weights_.find(hf) != nullptr &&
                       used_[static_cast<size_t>(weights_.find(hf) - weights_.tensors.data())];
    if (known) return Status::success();  // a row before this one asked for it
    const CheckpointTensor* tensor = take(hf);
    if (tensor == nullptr) {
      if (row.optional) return Status::success();
      return Error{Code::kCorrupt,
                   fmt::format("{}: tensor {} is missing, which {} asks for", directory(),
                               gguf_quoted(hf), config_where_),
                   "download the model again, or correct the config"};
    }
    TensorView view;
    view.data = tensor->data;
    view.bytes = tensor->bytes;
    const int64_t rows = row.rows == kVector ? 0 : shape.*row.rows;
    TRY_STATUS(set_type(*tensor, hf, rows, shape.*row.cols, view));
    names_.push_back(std::move(gguf));
    view.name = names_.back();
    views_.push_back(view);
    return Status::success();
  }

  /// Type, axes and scales of a matrix, or of a vector when `rows` is 0.
  Status set_type(const CheckpointTensor& tensor, const std::string& name, int64_t rows,
                  int64_t cols, TensorView& view) {
    TRY(const CheckpointTensor* scales, take_scales(tensor, name));
    const bool bytes = tensor.type == SafeType::kI8 || tensor.type == SafeType::kU8;
    const bool fp4 = bytes && scales != nullptr;
    const std::optional<DType> type = fp4 ? DType::kF4_E2M1 : plain_dtype(tensor.type);
    if (!type || (scales == nullptr && (*type == DType::kF8_E4M3 || *type == DType::kI8))) {
      return Error{
          Code::kUnsupported,
          fmt::format("{} has type {}{}, which is not supported", weights_.place_of(tensor),
                      safe_type_name(tensor.type), type ? " without scales" : "")};
    }
    view.type = *type;
    const int64_t stored_cols = fp4 ? cols / 2 : cols;
    // A single number may be written without axes.
    const bool right = rows == 0 ? tensor.elements() == cols && tensor.dims <= 1
                                 : tensor.dims == 2 && tensor.shape[0] == rows &&
                                       tensor.shape[1] == stored_cols && (!fp4 || cols % 2 == 0);
    if (!right || tensor.elements() == 0) {
      const std::string wanted =
          rows == 0 ? fmt::format("[{}]", cols) : fmt::format("[{}, {}]", rows, stored_cols);
      return Error{Code::kCorrupt, fmt::format("{} has shape {}, but by {} it must be {}",
                                               weights_.place_of(tensor), safe_shape_text(tensor),
                                               config_where_, wanted)};
    }
    view.n_dims = rows == 0 ? 1 : 2;
    view.ne = {cols, rows == 0 ? 1 : rows, 1, 1};
    if (scales == nullptr) return Status::success();
    return set_scales(tensor, *scales, fp4, view);
  }

  /// The factors beside "NAME.weight": "NAME.weight_scale_inv" or "NAME.scale".
  Result<const CheckpointTensor*> take_scales(const CheckpointTensor& tensor,
                                              const std::string& name) {
    constexpr std::string_view kEnd = "weight";
    if (!std::string_view(name).ends_with(".weight")) return nullptr;
    const CheckpointTensor* found = take(name + "_scale_inv");
    if (found == nullptr) found = take(name.substr(0, name.size() - kEnd.size()) + "scale");
    if (found == nullptr) return nullptr;
    const bool small = tensor.type == SafeType::kF8E4M3 || tensor.type == SafeType::kI8 ||
                       tensor.type == SafeType::kU8;
    if (small) return found;
    return Error{Code::kCorrupt,
                 fmt::format("{} has scales ({}), but is of type {}", weights_.place_of(tensor),
                             weights_.place_of(*found), safe_type_name(tensor.type))};
  }

  Status set_scales(const CheckpointTensor& tensor, const CheckpointTensor& scales, bool fp4,
                    TensorView& view) {
    const int64_t block_rows = fp4 ? 1 : model_.block_rows;
    const int64_t block_columns = fp4 ? kFp4Columns : model_.block_columns;
    if (view.n_dims != 2 || (fp4 && view.ne[0] % kFp4Columns != 0)) {
      return Error{Code::kCorrupt, fmt::format("{} has scales, which do not fit its shape {}",
                                               weights_.place_of(tensor), safe_shape_text(tensor))};
    }
    const int64_t down = (view.ne[1] + block_rows - 1) / block_rows;
    const int64_t across = (view.ne[0] + block_columns - 1) / block_columns;
    if (scales.type != SafeType::kF32 && scales.type != SafeType::kF8E8M0) {
      return Error{Code::kUnsupported,
                   fmt::format("{} has type {}, expected F32 or F8_E8M0 of scales",
                               weights_.place_of(scales), safe_type_name(scales.type))};
    }
    if (scales.dims != 2 || scales.shape[0] != down || scales.shape[1] != across) {
      return Error{Code::kCorrupt,
                   fmt::format("{} has shape {}, but blocks of {} x {} of a matrix of shape "
                               "[{}, {}] need [{}, {}]",
                               weights_.place_of(scales), safe_shape_text(scales), block_rows,
                               block_columns, view.ne[1], view.ne[0], down, across)};
    }
    view.scales = {
        scales.data, scales.type == SafeType::kF8E8M0, block_rows, block_columns, across, 0};
    return Status::success();
  }

  /// A tensor that nobody asked for means that config and weights are of different models.
  Status check_all_used() const {
    for (size_t i = 0; i < used_.size(); ++i) {
      const CheckpointTensor& tensor = weights_.tensors[i];
      if (used_[i] || may_be_ignored(tensor.name)) continue;
      return Error{
          Code::kCorrupt,
          fmt::format("{} is not one that {} asks for", weights_.place_of(tensor), config_where_),
          "config and weights may be of different models"};
    }
    return Status::success();
  }

  bool may_be_ignored(std::string_view name) const {
    for (const std::string_view end : kIgnoredEnds) {
      if (name.ends_with(end)) return true;
    }
    if (model_.architecture == "deepseek4") {
      // Drafters of other kinds, and what tables make needless.
      const bool foreign =
          name.starts_with("mtp.") && !(model_.nextn > 0 && name.starts_with(kHfV4Nextn));
      return foreign || name.ends_with("ffn.gate.bias");
    }
    // Beside a pooling of its own a pooler has no use.
    if (model_.architecture == "bert") return name.starts_with(model_.prefix + "pooler.");
    // Written although it is the embedding again.
    return name == "lm_head.weight" && (model_.parts & kPartHead) == 0;
  }

  std::string directory() const {
    return weights_.paths.empty() ? "the checkpoint"
                                  : weights_.paths.front().parent_path().string();
  }

  const HfModel& model_;
  const Checkpoint& weights_;
  const std::string& config_where_;
  std::deque<std::string>& names_;
  std::vector<bool> used_;
  std::vector<TensorView> views_;
};

}  // namespace

Result<std::vector<TensorView>> bind_hf_tensors(const HfModel& model, const Checkpoint& weights,
                                                const std::string& config_where,
                                                std::deque<std::string>& names) {
  return Names(model, weights, config_where, names).run();
}

}  // namespace hadal
