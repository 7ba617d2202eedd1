#pragma once
/// The forward pass of DeepSeek V4. Symbols: X are a token's residual streams, h a block's normed
/// input, y its output; rows are tokens of any number of sequences.
///
///   for each layer:  X = leave(X, attention(norm(enter(X))));  X = leave(X,
///   experts(norm(enter(X)))) logits = head(norm(enter(X)))
///
/// Big batches go through in slices of kSliceRows rows: a row sees only rows before it, so slices
/// change nothing but the memory needed.
#include <memory>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/latent_attention.h"
#include "kernels/matmul_heads.h"
#include "kernels/moe.h"
#include "kernels/sink_attention.h"
#include "model/deepseek4/compressor.h"
#include "model/deepseek4/config.h"
#include "model/deepseek4/hyper_connections.h"
#include "model/deepseek4/state.h"
#include "model/deepseek4/weights.h"
#include "model/model.h"

namespace hadal::deepseek4 {

class Deepseek4Model final : public Model {
 public:
  Deepseek4Model(Config config, Weights weights, KvType kv_type, ThreadPool& pool);

  const ModelConfig& config() const override { return common_; }
  int64_t n_vocab() const override { return config_.n_vocab; }
  int64_t n_ctx_train() const override { return config_.n_ctx_train; }
  KvLayout kv_layout() const override;
  std::span<const PackedPart> packed_parts() const override { return weights_.packed; }
  uint64_t weight_bytes_per_token() const override;
  uint64_t prediction_bytes_per_token() const override;
  uint64_t macs_per_token() const override;
  Status forward(const Batch& batch, KvPool& kv, std::span<float> logits) override;
  bool predicts() const override { return weights_.prediction.has_value(); }
  Status predict(const Batch& batch, KvPool& kv, std::span<float> logits) override;
  void set_profile(Profile* profile) override { profile_ = profile; }
  Status states(const Batch& batch, KvPool& kv, std::span<float> out) override;
  Status set_observer(MatmulObserver* observer) override {
    observed_ = observer != nullptr;
    workspace_.set_observer(observer);
    moe_workspace_.set_observer(observer);
    for (MatmulRows* rows : {&pairs_, &normed_, &q_latent_, &out_latent_}) {
      rows->keep_floats(observer != nullptr);
    }
    return {};
  }

 private:
  static constexpr size_t kSliceRows = 512;
  /// Rows that one worker takes at a time in element-wise steps.
  static constexpr int64_t kRowGrain = 4;

  /// cos and sin of the rows, and of the way back.
  struct Turns {
    RopeAngles there;
    RopeAngles back;
  };

  void forward_slices(const Batch& batch, KvPool& kv, float* out, int64_t width);
  void forward_slice(std::span<const BatchRow> rows, std::span<const KvSequence> sequences,
                     KvPool& kv, float* logits);
  void resize_buffers(int64_t rows);
  void begin_rows(std::span<const BatchRow> rows);
  void embed();
  void compute_turns();
  /// `before`: the attention between whose two halves this happens; null: behind all layers.
  void keep_rows_with_logits(std::span<const BatchRow> rows, const AttentionWeights* before);
  void project_head(const Site& site, const std::vector<float>& norm, float* logits);

  // predict.cc
  void predict_slice(std::span<const BatchRow> rows, std::span<const KvSequence> sequences,
                     KvPool& kv, float* logits);
  /// What forward() does for predict(): the rows' streams, and their keys in the prediction block.
  void keep_for_prediction(std::span<const KvSequence> sequences, KvPool& kv);
  void store_streams(std::span<const KvSequence> sequences, KvPool& kv);
  void join_streams_before(std::span<const KvSequence> sequences, KvPool& kv);
  /// Every stream of joined_ becomes the token's part of the join, where that is a matrix apart.
  void join_tokens();
  /// d_model numbers: the normed embedding of a row's token.
  void token_before_join(int64_t row, float* out) const;

  /// The layer's attention and experts, behind project() and store().
  void finish_layer(const LayerWeights& layer, int64_t index, KvPool& kv,
                    std::span<const KvSequence> sequences);

