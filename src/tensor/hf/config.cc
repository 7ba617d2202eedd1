#include "tensor/hf/config.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "tensor/hf/rope.h"

namespace hadal {
namespace {

constexpr int64_t kWidth = limits::kModelWidth;
constexpr int64_t kHeads = limits::kModelHeads;

struct KnownClass {
  std::string_view name;        ///< of config.json's "architectures"
  std::string_view model_type;  ///< of config.json
  std::string_view gguf;
};
constexpr std::array kClasses = {
    KnownClass{"LlamaForCausalLM", "llama", "llama"},
    KnownClass{"Qwen2ForCausalLM", "qwen2", "qwen2"},
    KnownClass{"Qwen3ForCausalLM", "qwen3", "qwen3"},
    KnownClass{"DeepseekForCausalLM", "deepseek", "deepseek"},
    KnownClass{"DeepseekV2ForCausalLM", "deepseek_v2", "deepseek2"},
    KnownClass{"DeepseekV3ForCausalLM", "deepseek_v3", "deepseek2"},
    KnownClass{"DeepseekV32ForCausalLM", "deepseek_v32", "deepseek32"},
    KnownClass{"DeepseekV4ForCausalLM", "deepseek_v4", "deepseek4"},
    KnownClass{"BertModel", "bert", "bert"},
    KnownClass{"XLMRobertaModel", "xlm-roberta", "bert"},
    KnownClass{"BertForSequenceClassification", "bert", "bert"},
    KnownClass{"XLMRobertaForSequenceClassification", "xlm-roberta", "bert"},
    KnownClass{"Qwen3Model", "qwen3", "qwen3"},
};

/// One config being translated.
class Translation {
 public:
  Translation(const JsonFile& config, const Checkpoint& weights, HfModel& model,
              MetadataWriter& out)
      : config_(config), weights_(weights), model_(model), shape_(model.shape), out_(out) {}

  Status run() {
    const std::string& name = model_.architecture;
    if (name == "bert") return read_bert();
    TRY_STATUS(read_common());
    // Checkpoints of the bare model (embedding models) leave the prefix out.
    if (weights_.find("embed_tokens.weight") != nullptr) {
      model_.prefix.clear();
      if (weights_.find("lm_head.weight") == nullptr) model_.parts &= ~uint32_t{kPartHead};
    }
    if (name == "deepseek4") return read_v4();
    if (name == "deepseek2" || name == "deepseek32") return read_latent();
    TRY_STATUS(read_plain_heads());
    return name == "deepseek" ? read_experts(true) : Status::success();
  }

 private:
  Status read_common() {
    TRY(model_.layers, config_.integer("num_hidden_layers", 1, limits::kModelLayers));
    TRY(shape_.d, config_.integer("hidden_size", 1, kWidth));
    shape_.two_d = 2 * shape_.d;
    TRY(shape_.vocab, config_.integer("vocab_size", 1, static_cast<int64_t>(limits::kVocabTokens)));
    TRY(shape_.heads, config_.integer("num_attention_heads", 1, kHeads));
    TRY(const int64_t context,
        config_.integer("max_position_embeddings", 1, limits::kModelContext));
    TRY(const double eps, config_.number("rms_norm_eps"));
    TRY(const std::string activation, config_.string_or("hidden_act", "silu"));
    if (activation != "silu") {
      return config_.error(Code::kUnsupported, "hidden_act",
                           fmt::format("is \"{}\"; only silu is supported", activation));
    }
    TRY(const bool tied, config_.boolean_or("tie_word_embeddings", false));
    if (!tied) model_.parts |= kPartHead;
    out_.integer(".vocab_size", shape_.vocab);
    out_.integer(".context_length", context);
    out_.integer(".embedding_length", shape_.d);
    out_.integer(".attention.head_count", shape_.heads);
    out_.number(".attention.layer_norm_rms_epsilon", eps);
    return read_blocks();
  }

