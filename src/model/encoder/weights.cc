#include "model/encoder/weights.h"

#include <cmath>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "model/file/binder.h"
#include "tensor/quantize.h"

namespace hadal {
namespace {

constexpr int64_t kQuantBlock = 32;  // of Q8_0

class EncoderBinder {
 public:
  EncoderBinder(const GgufFile& file, const EncoderConfig& config, const EncoderOptions& options,
                ThreadPool& pool)
      : config_(config),
        options_(options),
        pool_(pool),
        load_{.activations = options.activations},
        binder_(file, load_, pool) {}

  Result<EncoderWeights> run() {
    const int64_t d = config_.d_model;
    TRY(const TensorView* embedding, binder_.find("token_embd.weight", d, config_.n_vocab));
    out_.embedding = *embedding;
    TRY(const TensorView* positions, find_rows("position_embd.weight", d));
    out_.positions = *positions;
    if (config_.n_token_types > 0) {
      TRY(out_.token_types, binder_.matrix("token_types.weight", d, config_.n_token_types));
    }
    TRY(out_.embedding_norm, norm("token_embd_norm"));
    for (int64_t index = 0; index < config_.n_layers; ++index) {
      TRY(EncoderLayer made, layer(fmt::format("blk.{}.", index)));
      out_.layers.push_back(std::move(made));
    }
    TRY_STATUS(bind_classifier());
    for (std::vector<std::byte>& bytes : binder_.take_derived()) {
      out_.owned.push_back(std::move(bytes));
    }
    return std::move(out_);
  }

 private:
  /// At least as many rows as a text may have ids.
  Result<const TensorView*> find_rows(const std::string& name, int64_t cols) {
    return binder_.has(name) ? binder_.find(name, cols, rows_of(name))
                             : binder_.find(name, cols, 1);
  }
  int64_t rows_of(const std::string& name) const { return binder_.tensor(name)->ne[1]; }

  Result<NormWeights> norm(const std::string& name) {
    NormWeights out;
    TRY(out.weight, binder_.vector(name + ".weight", config_.d_model));
    TRY(out.bias, binder_.vector(name + ".bias", config_.d_model));
    return out;
  }

  Result<EncoderLayer> layer(const std::string& block) {
    const int64_t d = config_.d_model;
    TRY(auto qkv, bind_qkv(block));
    TRY(Linear o, linear(block + "attn_output", d, d));
    TRY(NormWeights attention_norm, norm(block + "attn_output_norm"));
    TRY(Linear up, linear(block + "ffn_up", d, config_.d_ff));
    TRY(Linear down, linear(block + "ffn_down", config_.d_ff, d));
    TRY(NormWeights output_norm, norm(block + "layer_output_norm"));
    return EncoderLayer{std::move(qkv[0]), std::move(qkv[1]),         std::move(qkv[2]),
                        std::move(o),      std::move(attention_norm), std::move(up),
                        std::move(down),   std::move(output_norm)};
  }

  /// Three matrices, or one of all.
  Result<std::vector<Linear>> bind_qkv(const std::string& block) {
    const int64_t d = config_.d_model;
    std::vector<Linear> out;
    const std::string fused = block + "attn_qkv";
    if (binder_.has(fused + ".weight")) {
      TRY(const TensorView* tensor, binder_.find(fused + ".weight", d, 3 * d));
      TRY(const std::vector<float> bias, binder_.vector_if_present(fused + ".bias", 3 * d));
      for (int64_t part = 0; part < 3; ++part) {
        TRY(Linear one, binder_.slice(*tensor, bias, part * d, d, options_.activations));
        out.push_back(std::move(one));
      }
      return out;
    }
    for (const char* part : {"attn_q", "attn_k", "attn_v"}) {
      TRY(Linear one, linear(block + part, d, d));
      out.push_back(std::move(one));
    }
    return out;
  }

  Result<Linear> linear(const std::string& name, int64_t cols, int64_t rows) {
    const TensorView* tensor = binder_.tensor(name + ".weight");
    const bool plain = tensor != nullptr && dtype_info(tensor->type).block_elements == 1;
    if (!options_.quantise || !plain || cols % kQuantBlock != 0) {
      return binder_.linear(name, cols, rows, options_.activations);
    }
    TRY(std::vector<float> bias, binder_.vector_if_present(name + ".bias", rows));
    TRY(Weight weight, quantised(name + ".weight", cols, rows));
    return Linear{std::move(weight), std::move(bias)};
  }

  Result<Weight> quantised(const std::string& name, int64_t cols, int64_t rows) {
    TRY(const std::vector<float> values, binder_.matrix(name, cols, rows));
    TensorView view;
    view.name = name;
    view.type = DType::kQ8_0;
    view.n_dims = 2;
    view.ne = {cols, rows, 1, 1};
    std::vector<std::byte> bytes(static_cast<size_t>(rows) * view.row_bytes());
    for (int64_t r = 0; r < rows; ++r) {
      const Status done =
          quantize_row(DType::kQ8_0, values.data() + r * cols, nullptr,
                       bytes.data() + static_cast<size_t>(r) * view.row_bytes(), cols);
      if (!done.ok()) {
        return Error{done.error().code, fmt::format("tensor {}: {}", name, done.error().message)};
      }
    }
    view.data = bytes.data();
    view.bytes = bytes.size();
    TRY(Weight weight, Weight::prepare(view, options_.activations, pool_));
    // Where the instruction set packs, nothing reads these bytes any more.
    if (weight.packed_bytes().empty()) out_.owned.push_back(std::move(bytes));
    return weight;
  }

  Status bind_classifier() {
    if (config_.n_labels == 0) return Status::success();
    if (binder_.has("cls.weight")) {
      TRY(Linear hidden,
          binder_.linear("cls", config_.d_model, config_.d_model, Activations::kInt16));
      out_.classifier_hidden = std::move(hidden);
    }
    TRY(Linear scores,
        binder_.linear("cls.output", config_.d_model, config_.n_labels, Activations::kInt16));
    out_.classifier = std::move(scores);
    return Status::success();
  }

  const EncoderConfig& config_;
  const EncoderOptions& options_;
  ThreadPool& pool_;
  const LoadOptions load_;
  Binder binder_;
  EncoderWeights out_;
};

}  // namespace

Result<EncoderWeights> EncoderWeights::bind(const GgufFile& file, const EncoderConfig& config,
                                            const EncoderOptions& options, ThreadPool& pool) {
  return EncoderBinder(file, config, options, pool).run();
}

}  // namespace hadal
