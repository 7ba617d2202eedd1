#include "model/weights.h"

#include <cmath>
#include <string>

#include <fmt/format.h>

#include "model/rope_table.h"

namespace hadal {
namespace {

/// Finds tensors by name, checks shapes, prepares weights and counts progress.
class Binder {
 public:
  Binder(const GgufFile& file, const LoadOptions& options, ThreadPool& pool)
      : file_(file), options_(options), pool_(pool) {
    for (const TensorView& tensor : file.tensors()) bytes_total_ += tensor.bytes;
  }

  /// The tensor, which must be cols x rows (1-D: rows = 1).
  Result<const TensorView*> find(const std::string& name, int64_t cols, int64_t rows) const {
    const TensorView* tensor = file_.find_tensor(name);
    if (tensor == nullptr) {
      return Error{Code::kCorrupt, fmt::format("tensor {} is missing", name)};
    }
    const auto& ne = tensor->ne;
    if (ne[0] != cols || ne[1] != rows || ne[2] != 1 || ne[3] != 1) {
      return Error{Code::kCorrupt, fmt::format("tensor {} has shape {}, expected {}", name,
                                               shape_text(ne), shape_text({cols, rows, 1, 1}))};
    }
    return tensor;
  }

  /// A vector of `n` finite numbers as floats.
  Result<std::vector<float>> vector(const std::string& name, int64_t n) const {
    TRY(const TensorView* tensor, find(name, n, 1));
    std::vector<float> out(static_cast<size_t>(n));
    dequantize_row(tensor->type, tensor->data, out.data(), n);
    return out;
  }

  Result<std::vector<float>> vector_if_present(const std::string& name, int64_t n) const {
    if (file_.find_tensor(name) == nullptr) return std::vector<float>{};
    return vector(name, n);
  }

  /// `tensor`: rows from `first_row` on of the file's tensor of that name.
  Result<Weight> prepare(const TensorView& tensor, int64_t first_row, Activations activations) {
    auto weight = borrow(tensor, first_row, activations);
    if (!weight.ok()) {
      weight = Weight::prepare(tensor, activations, pool_);
      file_.forget(tensor);  // the packed form is read from now on
    }
    if (!weight.ok()) {
      return Error{weight.error().code,
                   fmt::format("tensor {}: {}", tensor.name, weight.error().message),
                   weight.error().hint};
    }
    const std::span<const uint8_t> bytes = weight.value().packed_bytes();
    if (!bytes.empty()) {
      packed_.push_back(
          {std::string(tensor.name), tensor.type, first_row, tensor.ne[1], tensor.ne[0], bytes});
    }
    bytes_done_ += tensor.bytes;
    if (options_.progress != nullptr && bytes_total_ > 0) {
      options_.progress(static_cast<double>(bytes_done_) / static_cast<double>(bytes_total_),
                        options_.progress_context);
    }
    return weight;
  }

  /// "NAME.weight" with the optional "NAME.bias".
  Result<Linear> linear(const std::string& name, int64_t cols, int64_t rows,
                        Activations activations) {
    TRY(const TensorView* tensor, find(name + ".weight", cols, rows));
    TRY(std::vector<float> bias, vector_if_present(name + ".bias", rows));
    TRY(Weight weight, prepare(*tensor, 0, activations));
    return Linear{std::move(weight), std::move(bias)};
  }

  /// Rows [begin, begin + rows) of the fused linear "NAME", whose shape was checked before.
  Result<Linear> slice(const TensorView& fused, const std::vector<float>& bias, int64_t begin,
                       int64_t rows, Activations activations) {
    TensorView part = fused;
    part.ne[1] = rows;
    part.data = fused.row(begin);
    part.bytes = static_cast<uint64_t>(rows) * fused.row_bytes();
    TRY(Weight weight, prepare(part, begin, activations));
    std::vector<float> part_bias;
    if (!bias.empty()) part_bias.assign(bias.begin() + begin, bias.begin() + begin + rows);
    return Linear{std::move(weight), std::move(part_bias)};
  }

  std::vector<PackedPart> take_packed() { return std::move(packed_); }

  void finished() const {
    if (options_.progress != nullptr) options_.progress(1.0, options_.progress_context);
  }

 private:
  /// The weight out of the packed image, if there is one that has it.
  Result<Weight> borrow(const TensorView& tensor, int64_t first_row, Activations activations) {
    const PackedPart* part =
        options_.packed == nullptr ? nullptr : options_.packed->find(tensor.name, first_row);
    if (part == nullptr || part->type != tensor.type || part->rows != tensor.ne[1] ||
        part->cols != tensor.ne[0]) {
      return Error{Code::kNotFound, "no packed form of " + std::string(tensor.name)};
    }
    return Weight::borrow_packed(tensor, activations, part->bytes);
  }

  static std::string shape_text(const std::array<int64_t, 4>& ne) {
    size_t dims = 4;
    while (dims > 1 && ne[dims - 1] == 1) --dims;
    return fmt::format("{{{}}}", fmt::join(ne.begin(), ne.begin() + dims, ", "));
  }