  /// BERT and XLM-R, with or without a classifier.
  Status read_bert() {
    TRY(model_.layers, config_.integer("num_hidden_layers", 1, limits::kModelLayers));
    TRY(shape_.d, config_.integer("hidden_size", 1, kWidth));
    TRY(shape_.ff, config_.integer("intermediate_size", 1, kWidth));
    TRY(shape_.vocab, config_.integer("vocab_size", 1, static_cast<int64_t>(limits::kVocabTokens)));
    TRY(shape_.heads, config_.integer("num_attention_heads", 1, kHeads));
    TRY(shape_.positions, config_.integer("max_position_embeddings", 1, limits::kModelContext));
    TRY(shape_.types, config_.integer_or("type_vocab_size", 2, 0, kHeads));
    TRY(const double eps, config_.number_or("layer_norm_eps", 1e-12));
    TRY(const std::string activation, config_.string_or("hidden_act", "gelu"));
    TRY(const std::string positions, config_.string_or("position_embedding_type", "absolute"));
    if (activation != "gelu" || positions != "absolute") {
      return config_.error(Code::kUnsupported, "hidden_act",
                           fmt::format("is \"{}\" and position_embedding_type \"{}\"; only gelu "
                                       "and absolute are supported",
                                       activation, positions));
    }
    TRY(const std::string type, config_.string_or("model_type", "bert"));
    // XLM-R counts positions from behind that of padding (fairseq).
    TRY(const int64_t pad, config_.integer_or("pad_token_id", 1, 0, shape_.positions - 2));
    if (type == "xlm-roberta") model_.position_offset = pad + 1;
    model_.prefix.clear();
    for (const std::string_view prefix : {"bert.", "roberta."}) {
      if (weights_.find(std::string(prefix) + "embeddings.word_embeddings.weight") != nullptr) {
        model_.prefix = prefix;
      }
    }
    if (shape_.types > 0) model_.parts |= kPartTypes;
    find_classifier();
    out_.integer(".block_count", model_.layers);
    out_.integer(".context_length", shape_.positions - model_.position_offset);
    out_.integer(".embedding_length", shape_.d);
    out_.integer(".feed_forward_length", shape_.ff);
    out_.integer(".attention.head_count", shape_.heads);
    out_.number(".attention.layer_norm_epsilon", eps);
    out_.boolean(".attention.causal", false);
    out_.integer("tokenizer.ggml.token_type_count", shape_.types);
    return Status::success();
  }

  /// How many labels it has, only its matrix says for certain.
  void find_classifier() {
    constexpr std::pair<std::string_view, uint32_t> kNames[] = {
        {"classifier.weight", kPartClassifier},
        {"classifier.out_proj.weight", kPartClassifierOfRoberta}};
    for (const auto& [name, part] : kNames) {
      const CheckpointTensor* tensor = weights_.find(name);
      if (tensor == nullptr || tensor->dims != 2) continue;
      shape_.labels = tensor->shape[0];
      model_.parts |= part;
    }
  }

  /// The blocks of FP8 scales.
  Status read_blocks() {
    TRY(const std::optional<JsonFile> quantised, config_.child("quantization_config"));
    if (!quantised) return Status::success();
    TRY(const std::string method, quantised->string_or("quant_method", ""));
    if (method != "fp8") {
      return Error{
          Code::kUnsupported,
          fmt::format("{}: quant_method \"{}\" is not supported", quantised->where(), method),
          "supported: fp8 with scales per block; or take a GGUF file of the model"};
    }
    if (!quantised->has("weight_block_size")) return Status::success();
    TRY(const std::vector<int64_t> block, quantised->integers("weight_block_size", 1, kWidth));
    if (block.size() != 2) {
      return quantised->error(Code::kCorrupt, "weight_block_size", "has not two numbers");
    }
    model_.block_rows = block[0];
    model_.block_columns = block[1];
    return Status::success();
  }

  /// Heads of Llama, Qwen and deepseek (v1), with one network per layer.
  Status read_plain_heads() {
    TRY(shape_.ff, config_.integer("intermediate_size", 1, kWidth));
    TRY(const int64_t kv_heads, config_.integer_or("num_key_value_heads", shape_.heads, 1, kHeads));
    if (!config_.has("head_dim") && shape_.d % shape_.heads != 0) {
      return config_.error(
          Code::kCorrupt, "hidden_size",
          fmt::format("is {}, not a multiple of num_attention_heads ({})", shape_.d, shape_.heads));
    }
    TRY(shape_.head, config_.integer_or("head_dim", shape_.d / shape_.heads, 2, kWidth));
    shape_.q = shape_.o_in = shape_.heads * shape_.head;
    shape_.kv = kv_heads * shape_.head;
    TRY(const bool window, config_.boolean_or("use_sliding_window", false));
    if (window) {
      TRY(const int64_t width, config_.integer("sliding_window", 1, limits::kModelContext));
      out_.integer(".attention.sliding_window", width);
    }
    if (model_.architecture == "qwen2") model_.parts |= kPartQkvBias;
    if (model_.architecture == "qwen3") model_.parts |= kPartQkNorm;
    model_.parts |= kPartQFull;
    model_.dense_layers = model_.layers;
    out_.integer(".block_count", model_.layers);
    out_.integer(".feed_forward_length", shape_.ff);
    out_.integer(".attention.head_count_kv", kv_heads);
    out_.integer(".attention.key_length", shape_.head);
    out_.integer(".attention.value_length", shape_.head);
    // Checkpoints keep the halves of a head apart; GGUF's converters put pairs together for these.
    if (model_.architecture == "llama" || model_.architecture == "deepseek") {
      out_.boolean(".rope.half_split", true);
    }
    TRY(model_.rope_divisors, write_hf_rope(config_, HfRopeKind::kPlain, shape_.head, out_));
    return Status::success();
  }

