#pragma once
/// What the forward passes of Llama, Qwen2, Qwen3, DeepSeek V1, V2 and V3 have in common: slices,
/// norms, feed-forward layers with and without experts, the head. Attention is the subclasses'.
///
/// Symbols: x is the residual stream; rows are tokens of any number of sequences. Activations
/// between two products are kept only as the next product reads them (MatmulRows), and written
/// where they are computed.
///
/// Big batches go through in slices of kSliceRows rows: a row sees only rows before it, so slices
/// change nothing but the memory needed.
#include <algorithm>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/moe.h"
#include "kernels/router.h"
#include "model/model.h"
#include "model/weights.h"

namespace hadal {

class Decoder : public Model {
 public:
  Decoder(ModelConfig config, ModelWeights weights, const LoadOptions& options, ThreadPool& pool)
      : config_(std::move(config)),
        weights_(std::move(weights)),
        kv_type_(options.kv_type),
        pool_(pool) {}

  const ModelConfig& config() const override { return config_; }
  int64_t n_vocab() const override { return config_.n_vocab; }
  int64_t n_ctx_train() const override { return config_.n_ctx_train; }
  std::span<const PackedPart> packed_parts() const override { return weights_.packed; }
  uint64_t weight_bytes_per_token() const override;
  uint64_t prediction_bytes_per_token() const override;
  uint64_t macs_per_token() const override;
  Status forward(const Batch& batch, KvPool& kv, std::span<float> logits) override;
  Status states(const Batch& batch, KvPool& kv, std::span<float> out) override;
  bool predicts() const override { return weights_.prediction.has_value(); }
  Status predict(const Batch& batch, KvPool& kv, std::span<float> logits) override;
  void set_profile(Profile* profile) override { profile_ = profile; }
  Status set_observer(MatmulObserver* observer) override;

 protected:
  /// Rows that one worker takes at a time in element-wise steps.
  static constexpr int64_t kRowGrain = 16;
  /// Enough rows for the matrix kernels to work at full speed; the activations of a 7B model at
  /// this size are about 80 MB.
  static constexpr size_t kSliceRows = 512;

  // A layer's attention, in two steps: what all rows need, and what only those need whose result
  // is read. Index n_layers is the prediction layer, to which position 0 is invisible.
  /// Keys and values of the rows go to `kv`; queries are kept.
  virtual void project(int64_t index, std::span<const KvSequence> sequences, KvPool& kv) = 0;
  /// x += attention.
  virtual void add_attention(int64_t index, std::span<const KvSequence> sequences, KvPool& kv) = 0;
  /// Between the two: what is kept of row `from` moves to row `to`.
  virtual void move_row(int64_t from, int64_t to) = 0;
  virtual void resize_attention(int64_t rows) = 0;
  /// MatmulRows::keep_floats of the attention's rows.
  virtual void keep_attention_floats(bool keep) = 0;
  /// Calls visit(weight) on the attention's matrices that a token's pass reads.
  virtual void each_attention_weight(const LayerWeights& layer,
                                     const std::function<void(const Weight&)>& visit) const = 0;

  /// Beside the keys: the state of a position that prediction starts from, first in each page.
  int64_t state_bytes() const {
    return predicts() ? (config_.d_model + 1) / 2 * int64_t{sizeof(uint32_t)} : 0;
  }

  const LayerWeights& layer(int64_t index) const {
    return weights_.layers[static_cast<size_t>(index)];
  }
  AttentionRows attention_rows(std::span<const KvSequence> sequences) const {
    return {positions_, row_sequences_, sequences};
  }
  /// normed_ = RMSNorm(x) for `readers`. A row is still in the cache when it is rounded.
  void norm(const std::vector<float>& weight, std::span<const Weight* const> readers);
  /// x += W in (+ bias)
  void add_linear(const Linear& weight, const MatmulRows& in, Op op);
  static MatmulTask task(const Linear& weight, float* out) {
    return {.weight = &weight.weight,
            .bias = weight.bias.empty() ? nullptr : weight.bias.data(),
            .out = out,
            .out_stride = weight.weight.rows()};
  }
  static void reserve_rows(std::vector<float>& buffer, int64_t rows, int64_t width) {
    const size_t needed = static_cast<size_t>(rows * width);
    if (buffer.size() < needed) buffer.resize(needed);
  }
  static void copy_row(std::vector<float>& x, int64_t width, int64_t from, int64_t to) {
    std::copy_n(x.begin() + from * width, width, x.begin() + to * width);
  }
  /// Calls body(begin, end) over the rows, on several workers when there are many.
  template <typename Body>
  void each_row(Body&& body) {
    if (n_rows_ <= kRowGrain) {
      body(int64_t{0}, n_rows_);
    } else {
      pool_.parallel_for(n_rows_, kRowGrain, body);
    }
  }