  /// normed_ = norm(enter(X)) for `readers`; the gates are kept for leave().
  void enter(const Site& site, const std::vector<float>& norm,
             std::span<const Weight* const> readers);
  /// X = leave(X, y_)
  void leave();

  void project(const LayerWeights& layer, int64_t index);
  void project_queries(const AttentionWeights& weights, int64_t index);
  void store(const AttentionWeights& weights, int64_t index, KvPool& kv,
             std::span<const KvSequence> sequences);
  void attend(const AttentionWeights& weights, int64_t index, KvPool& kv,
              std::span<const KvSequence> sequences);
  void find_beside(int64_t index, KvPool& kv, std::span<const KvSequence> sequences);
  void project_out(const AttentionWeights& weights);
  void experts(const LayerWeights& layer);

  Status check(const Batch& batch, const KvPool& kv, std::span<const float> logits) const;
  /// The prediction block, behind the others, has none.
  int64_t ratio(int64_t index) const {
    return index < config_.n_layers ? config_.ratios[static_cast<size_t>(index)] : 0;
  }
  Turns& turns(int64_t index) { return ratio(index) > 0 ? compressed_turns_ : plain_turns_; }
  const RopeTable& rope_table(int64_t index) const {
    return ratio(index) > 0 ? config_.compressed_rope : config_.rope;
  }
  Compressor compressor(const CompressorWeights& weights, int64_t index) const;
  GateParams gate_params(const Site& site) const;
  AttentionRows attention_rows(std::span<const KvSequence> sequences) const {
    return {positions_, row_sequences_, sequences};
  }
  int64_t q_width() const { return config_.n_heads * config_.d_head; }
  int64_t index_width() const { return config_.index_heads * config_.index_dim; }
  int64_t stream_width() const { return config_.n_streams * config_.d_model; }
  static MatmulTask task(const Weight& weight, std::vector<float>& out) {
    return {.weight = &weight, .out = out.data(), .out_stride = weight.rows()};
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
  void lap(Op op, std::span<const MatmulTask> tasks = {});
  void lap_experts(const MoeWeights& moe);
  struct Totals;
  Totals totals() const;

  Config config_;
  ModelConfig common_;
  Weights weights_;
  KvType kv_type_;
  StateLayout state_;
  ThreadPool& pool_;
  MatmulWorkspace workspace_;
  MoeWorkspace moe_workspace_;
  HeadsWorkspace heads_workspace_;
  Profile* profile_ = nullptr;
  bool wants_states_ = false;  ///< of the pass in work, see states()
  bool observed_ = false;
  std::vector<float> ones_;  ///< the weight of a norm that has none

  // The rows in work. Buffers only grow; packed rows.
  int64_t n_rows_ = 0;
  std::vector<int32_t> positions_;
  std::vector<int32_t> row_sequences_;
  std::vector<TokenId> tokens_;
  Turns plain_turns_, compressed_turns_;
  std::vector<float> streams_;      ///< X
  std::vector<float> joined_;       ///< X of the prediction block, while forward() keeps its keys
  MatmulRows pairs_;                ///< [token | stream before] or the stream, a row per stream
  std::vector<float> mix_;          ///< what gates are made of
  std::vector<StreamGates> gates_;  ///< of the site in work
  std::vector<float> y_;            ///< a block's output
  MatmulRows normed_;               ///< h
  std::vector<float> q_rank_, q_, kv_, attended_, grouped_;
  std::vector<float> values_, value_gates_;      ///< a compressor's inputs
  std::vector<float> index_keys_, index_gates_;  ///< the indexer's compressor's
  std::vector<float> index_q_, index_weights_;
  MatmulRows q_latent_;    ///< input of q_b and the indexer's queries
  MatmulRows out_latent_;  ///< grouped_, input of o_b
  PositionLists chosen_;   ///< compressed rows that each row sees; none: all
  std::vector<const std::byte*> beside_;
  std::vector<int64_t> beside_end_;
  std::vector<float> router_logits_, expert_weights_;
  std::vector<int32_t> experts_;
};

}  // namespace hadal::deepseek4