  /// Experts of every generation; `some_dense`: the first layers may have none.
  Status read_experts(bool some_dense) {
    TRY(shape_.experts, config_.integer("n_routed_experts", 1, kWidth));
    TRY(shape_.used, config_.integer("num_experts_per_tok", 1, shape_.experts));
    TRY(const int64_t shared, config_.integer_or("n_shared_experts", 0, 0, kHeads));
    TRY(shape_.moe_ff, config_.integer("moe_intermediate_size", 1, kWidth));
    shape_.shared_ff = shared * shape_.moe_ff;
    if (shared > 0) model_.parts |= kPartShared;
    if (some_dense) {
      TRY(model_.dense_layers, config_.integer_or("first_k_dense_replace", 0, 0, model_.layers));
      TRY(const int64_t every, config_.integer_or("moe_layer_freq", 1, 1, limits::kModelLayers));
      if (every != 1) {
        return config_.error(Code::kUnsupported, "moe_layer_freq",
                             fmt::format("is {}; only 1 is supported", every));
      }
      out_.integer(".leading_dense_block_count", model_.dense_layers);
    }
    TRY(const double scale, config_.number_or("routed_scaling_factor", 1.0));
    TRY(const bool norm, config_.boolean_or("norm_topk_prob", false));
    out_.integer(".expert_count", shape_.experts);
    out_.integer(".expert_used_count", shape_.used);
    out_.integer(".expert_shared_count", shared);
    out_.integer(".expert_feed_forward_length", shape_.moe_ff);
    out_.number(".expert_weights_scale", scale);
    out_.boolean(".expert_weights_norm", norm);
    return read_gating();
  }

  Status read_gating() {
    const bool v3 = model_.architecture == "deepseek32" ||
                    weights_.find(fmt::format("model.layers.{}.mlp.gate.e_score_correction_bias",
                                              model_.dense_layers)) != nullptr;
    TRY(const std::string scoring,
        config_.string_or("scoring_func", model_.architecture == "deepseek4" ? "sqrtsoftplus"
                                          : v3                               ? "sigmoid"
                                                                             : "softmax"));
    constexpr std::pair<std::string_view, int64_t> kFunctions[] = {
        {"softmax", 1}, {"sigmoid", 2}, {"sqrtsoftplus", 4}};
    const auto* found = std::find_if(std::begin(kFunctions), std::end(kFunctions),
                                     [&](const auto& known) { return known.first == scoring; });
    if (found == std::end(kFunctions)) {
      return config_.error(Code::kUnsupported, "scoring_func",
                           fmt::format("is \"{}\", which is not supported", scoring));
    }
    out_.integer(".expert_gating_func", found->second);
    if (v3) model_.parts |= kPartBias;
    TRY(const std::string method, config_.string_or("topk_method", v3 ? "noaux_tc" : "greedy"));
    if (method == "greedy" || model_.architecture == "deepseek4") return Status::success();
    if (method != "group_limited_greedy" && method != "noaux_tc") {
      return config_.error(Code::kUnsupported, "topk_method",
                           fmt::format("is \"{}\", which is not supported", method));
    }
    TRY(const int64_t groups, config_.integer_or("n_group", 1, 1, shape_.experts));
    TRY(const int64_t used, config_.integer_or("topk_group", groups, 1, groups));
    out_.integer(".expert_group_count", groups);
    out_.integer(".expert_group_used_count", used);
    return Status::success();
  }

