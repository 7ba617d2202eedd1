/// The forward pass of Llama, Qwen2, Qwen3 and DeepSeek V1. A layer of one row has five parallel
/// steps: q k v, attention, output, gate and up, down.
#include "model/decoder/decoder.h"

namespace hadal {
namespace {

class GroupedDecoder final : public Decoder {
 public:
  using Decoder::Decoder;

  KvLayout kv_layout() const override {
    return {config_.n_layers, config_.n_kv_heads, config_.d_head, kv_type_};
  }

 private:
  void project(int64_t index, std::span<const KvSequence> sequences, KvPool& kv) override;
  void rotate(const GroupedWeights& weights);
  void add_attention(int64_t index, std::span<const KvSequence> sequences, KvPool& kv) override;
  void move_row(int64_t from, int64_t to) override { copy_row(q_, q_width(), from, to); }
  void keep_attention_floats(bool keep) override { mixed_.keep_floats(keep); }
  void resize_attention(int64_t rows) override;
  void each_attention_weight(const LayerWeights& layer,
                             const std::function<void(const Weight&)>& visit) const override;

  int64_t q_width() const { return config_.n_heads * config_.d_head; }
  int64_t kv_width() const { return config_.n_kv_heads * config_.d_head; }

  std::vector<float> q_, k_, v_, attended_;
  MatmulRows mixed_;  ///< attended_, input of the attention's output product
};

/// q, k, v = W norm(x)
void GroupedDecoder::project(int64_t index, std::span<const KvSequence> sequences, KvPool& kv) {
  const GroupedWeights& weights = *layer(index).grouped;
  const Weight* const readers[] = {&weights.q.weight, &weights.k.weight, &weights.v.weight};
  norm(layer(index).attn_norm, readers);
  const MatmulTask tasks[] = {task(weights.q, q_.data()), task(weights.k, k_.data()),
                              task(weights.v, v_.data())};
  matmul(normed_, tasks, pool_, workspace_);
  lap(Op::kQkv, tasks);
  rotate(weights);
  lap(Op::kRope);
  kv_write(kv, index, attention_rows(sequences), k_.data(), v_.data(), pool_);
  lap(Op::kKvWrite);
}

/// Norms (Qwen3) and rotates the heads of q and k.
void GroupedDecoder::rotate(const GroupedWeights& weights) {
  each_row([&](int64_t begin, int64_t end) {
    auto heads = [&](float* x, int64_t n_heads, const std::vector<float>& weight) {
      const int64_t width = n_heads * config_.d_head;
      if (config_.qk_norm) {
        float* first = x + begin * width;
        rms_norm(first, config_.d_head, weight.data(), config_.rms_eps, (end - begin) * n_heads,
                 config_.d_head, first, config_.d_head);
      }
      rope(angles_, {begin, end}, x, width, n_heads, config_.d_head);
    };
    heads(q_.data(), config_.n_heads, weights.q_norm);
    heads(k_.data(), config_.n_kv_heads, weights.k_norm);
  });
}

/// x += Wo attention(q, K, V)
void GroupedDecoder::add_attention(int64_t index, std::span<const KvSequence> sequences,
                                   KvPool& kv) {
  attention(kv, index, attention_rows(sequences), q_.data(), config_.n_heads,
            config_.attention_scale, attended_.data(), pool_);
  lap_attention(kv.layout(), 2 * q_width());
  const Linear& o = layer(index).grouped->o;
  const Weight* const readers[] = {&o.weight};
  mixed_.reset(n_rows_, readers);
  mixed_.set_all(attended_.data(), q_width(), pool_);
  add_linear(o, mixed_, Op::kAttentionOut);
}

void GroupedDecoder::resize_attention(int64_t rows) {
  reserve_rows(q_, rows, q_width());
  reserve_rows(k_, rows, kv_width());
  reserve_rows(v_, rows, kv_width());
  reserve_rows(attended_, rows, q_width());
}

void GroupedDecoder::each_attention_weight(const LayerWeights& layer,
                                           const std::function<void(const Weight&)>& visit) const {
  const GroupedWeights& weights = *layer.grouped;
  for (const Linear* linear : {&weights.q, &weights.k, &weights.v, &weights.o}) {
    visit(linear->weight);
  }
}

}  // namespace

std::unique_ptr<Model> make_grouped_decoder(ModelConfig config, ModelWeights weights,
                                            const LoadOptions& options, ThreadPool& pool) {
  return std::make_unique<GroupedDecoder>(std::move(config), std::move(weights), options, pool);
}

}  // namespace hadal