  const GgufFile& file_;
  const LoadOptions& options_;
  ThreadPool& pool_;
  uint64_t bytes_total_ = 0;
  uint64_t bytes_done_ = 0;
  std::vector<PackedPart> packed_;
};

/// q, k and v, stored apart or as one tensor with their rows in that order.
struct Projections {
  Linear q, k, v;
};

/// Multiply-adds per token from which 8 bits are worth their error: about the size of a model of
/// half a billion parameters.
constexpr int64_t kInt8FromMacs = 400'000'000;

Activations usual_activations(const ModelConfig& config) {
  const int64_t heads = 2 * (config.n_heads + config.n_kv_heads) * config.d_head;
  const int64_t per_layer = config.d_model * (heads + 3 * config.d_ff);
  const bool large = config.n_layers * per_layer >= kInt8FromMacs;
  return large ? Activations::kInt8 : Activations::kInt16;
}

/// Where 16 bits cost next to nothing they are always used: for keys and values shared by several
/// heads, in the last layer and in the head, which few rows of a prompt reach. That takes more than
/// half of the error of 8 bits away (decision 0007).
Activations kv_activations(const ModelConfig& config, Activations activations) {
  return config.n_kv_heads * 2 <= config.n_heads ? Activations::kInt16 : activations;
}

Result<Projections> bind_qkv(Binder& binder, const GgufFile& file, const ModelConfig& config,
                             const std::string& block, Activations activations) {
  const int64_t d = config.d_model;
  const int64_t q_rows = config.n_heads * config.d_head;
  const int64_t kv_rows = config.n_kv_heads * config.d_head;
  const Activations kv = kv_activations(config, activations);
  const std::string fused_name = block + "attn_qkv";
  if (file.find_tensor(fused_name + ".weight") == nullptr) {
    TRY(Linear q, binder.linear(block + "attn_q", d, q_rows, activations));
    TRY(Linear k, binder.linear(block + "attn_k", d, kv_rows, kv));
    TRY(Linear v, binder.linear(block + "attn_v", d, kv_rows, kv));
    return Projections{std::move(q), std::move(k), std::move(v)};
  }
  TRY(const TensorView* fused, binder.find(fused_name + ".weight", d, q_rows + 2 * kv_rows));
  TRY(std::vector<float> bias,
      binder.vector_if_present(fused_name + ".bias", q_rows + 2 * kv_rows));
  TRY(Linear q, binder.slice(*fused, bias, 0, q_rows, activations));
  TRY(Linear k, binder.slice(*fused, bias, q_rows, kv_rows, kv));
  TRY(Linear v, binder.slice(*fused, bias, q_rows + kv_rows, kv_rows, kv));
  return Projections{std::move(q), std::move(k), std::move(v)};
}

Result<LayerWeights> bind_layer(Binder& binder, const GgufFile& file, const ModelConfig& config,
                                int64_t index, Activations activations) {
  const std::string block = fmt::format("blk.{}.", index);
  const int64_t d = config.d_model;
  TRY(std::vector<float> attn_norm, binder.vector(block + "attn_norm.weight", d));
  TRY(Projections qkv, bind_qkv(binder, file, config, block, activations));
  std::vector<float> q_norm;
  std::vector<float> k_norm;
  if (config.qk_norm) {
    TRY(q_norm, binder.vector(block + "attn_q_norm.weight", config.d_head));
    TRY(k_norm, binder.vector(block + "attn_k_norm.weight", config.d_head));
  }
  TRY(Linear o,
      binder.linear(block + "attn_output", config.n_heads * config.d_head, d, activations));
  TRY(std::vector<float> ffn_norm, binder.vector(block + "ffn_norm.weight", d));
  TRY(Linear gate, binder.linear(block + "ffn_gate", d, config.d_ff, activations));
  TRY(Linear up, binder.linear(block + "ffn_up", d, config.d_ff, activations));
  TRY(Linear down, binder.linear(block + "ffn_down", config.d_ff, d, activations));
  return LayerWeights{std::move(attn_norm), std::move(qkv.q),    std::move(qkv.k),
                      std::move(qkv.v),     std::move(o),        std::move(q_norm),
                      std::move(k_norm),    std::move(ffn_norm), std::move(gate),
                      std::move(up),        std::move(down)};
}

/// The llama3 divisors, if the file has them.
Result<std::vector<float>> bind_rope_divisors(const Binder& binder, const ModelConfig& config) {
  TRY(std::vector<float> divisors,
      binder.vector_if_present("rope_freqs.weight", config.rope_dims / 2));
  for (float divisor : divisors) {
    if (!(std::isfinite(divisor) && divisor > 0)) {
      return Error{
          Code::kCorrupt,
          fmt::format("tensor rope_freqs.weight holds {}, expected numbers above 0", divisor)};
    }
  }
  return divisors;
}

}  // namespace

Result<ModelWeights> ModelWeights::bind(const GgufFile& file, const ModelConfig& config,
                                        const LoadOptions& options, ThreadPool& pool) {
  Binder binder(file, options, pool);
  TRY(const TensorView* embedding,
      binder.find("token_embd.weight", config.d_model, config.n_vocab));
  TRY(std::vector<float> output_norm, binder.vector("output_norm.weight", config.d_model));
  TRY(std::vector<float> divisors, bind_rope_divisors(binder, config));
  const Activations activations = options.activations.value_or(usual_activations(config));
  std::vector<LayerWeights> layers;
  for (int64_t index = 0; index < config.n_layers; ++index) {
    const bool last = index + 1 == config.n_layers;
    const Activations rounding = last ? Activations::kInt16 : activations;
    TRY(LayerWeights layer, bind_layer(binder, file, config, index, rounding));
    layers.push_back(std::move(layer));
  }
  TRY(Linear head, binder.linear(config.tied_head ? "token_embd" : "output", config.d_model,
                                 config.n_vocab, Activations::kInt16));
  binder.finished();
  return ModelWeights{*embedding,
                      std::move(layers),
                      std::move(output_norm),
                      std::move(head),
                      make_rope_table(config, divisors),
                      binder.take_packed()};
}

}  // namespace hadal