  /// V2, V3 and V3.2.
  Status read_latent() {
    TRY(shape_.ff, config_.integer("intermediate_size", 1, kWidth));
    TRY(const int64_t nope, config_.integer("qk_nope_head_dim", 1, kWidth));
    TRY(const int64_t rope, config_.integer("qk_rope_head_dim", 2, kWidth));
    TRY(const int64_t value, config_.integer("v_head_dim", 1, kWidth));
    TRY(const bool interleaved, config_.boolean_or("rope_interleave", true));
    if (!interleaved) {
      return config_.error(Code::kUnsupported, "rope_interleave",
                           "is false; only true is supported");
    }
    TRY(shape_.kv_lora, config_.integer("kv_lora_rank", 1, kWidth));
    TRY(shape_.q_lora, config_.integer_or("q_lora_rank", 0, 1, kWidth));
    shape_.q = shape_.heads * (nope + rope);
    shape_.kv_a = shape_.kv_lora + rope;
    shape_.kv_b = shape_.heads * (nope + value);
    shape_.o_in = shape_.heads * value;
    model_.parts |= shape_.q_lora > 0 ? kPartQLora : kPartQFull;
    if (shape_.q_lora > 0) out_.integer(".attention.q_lora_rank", shape_.q_lora);
    out_.integer(".attention.kv_lora_rank", shape_.kv_lora);
    out_.integer(".attention.head_count_kv", shape_.heads);
    out_.integer(".attention.key_length", nope + rope);
    out_.integer(".attention.value_length", value);
    out_.integer(".feed_forward_length", shape_.ff);
    if (model_.architecture == "deepseek32") TRY_STATUS(read_indexer());
    TRY_STATUS(read_experts(true));
    count_nextn();
    out_.integer(".block_count", model_.layers + model_.nextn);
    if (model_.nextn > 0) out_.integer(".nextn_predict_layers", model_.nextn);
    TRY(model_.rope_divisors, write_hf_rope(config_, HfRopeKind::kLatent, rope, out_));
    return Status::success();
  }

  Status read_indexer() {
    TRY(shape_.index_heads, config_.integer("index_n_heads", 1, kHeads));
    TRY(shape_.index_head, config_.integer("index_head_dim", 2, kWidth));
    TRY(const int64_t top_k, config_.integer("index_topk", 1, limits::kModelContext));
    shape_.index_q = shape_.index_heads * shape_.index_head;
    if (model_.architecture == "deepseek32") model_.parts |= kPartIndexer;
    out_.integer(".attention.indexer.head_count", shape_.index_heads);
    out_.integer(".attention.indexer.key_length", shape_.index_head);
    out_.integer(".attention.indexer.top_k", top_k);
    return Status::success();
  }

  /// config.json names them also where a checkpoint left them out, so the tensors decide.
  void count_nextn() {
    while (model_.nextn < 8 &&
           weights_.find(fmt::format("model.layers.{}.eh_proj.weight",
                                     model_.layers + model_.nextn)) != nullptr) {
      ++model_.nextn;
    }
  }

  Status read_v4() {
    TRY(shape_.head, config_.integer("head_dim", 2, kWidth));
    TRY(const int64_t rope, config_.integer("qk_rope_head_dim", 2, shape_.head));
    TRY(shape_.q_lora, config_.integer("q_lora_rank", 1, kWidth));
    TRY(const int64_t o_lora, config_.integer("o_lora_rank", 1, kWidth));
    TRY(const int64_t groups, config_.integer("o_groups", 1, shape_.heads));
    if (shape_.heads % groups != 0) {
      return config_.error(Code::kCorrupt, "o_groups",
                           fmt::format("is {}, which num_attention_heads ({}) is not a multiple of",
                                       groups, shape_.heads));
    }
    shape_.q = shape_.heads * shape_.head;
    shape_.o_a_rows = groups * o_lora;
    shape_.o_a_cols = shape_.q / groups;
    out_.integer(".block_count", model_.layers);
    out_.integer(".attention.head_count_kv", 1);
    out_.integer(".attention.key_length", shape_.head);
    out_.integer(".attention.value_length", shape_.head);
    out_.integer(".attention.q_lora_rank", shape_.q_lora);
    out_.integer(".attention.output_group_count", groups);
    out_.integer(".attention.output_lora_rank", o_lora);
    TRY_STATUS(read_streams());
    TRY_STATUS(read_compression());
    TRY_STATUS(read_indexer());
    TRY_STATUS(read_experts(false));
    out_.integer(".feed_forward_length", shape_.moe_ff);
    TRY(const double limit, config_.number_or("swiglu_limit", 10.0));
    out_.number(".swiglu_clamp_exp", limit);
    TRY(model_.hash_layers, config_.integer_or("num_hash_layers", 3, 0, model_.layers));
    out_.integer(".hash_layer_count", model_.hash_layers);
    model_.numbered_layers_bare = true;
    // block_count stays that of the main layers, as in V4's main GGUF files.
    count_v4_nextn();
    TRY(model_.rope_divisors, write_hf_rope(config_, HfRopeKind::kUnscaled, rope, out_));
    return Status::success();
  }

