/// The forward pass of DeepSeek V2 and V3: multi-head latent attention (2405.04434, 2.1). Per token
/// and layer only c, of kv_lora_rank numbers, and one rotated key are cached.
///
/// Two forms of the same sum. Absorbed: queries go into the latent space (k_up), attend to c
/// itself, and what they find comes back (v_up); nothing is made per cached position. Expanded:
/// keys and values of all heads are made from c again for every position that is seen; fewer
/// multiply-adds once many rows share them.
#include <algorithm>

#include "kernels/latent_attention.h"
#include "kernels/matmul_heads.h"
#include "model/decoder/decoder.h"
#include "model/decoder/indexer_pass.h"

namespace hadal {
namespace {

/// What the prediction layer sees.
PositionLists all_but_first(const AttentionRows& rows) {
  PositionLists out;
  out.first.push_back(0);
  for (const int32_t position : rows.positions) {
    for (int32_t p = 1; p <= position; ++p) out.positions.push_back(p);
    out.first.push_back(static_cast<int64_t>(out.positions.size()));
  }
  return out;
}

class LatentDecoder final : public Decoder {
 public:
  LatentDecoder(ModelConfig config, ModelWeights weights, const LoadOptions& options,
                ThreadPool& pool)
      : Decoder(std::move(config), std::move(weights), options, pool),
        form_(options.latent_form),
        shape_(config_.latent),
        indexer_(config_.indexer) {
    index_rope_ = weights_.rope;
    index_rope_.half_split = true;
  }

  KvLayout kv_layout() const override {
    return {.n_layers = config_.n_layers + (predicts() ? 1 : 0),
            .n_kv_heads = 1,
            .d_head = shape_.d_cache(),
            .type = kv_type_,
            .values_in_keys = true,
            .extra_bytes = state_bytes() + index_bytes()};
  }

 private:
  /// Rows of one sequence that take the same form.
  struct Run {
    int64_t begin = 0;
    int64_t end = 0;
    bool expanded = false;
    int64_t rows() const { return end - begin; }
  };

  void project(int64_t index, std::span<const KvSequence> sequences, KvPool& kv) override;
  void project_down(const LatentWeights& weights);
  void project_queries(const LatentWeights& weights);
  void norm_and_rotate(const LatentWeights& weights);
  void add_attention(int64_t index, std::span<const KvSequence> sequences, KvPool& kv) override;
  std::vector<Run> runs(int64_t index) const;
  void attend_absorbed(int64_t index, const Run& run, std::span<const KvSequence> sequences,
                       KvPool& kv);
  void attend_expanded(int64_t index, const Run& run, std::span<const KvSequence> sequences,
                       KvPool& kv);
  void lap_heads(std::span<const Weight> heads, int64_t rows);
  AttentionRows rows_of(const Run& run, std::span<const KvSequence> sequences) const;
  void index(int64_t index, std::span<const KvSequence> sequences, KvPool& kv);
  void move_row(int64_t from, int64_t to) override {
    copy_row(q_, q_width(), from, to);
    if (config_.indexer) indexer_.move_row(from, to);
  }
  void keep_attention_floats(bool keep) override {
    q_rank_.keep_floats(keep);
    values_.keep_floats(keep);
  }
  void resize_attention(int64_t rows) override;
  void each_attention_weight(const LayerWeights& layer,
                             const std::function<void(const Weight&)>& visit) const override;

  LatentShape latent_shape() const {
    return {config_.n_heads, shape_.kv_lora_rank, shape_.d_rope, shape_.d_nope, shape_.d_value};
  }
  /// Index keys of all layers, per position, behind the states.
  int64_t index_bytes() const {
    return config_.indexer ? config_.n_layers * indexer_.shape().key_bytes() : 0;
  }
  IndexKeys index_keys(KvPool& kv, int64_t index) const {
    return {kv, kv.page_tokens() * (state_bytes() + index * indexer_.shape().key_bytes())};
  }
  int64_t q_width() const { return config_.n_heads * shape_.d_query(); }
  int64_t value_width() const { return config_.n_heads * shape_.d_value; }