  /// With a profile: the op that ends here, and what it read and multiplied.
  void lap(Op op, const OpWork& work = {}) {
    if (profile_ != nullptr) profile_->lap(op, work);
  }
  void lap(Op op, std::span<const MatmulTask> tasks);
  /// macs_per_position: of a row with one position that it sees.
  void lap_attention(const KvLayout& kv, int64_t macs_per_position);

  ModelConfig config_;
  ModelWeights weights_;
  KvType kv_type_;
  ThreadPool& pool_;
  MatmulWorkspace workspace_;
  Profile* profile_ = nullptr;

  // The rows in work. Buffers only grow; packed rows.
  int64_t n_rows_ = 0;
  std::vector<int32_t> positions_;
  std::vector<int32_t> row_sequences_;
  std::vector<TokenId> tokens_;
  RopeAngles angles_;
  std::vector<float> x_;
  MatmulRows normed_;  ///< input of the attention, of the feed-forward layer, and of the head

 private:
  /// Calls body(slice, rows before it that want logits).
  template <typename Body>
  static void each_slice(std::span<const BatchRow> rows, Body&& body) {
    int64_t wanted = 0;
    for (size_t begin = 0; begin < rows.size(); begin += kSliceRows) {
      const auto slice = rows.subspan(begin, std::min(kSliceRows, rows.size() - begin));
      body(slice, wanted);
      wanted += std::count_if(slice.begin(), slice.end(),
                              [](const BatchRow& row) { return row.wants_logits; });
    }
  }
  void forward_slice(std::span<const BatchRow> rows, std::span<const KvSequence> sequences,
                     KvPool& kv, float* out);
  void begin_rows(std::span<const BatchRow> rows);
  void embed(const TensorView& table, std::vector<float>& out);
  void resize_buffers(int64_t rows);
  void keep_rows_with_logits(std::span<const BatchRow> rows);
  void add_feed_forward(const LayerWeights& layer);
  void add_dense(const DenseWeights& dense, const std::vector<float>& norm_weight);
  void add_experts(const MoeWeights& moe, const std::vector<float>& norm_weight);
  void lap_experts(const MoeWeights& moe);
  void project_head(const Linear& head, const std::vector<float>& norm_weight, float* out);
  void store_states(const std::vector<float>& norm_weight, std::span<const KvSequence> sequences,
                    KvPool& kv);
  void join_states(std::span<const KvSequence> sequences, KvPool& kv);
  void keep_for_prediction(std::span<const KvSequence> sequences, KvPool& kv);
  void predict_slice(std::span<const BatchRow> rows, std::span<const KvSequence> sequences,
                     KvPool& kv, float* logits);
  struct Totals;
  void add_layer(int64_t index, Totals& out) const;
  Totals totals() const;

  bool wants_states_ = false;  ///< of the pass in work, see states()
  bool observed_ = false;
  std::vector<float> joined_;     ///< x of the prediction layer
  MatmulRows pairs_;              ///< an embedding and the state before it
  std::vector<float> norm_rows_;  ///< one row per piece of kRowGrain rows
  MatmulRows gated_;              ///< silu(gate) * up, input of down
  std::vector<float> router_logits_, expert_weights_;
  std::vector<int32_t> experts_;
  MoeWorkspace moe_workspace_;
};

/// Attention whose heads have keys and values of their own or share them in groups.
std::unique_ptr<Model> make_grouped_decoder(ModelConfig config, ModelWeights weights,
                                            const LoadOptions& options, ThreadPool& pool);
/// Multi-head latent attention.
std::unique_ptr<Model> make_latent_decoder(ModelConfig config, ModelWeights weights,
                                           const LoadOptions& options, ThreadPool& pool);

}  // namespace hadal