  /// Any of the tensors that only this layer has: then all of them must be there. Checkpoints with
  /// another drafter (DSpark) have stages under the same "mtp.0.", which are not read.
  void count_v4_nextn() {
    constexpr std::string_view kOwn[] = {"e_proj.weight", "h_proj.weight", "enorm.weight",
                                         "hnorm.weight"};
    const bool any = std::any_of(std::begin(kOwn), std::end(kOwn), [&](std::string_view name) {
      return weights_.find(std::string(kHfV4Nextn) + std::string(name)) != nullptr;
    });
    model_.nextn = any ? 1 : 0;
  }

  /// Hyper-connections.
  Status read_streams() {
    TRY(shape_.streams, config_.integer_or("hc_mult", 4, 1, 64));
    TRY(const int64_t rounds, config_.integer_or("hc_sinkhorn_iters", 20, 1, 1000));
    TRY(const double eps, config_.number_or("hc_eps", 1e-6));
    shape_.stream_d = shape_.streams * shape_.d;
    shape_.mix = shape_.streams * (2 + shape_.streams);
    out_.integer(".embedding_length_out", shape_.stream_d);
    out_.integer(".hyper_connection.count", shape_.streams);
    out_.integer(".hyper_connection.sinkhorn_iterations", rounds);
    out_.number(".hyper_connection.epsilon", eps);
    return Status::success();
  }

  Status read_compression() {
    TRY(const int64_t window, config_.integer_or("sliding_window", 128, 1, limits::kModelContext));
    TRY(const double theta, config_.number_or("compress_rope_theta", 160000.0));
    TRY(model_.ratios, config_.integers("compress_ratios", 0, limits::kModelContext));
    if (static_cast<int64_t>(model_.ratios.size()) < model_.layers) {
      return config_.error(Code::kCorrupt, "compress_ratios",
                           fmt::format("has {} entries, but num_hidden_layers is {}",
                                       model_.ratios.size(), model_.layers));
    }
    out_.integer(".attention.sliding_window", window);
    out_.number(".attention.compress_rope_freq_base", theta);
    out_.integers(".attention.compress_ratios", model_.ratios);
    return Status::success();
  }

  const JsonFile& config_;
  const Checkpoint& weights_;
  HfModel& model_;
  HfShape& shape_;
  MetadataWriter& out_;
};

}  // namespace

uint32_t HfModel::parts_of(int64_t layer) const {
  uint32_t out = parts | (layer < dense_layers ? kPartDense : kPartExperts);
  if (layer >= layers) out |= kPartNextn;
  if (architecture != "deepseek4") return out;
  out |= layer < hash_layers ? kPartHash : kPartBias;
  const int64_t ratio = layer < layers ? ratios[static_cast<size_t>(layer)] : 0;
  if (ratio > 0) out |= kPartCompressor;
  if (ratio > 0 && ratio <= 4) out |= kPartIndexer;
  return out;
}

HfShape HfModel::shape_of(int64_t layer) const {
  HfShape out = shape;
  if (architecture != "deepseek4" || layer >= layers) return out;
  out.ratio = ratios[static_cast<size_t>(layer)];
  // Short windows overlap: two halves of channels.
  out.compress = (out.ratio <= 4 ? 2 : 1) * shape.head;
  out.index_compress = 2 * shape.index_head;
  return out;
}

Result<std::string> hf_architecture(const JsonFile& config) {
  std::string named;
  if (const json::value* list = config.find("architectures");
      list != nullptr && list->is_array() && !list->get_array().empty() &&
      list->get_array().front().is_string()) {
    named = std::string(list->get_array().front().get_string());
  }
  TRY(const std::string type, config.string_or("model_type", ""));
  std::string known;
  for (const KnownClass& one : kClasses) {
    if (named.empty() ? one.model_type == type : one.name == named) return std::string(one.gguf);
    known += (known.empty() ? "" : ", ") + std::string(one.name);
  }
  return Error{Code::kUnsupported,
               fmt::format("{}: architecture \"{}\" is not supported", config.where(),
                           named.empty() ? type : named),
               "supported: " + known};
}

Result<HfModel> read_hf_config(const JsonFile& config, const Checkpoint& weights,
                               MetadataWriter& out) {
  HfModel model;
  TRY(model.architecture, hf_architecture(config));
  TRY_STATUS(Translation(config, weights, model, out).run());
  return model;
}

}  // namespace hadal