  const LatentForm form_;
  const LatentConfig shape_;
  std::vector<float> q_a_;       ///< q_lora_rank
  std::vector<float> q_;         ///< per head d_nope, d_rope
  std::vector<float> c_;         ///< kv_lora_rank, d_rope: what is cached
  std::vector<float> absorbed_;  ///< per head kv_lora_rank, d_rope
  std::vector<float> mixed_;     ///< per head kv_lora_rank
  std::vector<float> attended_;  ///< per head d_value
  MatmulRows q_rank_;            ///< input of q_b
  MatmulRows values_;            ///< attended_, input of the attention's output product
  IndexerPass indexer_;
  RopeTable index_rope_;
  RopeAngles index_angles_;
  HeadsWorkspace heads_;
  LatentWorkspace latent_;
  PositionLists prediction_sees_;
};

void LatentDecoder::project(int64_t index, std::span<const KvSequence> sequences, KvPool& kv) {
  const LatentWeights& weights = *layer(index).latent;
  std::vector<const Weight*> readers = {weights.q_a ? &weights.q_a->weight : &weights.q_b.weight,
                                        &weights.kv_a.weight};
  if (weights.indexer) {
    readers.insert(readers.end(), {&weights.indexer->k.weight, &weights.indexer->heads.weight});
  }
  norm(layer(index).attn_norm, readers);
  project_down(weights);
  if (weights.q_a) project_queries(weights);
  norm_and_rotate(weights);
  if (index < config_.n_layers && config_.indexer) this->index(index, sequences, kv);
  kv_write_latent(kv, index, attention_rows(sequences), c_.data(), pool_);
  lap(Op::kKvWrite);
}

void LatentDecoder::index(int64_t index, std::span<const KvSequence> sequences, KvPool& kv) {
  if (index == 0) index_angles_.compute(index_rope_, positions_);
  indexer_.project(*layer(index).latent->indexer, normed_, q_rank_, index_angles_,
                   index_keys(kv, index), attention_rows(sequences), pool_, workspace_);
  lap(Op::kIndexer);
}

/// [c | k_pe] = Wkv_a h, and Wq_a h or, without a rank, q = Wq h
void LatentDecoder::project_down(const LatentWeights& weights) {
  const MatmulTask tasks[] = {
      weights.q_a ? task(*weights.q_a, q_a_.data()) : task(weights.q_b, q_.data()),
      task(weights.kv_a, c_.data())};
  matmul(normed_, tasks, pool_, workspace_);
  lap(Op::kQkv, tasks);
}

/// q = Wq_b norm(Wq_a h)
void LatentDecoder::project_queries(const LatentWeights& weights) {
  const int64_t rank = shape_.q_lora_rank;
  const Weight* const readers[] = {
      &weights.q_b.weight, weights.indexer ? &weights.indexer->q.weight : &weights.q_b.weight};
  q_rank_.reset(n_rows_, readers);
  each_row([&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* row = q_a_.data() + r * rank;
      rms_norm(row, rank, weights.q_a_norm.data(), config_.rms_eps, 1, rank, row, rank);
      q_rank_.set(r, 0, rank, row);
    }
  });
  const MatmulTask tasks[] = {task(weights.q_b, q_.data())};
  matmul(q_rank_, tasks, pool_, workspace_);
  lap(Op::kQueryUp, tasks);
}

/// c = norm(c); q_pe of each head and k_pe turn with their position.
void LatentDecoder::norm_and_rotate(const LatentWeights& weights) {
  const int64_t width = shape_.d_cache();
  const int64_t rank = shape_.kv_lora_rank;
  each_row([&](int64_t begin, int64_t end) {
    float* first = c_.data() + begin * width;
    rms_norm(first, width, weights.kv_a_norm.data(), config_.rms_eps, end - begin, rank, first,
             width);
    rope(angles_, {begin, end}, c_.data() + rank, width, 1, shape_.d_rope);
    rope(angles_, {begin, end}, q_.data() + shape_.d_nope, q_width(), config_.n_heads,
         shape_.d_query());
  });
  lap(Op::kRope);
}

/// x += Wo attention
void LatentDecoder::add_attention(int64_t index, std::span<const KvSequence> sequences,
                                  KvPool& kv) {
  for (const Run& run : runs(index)) {
    if (run.expanded) {
      attend_expanded(index, run, sequences, kv);
    } else {
      attend_absorbed(index, run, sequences, kv);
    }
  }
  const Linear& o = layer(index).latent->o;
  const Weight* const readers[] = {&o.weight};
  values_.reset(n_rows_, readers);
  values_.set_all(attended_.data(), value_width(), pool_);
  add_linear(o, values_, Op::kAttentionOut);
}

/// Sequences whose form is the expanded one stand alone, neighbours in the absorbed form go
/// together.
std::vector<LatentDecoder::Run> LatentDecoder::runs(int64_t index) const {
  if (index == config_.n_layers) return {{0, n_rows_, false}};
  std::vector<Run> out;
  for (int64_t begin = 0, end = 0; begin < n_rows_; begin = end) {
    const int32_t sequence = row_sequences_[static_cast<size_t>(begin)];
    while (end < n_rows_ && row_sequences_[static_cast<size_t>(end)] == sequence) ++end;
    const int64_t seen = positions_[static_cast<size_t>(end - 1)] + 1;
    const bool sparse = config_.indexer && seen > indexer_.top_k();
    const bool cheaper =
        form_ == LatentForm::kAuto && latent_expanded_is_cheaper(latent_shape(), end - begin, seen);
    const bool expanded = !sparse && (form_ == LatentForm::kExpanded || cheaper);
    if (!expanded && !out.empty() && !out.back().expanded) {
      out.back().end = end;
    } else {
      out.push_back({begin, end, expanded});
    }
  }
  return out;
}

AttentionRows LatentDecoder::rows_of(const Run& run, std::span<const KvSequence> sequences) const {
  const auto first = static_cast<size_t>(run.begin);
  const auto count = static_cast<size_t>(run.rows());
  return {std::span(positions_).subspan(first, count),
          std::span(row_sequences_).subspan(first, count), sequences};
}

void LatentDecoder::attend_absorbed(int64_t index, const Run& run,
                                    std::span<const KvSequence> sequences, KvPool& kv) {
  const LatentWeights& weights = *layer(index).latent;
  const int64_t n_heads = config_.n_heads;
  const int64_t rank = shape_.kv_lora_rank;
  const int64_t width = shape_.d_cache();
  reserve_rows(absorbed_, run.rows(), n_heads * width);
  reserve_rows(mixed_, run.rows(), n_heads * rank);
  float* q = q_.data() + run.begin * q_width();
  const HeadRows queries{q, q_width(), shape_.d_query()};
  const HeadRows absorbed{absorbed_.data(), n_heads * width, width};
  matmul_heads(queries, run.rows(), weights.k_up, absorbed, pool_, heads_);
  for (int64_t r = 0; r < run.rows(); ++r) {
    for (int64_t h = 0; h < n_heads; ++h) {
      std::copy_n(queries.head(r, h) + shape_.d_nope, shape_.d_rope, absorbed.head(r, h) + rank);
    }
  }
  lap_heads(weights.k_up, run.rows());
  const AttentionRows rows = rows_of(run, sequences);
  if (index == config_.n_layers || config_.indexer) {
    const PositionLists& seen =
        index == config_.n_layers ? prediction_sees_ = all_but_first(rows)
                                  : indexer_.select(index_keys(kv, index), rows, run.begin, pool_);
    latent_attention_sparse(kv, index, rows, seen, absorbed_.data(), latent_shape(),
                            config_.attention_scale, mixed_.data(), pool_);
  } else {
    latent_attention(kv, index, rows, absorbed_.data(), latent_shape(), config_.attention_scale,
                     mixed_.data(), pool_);
  }
  lap_attention(kv.layout(), n_heads * (width + rank));
  matmul_heads({mixed_.data(), n_heads * rank, rank}, run.rows(), weights.v_up,
               {attended_.data() + run.begin * value_width(), value_width(), shape_.d_value}, pool_,
               heads_);
  lap_heads(weights.v_up, run.rows());
}

/// Each head's matrix meets its own part of each row.
void LatentDecoder::lap_heads(std::span<const Weight> heads, int64_t rows) {
  OpWork work;
  for (const Weight& weight : heads) {
    work.bytes += weight.bytes();
    work.macs += static_cast<uint64_t>(rows * weight.rows() * weight.cols());
  }
  lap(Op::kLatentUp, work);
}

void LatentDecoder::attend_expanded(int64_t index, const Run& run,
                                    std::span<const KvSequence> sequences, KvPool& kv) {
  const LatentWeights& weights = *layer(index).latent;
  const bool keys_alone = weights.kv_b.rows() == config_.n_heads * shape_.d_nope;
  const std::span<const Weight> values = keys_alone ? weights.v_up : std::span<const Weight>();
  latent_attention_expanded(kv, index, rows_of(run, sequences), q_.data() + run.begin * q_width(),
                            latent_shape(), {weights.kv_b, values, latent_},
                            config_.attention_scale, attended_.data() + run.begin * value_width(),
                            pool_);
  lap_attention(kv.layout(), config_.n_heads * (shape_.d_query() + shape_.d_value));
}

void LatentDecoder::resize_attention(int64_t rows) {
  reserve_rows(q_a_, rows, shape_.q_lora_rank);
  reserve_rows(q_, rows, q_width());
  reserve_rows(c_, rows, shape_.d_cache());
  reserve_rows(attended_, rows, value_width());
}

void LatentDecoder::each_attention_weight(const LayerWeights& layer,
                                          const std::function<void(const Weight&)>& visit) const {
  const LatentWeights& weights = *layer.latent;
  if (weights.q_a) visit(weights.q_a->weight);
  for (const Linear* linear : {&weights.q_b, &weights.kv_a, &weights.o}) visit(linear->weight);
  if (weights.indexer) {
    for (const Linear* linear :
         {&weights.indexer->q, &weights.indexer->k, &weights.indexer->heads}) {
      visit(linear->weight);
    }
  }
  for (const auto* heads : {&weights.k_up, &weights.v_up}) {
    for (const Weight& weight : *heads) visit(weight);
  }
}

}  // namespace

std::unique_ptr<Model> make_latent_decoder(ModelConfig config, ModelWeights weights,
                                           const LoadOptions& options, ThreadPool& pool) {
  return std::make_unique<LatentDecoder>(std::move(config), std::move(weights), options, pool);
}

}  // namespace hadal
