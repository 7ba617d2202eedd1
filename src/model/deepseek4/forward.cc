#include "model/deepseek4/forward.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "kernels/indexer.h"
#include "kernels/latent_attention.h"
#include "kernels/router.h"
#include "model/check_batch.h"
#include "model/deepseek4/deepseek4.h"

namespace hadal {
namespace deepseek4 {
namespace {

void grow(std::vector<float>& buffer, int64_t rows, int64_t width) {
  const auto needed = static_cast<size_t>(rows * width);
  if (buffer.size() < needed) buffer.resize(needed);
}

}  // namespace

Deepseek4Model::Deepseek4Model(Config config, Weights weights, KvType kv_type, ThreadPool& pool)
    : config_(std::move(config)),
      common_(config_.common()),
      weights_(std::move(weights)),
      kv_type_(kv_type),
      state_(config_, kv_type, weights_.prediction.has_value()),
      pool_(pool),
      ones_(static_cast<size_t>(config_.d_head), 1.0f) {}

KvLayout Deepseek4Model::kv_layout() const {
  return {.n_layers = config_.n_layers + (predicts() ? 1 : 0),
          .n_kv_heads = 1,
          .d_head = config_.d_head,
          .type = kv_type_,
          .values_in_keys = true,
          .extra_bytes = state_.bytes_per_token()};
}

Status Deepseek4Model::check(const Batch& batch, const KvPool& kv,
                             std::span<const float> logits) const {
  TRY_STATUS(check_batch(batch, kv, kv_layout(), config_.n_vocab, logits.size()));
  if (kv.layout().type != kv_type_) {
    return Error{Code::kInvalidArgument, "the key/value pool has keys of another type"};
  }
  return {};
}

Status Deepseek4Model::forward(const Batch& batch, KvPool& kv, std::span<float> logits) {
  TRY_STATUS(check(batch, kv, logits));
  forward_slices(batch, kv, logits.data(), config_.n_vocab);
  return {};
}

Status Deepseek4Model::states(const Batch& batch, KvPool& kv, std::span<float> out) {
  const size_t n_logits = batch.rows.size() * static_cast<size_t>(config_.n_vocab);  // not wanted
  TRY_STATUS(check_batch(batch, kv, kv_layout(), config_.n_vocab, n_logits));
  wants_states_ = true;
  normed_.keep_floats(true);
  forward_slices(batch, kv, out.data(), config_.d_model);
  normed_.keep_floats(observed_);
  wants_states_ = false;
  return {};
}

/// `width`: floats that a row gets.
void Deepseek4Model::forward_slices(const Batch& batch, KvPool& kv, float* out, int64_t width) {
  const std::span<const BatchRow> rows = batch.rows;
  for (size_t begin = 0; begin < rows.size(); begin += kSliceRows) {
    const auto slice = rows.subspan(begin, std::min(kSliceRows, rows.size() - begin));
    forward_slice(slice, batch.sequences, kv, out);
    out += std::count_if(slice.begin(), slice.end(), [](auto& row) { return row.wants_logits; }) *
           width;
  }
}

void Deepseek4Model::forward_slice(std::span<const BatchRow> rows,
                                   std::span<const KvSequence> sequences, KvPool& kv,
                                   float* logits) {
  if (profile_ != nullptr) profile_->start();
  begin_rows(rows);
  embed();
  lap(Op::kEmbed);
  for (int64_t index = 0; index < config_.n_layers; ++index) {
    const LayerWeights& layer = weights_.layers[static_cast<size_t>(index)];
    project(layer, index);
    store(layer.attention, index, kv, sequences);
    // Nothing after what the last layer keeps reads the rows without logits.
    const bool last = index + 1 == config_.n_layers && !predicts();
    if (last) keep_rows_with_logits(rows, &layer.attention);
    if (n_rows_ == 0) return;
    finish_layer(layer, index, kv, sequences);
  }
  if (predicts()) {
    keep_for_prediction(sequences, kv);
    keep_rows_with_logits(rows, nullptr);
    if (n_rows_ == 0) return;
  }
  project_head(weights_.head_site, weights_.output_norm, logits);
}

void Deepseek4Model::finish_layer(const LayerWeights& layer, int64_t index, KvPool& kv,
                                  std::span<const KvSequence> sequences) {
  attend(layer.attention, index, kv, sequences);
  project_out(layer.attention);
  leave();
  experts(layer);
  leave();
}

void Deepseek4Model::resize_buffers(int64_t rows) {
  n_rows_ = rows;
  const auto n = static_cast<size_t>(rows);
  positions_.resize(n);
  row_sequences_.resize(n);
  tokens_.resize(n);
  gates_.resize(std::max(gates_.size(), n));
  grow(streams_, rows, stream_width());
  grow(mix_, rows, config_.n_streams * (config_.n_streams + 2));
  grow(y_, rows, config_.d_model);
  grow(q_rank_, rows, config_.q_lora_rank);
  grow(q_, rows, q_width());
  grow(kv_, rows, config_.d_head);
  grow(attended_, rows, q_width());
  grow(grouped_, rows, config_.o_groups * config_.o_lora_rank);
  grow(router_logits_, rows, config_.n_experts);
  grow(expert_weights_, rows, config_.n_used);
  experts_.resize(std::max(experts_.size(), n * static_cast<size_t>(config_.n_used)));
  const int64_t channels = config_.any_ratio(kSparseRatio) ? 2 * config_.d_head : config_.d_head;
  grow(values_, rows, channels);
  grow(value_gates_, rows, channels);
  grow(index_keys_, rows, 2 * config_.index_dim);
  grow(index_gates_, rows, 2 * config_.index_dim);
  grow(index_q_, rows, index_width());
  grow(index_weights_, rows, config_.index_heads);
}

void Deepseek4Model::begin_rows(std::span<const BatchRow> rows) {
  resize_buffers(static_cast<int64_t>(rows.size()));
  for (size_t r = 0; r < rows.size(); ++r) {
    positions_[r] = rows[r].position;
    row_sequences_[r] = rows[r].sequence;
    tokens_[r] = rows[r].token;
  }
  compute_turns();
}

/// Every stream starts as the token's embedding.
void Deepseek4Model::embed() {
  const TensorView& table = weights_.embedding;
  each_row([&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* first = streams_.data() + r * stream_width();
      dequantize_row(table, tokens_[static_cast<size_t>(r)], first);
      for (int64_t s = 1; s < config_.n_streams; ++s) {
        std::copy_n(first, config_.d_model, first + s * config_.d_model);
      }
    }
  });
}

void Deepseek4Model::compute_turns() {
  std::vector<int32_t> backwards(positions_.size());
  std::transform(positions_.begin(), positions_.end(), backwards.begin(), std::negate<>());
  plain_turns_.there.compute(config_.rope, positions_);
  plain_turns_.back.compute(config_.rope, backwards);
  compressed_turns_.there.compute(config_.compressed_rope, positions_);
  compressed_turns_.back.compute(config_.compressed_rope, backwards);
}

GateParams Deepseek4Model::gate_params(const Site& site) const {
  return {.n_streams = config_.n_streams,
          .iterations = config_.sinkhorn_iterations,
          .eps = config_.hc_eps,
          .base = site.base,
          .scale = site.scale};
}

void Deepseek4Model::enter(const Site& site, const std::vector<float>& norm,
                           std::span<const Weight* const> readers) {
  const MatmulTask tasks[] = {task(site.fn, mix_)};
  matmul({streams_.data(), n_rows_, stream_width()}, tasks, pool_, workspace_);
  const GateParams params = gate_params(site);
  const bool is_head = site.fn.rows() == config_.n_streams;
  const int64_t d = config_.d_model;
  normed_.reset(n_rows_, readers);
  each_row([&](int64_t begin, int64_t end) {
    std::vector<float> joined(static_cast<size_t>(d));
    for (int64_t r = begin; r < end; ++r) {
      const float* streams = streams_.data() + r * stream_width();
      const float* mix = mix_.data() + r * site.fn.rows();
      StreamGates& gates = gates_[static_cast<size_t>(r)];
      const float inverse = inverse_rms(streams, stream_width(), config_.rms_eps);
      if (is_head) {
        head_gates(mix, inverse, params, gates);
      } else {
        stream_gates(mix, inverse, params, gates);
      }
      join_streams(streams, config_.n_streams, d, gates, joined.data());
      rms_norm(joined.data(), d, norm.data(), config_.rms_eps, 1, d, joined.data(), d);
      normed_.set(r, 0, d, joined.data());
    }
  });
  lap(Op::kNorm, tasks);
}

void Deepseek4Model::leave() {
  each_row([&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      mix_streams(y_.data() + r * config_.d_model, config_.n_streams, config_.d_model,
                  gates_[static_cast<size_t>(r)], streams_.data() + r * stream_width());
    }
  });
  lap(Op::kNorm);
}

/// What all rows need of a layer's attention: everything that reads h.
void Deepseek4Model::project(const LayerWeights& layer, int64_t index) {
  const AttentionWeights& weights = layer.attention;
  std::vector<MatmulTask> tasks = {task(weights.q_a, q_rank_), task(weights.kv, kv_)};
  if (weights.compressor) {
    tasks.push_back(task(weights.compressor->values, values_));
    tasks.push_back(task(weights.compressor->gates, value_gates_));
  }
  if (weights.indexer) {
    tasks.push_back(task(weights.indexer->keys.values, index_keys_));
    tasks.push_back(task(weights.indexer->keys.gates, index_gates_));
    tasks.push_back(task(weights.indexer->head_weights, index_weights_));
  }
  std::vector<const Weight*> readers;
  for (const MatmulTask& one : tasks) readers.push_back(one.weight);
  enter(layer.attention_site, weights.norm, readers);
  matmul(normed_, tasks, pool_, workspace_);
  lap(Op::kQkv, tasks);
  project_queries(weights, index);
}

/// q = turn(norm(Wq_b norm(Wq_a h))) per head, and the indexer's queries without a norm.
void Deepseek4Model::project_queries(const AttentionWeights& weights, int64_t index) {
  const int64_t rank = config_.q_lora_rank;
  std::vector<MatmulTask> tasks = {task(weights.q_b, q_)};
  if (weights.indexer) tasks.push_back(task(weights.indexer->queries, index_q_));
  std::vector<const Weight*> readers;
  for (const MatmulTask& one : tasks) readers.push_back(one.weight);
  q_latent_.reset(n_rows_, readers);
  each_row([&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* row = q_rank_.data() + r * rank;
      rms_norm(row, rank, weights.q_a_norm.data(), config_.rms_eps, 1, rank, row, rank);
      q_latent_.set(r, 0, rank, row);
    }
  });
  matmul(q_latent_, tasks, pool_, workspace_);
  lap(Op::kQueryUp, tasks);
  const RopeAngles& angles = turns(index).there;
  const int64_t d = config_.d_head;
  const int64_t still = d - config_.rope_dims;
  each_row([&](int64_t begin, int64_t end) {
    float* q = q_.data() + begin * q_width();
    rms_norm(q, d, ones_.data(), config_.rms_eps, (end - begin) * config_.n_heads, d, q, d);
    rope(angles, {begin, end}, q_.data() + still, q_width(), config_.n_heads, d);
    float* kv = kv_.data() + begin * d;
    rms_norm(kv, d, weights.kv_norm.data(), config_.rms_eps, end - begin, d, kv, d);
    rope(angles, {begin, end}, kv_.data() + still, d, 1, d);
    if (!weights.indexer) return;
    rope(angles, {begin, end}, index_q_.data() + config_.index_dim - config_.rope_dims,
         index_width(), config_.index_heads, config_.index_dim);
  });
  lap(Op::kRope);
}

Compressor Deepseek4Model::compressor(const CompressorWeights& weights, int64_t index) const {
  return {.parts = state_.layer(index).attention,
          .input_type = kv_type_,
          .row_type = kv_type_,
          .width = static_cast<int64_t>(weights.norm.size()),
          .ratio = ratio(index),
          .position_bias = weights.position_bias,
          .norm = weights.norm,
          .rms_eps = config_.rms_eps,
          .rope = &rope_table(index)};
}

/// The window's keys, and what becomes of them in compressed form.
void Deepseek4Model::store(const AttentionWeights& weights, int64_t index, KvPool& kv,
                           std::span<const KvSequence> sequences) {
  const AttentionRows rows = attention_rows(sequences);
  kv_write_latent(kv, index, rows, kv_.data(), pool_);
  if (weights.compressor) {
    compress(kv, compressor(*weights.compressor, index), rows, values_.data(), value_gates_.data(),
             pool_);
  }
  if (weights.indexer) {
    Compressor keys = compressor(weights.indexer->keys, index);
    keys.parts = state_.layer(index).index;
    keys.index_keys = true;
    compress(kv, keys, rows, index_keys_.data(), index_gates_.data(), pool_);
  }
  lap(Op::kKvWrite);
}

void Deepseek4Model::keep_rows_with_logits(std::span<const BatchRow> rows,
                                           const AttentionWeights* before) {
  int64_t kept = 0;
  const auto move_row = [&](std::vector<float>& x, int64_t width, int64_t from) {
    std::copy_n(x.begin() + from * width, width, x.begin() + kept * width);
  };
  for (int64_t r = 0; r < n_rows_; ++r) {
    if (!rows[static_cast<size_t>(r)].wants_logits) continue;
    const auto from = static_cast<size_t>(r);
    const auto to = static_cast<size_t>(kept);
    if (r != kept) {
      move_row(streams_, stream_width(), r);
      if (before != nullptr) move_row(q_, q_width(), r);
      if (before != nullptr && before->indexer) {
        move_row(index_q_, index_width(), r);
        move_row(index_weights_, config_.index_heads, r);
      }
      gates_[to] = gates_[from];
    }
    positions_[to] = positions_[from];
    row_sequences_[to] = row_sequences_[from];
    tokens_[to] = tokens_[from];
    ++kept;
  }
  if (kept == n_rows_) return;
  n_rows_ = kept;
  positions_.resize(static_cast<size_t>(kept));
  row_sequences_.resize(static_cast<size_t>(kept));
  tokens_.resize(static_cast<size_t>(kept));
  compute_turns();
}

/// Where the compressed rows lie that each row sees, in their order.
void Deepseek4Model::find_beside(int64_t index, KvPool& kv, std::span<const KvSequence> sequences) {
  const int64_t tokens = ratio(index);
  const Part& part = state_.layer(index).attention.rows;
  if (tokens == kSparseRatio) {
    const IndexShape shape = {
        .n_heads = config_.index_heads, .d_index = config_.index_dim, .top_k = config_.index_top_k};
    const int64_t offset = kv.page_tokens() * state_.layer(index).index.rows.offset;
    index_select({.kv = kv, .offset = offset, .step = tokens}, shape, attention_rows(sequences),
                 index_q_.data(), index_weights_.data(), chosen_, pool_);
  }
  beside_.clear();
  beside_end_.clear();
  for (size_t r = 0; r < positions_.size(); ++r) {
    const KvSequence& sequence = sequences[static_cast<size_t>(row_sequences_[r])];
    const auto add = [&](int64_t row) {
      beside_.push_back(StateLayout::at(kv, sequence, part, (row + 1) * tokens - 1));
    };
    const auto chosen =
        tokens == kSparseRatio ? chosen_.of(static_cast<int64_t>(r)) : std::span<const int32_t>();
    for (const int32_t row : chosen) add(row);
    const int64_t visible = Compressor::visible(positions_[r], tokens);
    for (int64_t row = 0; row < visible && chosen.empty(); ++row) add(row);
    beside_end_.push_back(static_cast<int64_t>(beside_.size()));
  }
}

/// attended_ = attention, turned back: values carry the positions of their keys.
void Deepseek4Model::attend(const AttentionWeights& weights, int64_t index, KvPool& kv,
                            std::span<const KvSequence> sequences) {
  SinkAttention what = {.layer = index,
                        .window = config_.window,
                        .first = index == config_.n_layers ? 1 : 0,  // no state before position 0
                        .sinks = weights.sinks,
                        .scale = common_.attention_scale};
  if (ratio(index) > 0) {
    find_beside(index, kv, sequences);
    what.beside = beside_;
    what.beside_end = beside_end_;
  }
  sink_attention(kv, what, attention_rows(sequences), q_.data(), config_.n_heads, attended_.data(),
                 pool_);
  each_row([&](int64_t begin, int64_t end) {
    rope(turns(index).back, {begin, end}, attended_.data() + config_.d_head - config_.rope_dims,
         q_width(), config_.n_heads, config_.d_head);
  });
  lap(Op::kAttention);
}

/// y = Wo_b (Wo_a of each group of heads)
void Deepseek4Model::project_out(const AttentionWeights& weights) {
  const int64_t rank = config_.o_lora_rank;
  const int64_t width = config_.o_groups * rank;
  matmul_heads({attended_.data(), q_width(), q_width() / config_.o_groups}, n_rows_, weights.o_a,
               {grouped_.data(), width, rank}, pool_, heads_workspace_);
  const Weight* const readers[] = {&weights.o_b};
  out_latent_.reset(n_rows_, readers);
  out_latent_.set_all(grouped_.data(), width, pool_);
  std::vector<MatmulTask> tasks = {task(weights.o_b, y_)};
  matmul(out_latent_, tasks, pool_, workspace_);
  for (const Weight& group : weights.o_a) tasks.push_back({.weight = &group});
  lap(Op::kAttentionOut, tasks);
}

/// y = the experts that the router, or the token's row of a table, chooses, and the shared one
void Deepseek4Model::experts(const LayerWeights& layer) {
  const MoeWeights& moe = *layer.experts;
  enter(layer.experts_site, layer.ffn_norm, moe.readers);
  const MatmulTask tasks[] = {task(moe.router.weight, router_logits_)};
  matmul(normed_, tasks, pool_, workspace_);
  const int64_t used = config_.n_used;
  if (layer.expert_table.empty()) {
    route(router_logits_.data(), n_rows_, common_.moe.router, moe.bias.data(), experts_.data(),
          expert_weights_.data(), pool_);
  } else {
    for (size_t r = 0; r < tokens_.size(); ++r) {
      std::copy_n(layer.expert_table.begin() + tokens_[r] * used, used,
                  experts_.begin() + static_cast<int64_t>(r) * used);
    }
    route_given(router_logits_.data(), n_rows_, common_.moe.router, experts_.data(),
                expert_weights_.data(), pool_);
  }
  lap(Op::kRouter, tasks);
  std::fill_n(y_.begin(), n_rows_ * config_.d_model, 0.0f);
  moe_add(normed_, moe.layer, {used, experts_.data(), expert_weights_.data()}, y_.data(),
          config_.d_model, pool_, moe_workspace_);
  lap_experts(moe);
}

void Deepseek4Model::project_head(const Site& site, const std::vector<float>& norm, float* logits) {
  const Weight* const readers[] = {&weights_.head};
  enter(site, norm, readers);
  if (wants_states_) {
    for (int64_t r = 0; r < n_rows_; ++r) {
      std::copy_n(normed_.floats(r), config_.d_model, logits + r * config_.d_model);
    }
    return;
  }
  const MatmulTask tasks[] = {
      {.weight = &weights_.head, .out = logits, .out_stride = weights_.head.rows()}};
  matmul(normed_, tasks, pool_, workspace_);
  lap(Op::kHead, tasks);
}

void Deepseek4Model::lap(Op op, std::span<const MatmulTask> tasks) {
  if (profile_ == nullptr) return;
  OpWork work;
  for (const MatmulTask& one : tasks) {
    work.bytes += one.weight->bytes();
    work.macs += static_cast<uint64_t>(n_rows_ * one.weight->rows() * one.weight->cols());
  }
  profile_->lap(op, work);
}

namespace {

uint64_t macs_of(const Weight& weight) {
  return static_cast<uint64_t>(weight.rows()) * static_cast<uint64_t>(weight.cols());
}

}  // namespace

/// An expert's bytes count once, however many rows it has.
void Deepseek4Model::lap_experts(const MoeWeights& moe) {
  if (profile_ == nullptr) return;
  OpWork work;
  const auto add = [&](const ExpertWeights& expert, int64_t rows) {
    for (const Weight* weight : {expert.gate, expert.up, expert.down}) {
      if (rows > 0) work.bytes += weight->bytes();
      work.macs += static_cast<uint64_t>(rows) * macs_of(*weight);
    }
  };
  for (size_t e = 0; e < moe.experts.size(); ++e) {
    add(moe.experts[e], std::count(experts_.begin(), experts_.begin() + n_rows_ * config_.n_used,
                                   static_cast<int32_t>(e)));
  }
  if (moe.layer.shared != nullptr) add(*moe.layer.shared, n_rows_);
  profile_->lap(Op::kExperts, work);
}

/// Of all matrices that one token's pass reads.
struct Deepseek4Model::Totals {
  uint64_t bytes = 0;
  uint64_t macs = 0;

  void add(const Weight& weight, uint64_t times = 1) {
    bytes += times * weight.bytes();
    macs += times * macs_of(weight);
  }
  void add(const CompressorWeights& weights) {
    add(weights.values);
    add(weights.gates);
  }
  void add(const AttentionWeights& weights) {
    for (const Weight* weight : {&weights.q_a, &weights.q_b, &weights.kv, &weights.o_b}) {
      add(*weight);
    }
    for (const Weight& group : weights.o_a) add(group);
    if (weights.compressor) add(*weights.compressor);
    if (!weights.indexer) return;
    add(weights.indexer->queries);
    add(weights.indexer->head_weights);
    add(weights.indexer->keys);
  }
  void add(const MoeWeights& moe, uint64_t n_used) {
    add(moe.router.weight);
    // Which experts is not known before; those of a layer are alike.
    const ExpertWeights& expert = moe.experts.front();
    for (const Weight* weight : {expert.gate, expert.up, expert.down}) add(*weight, n_used);
    for (const Weight* weight :
         {moe.shared_expert.gate, moe.shared_expert.up, moe.shared_expert.down}) {
      add(*weight);
    }
  }
};

Deepseek4Model::Totals Deepseek4Model::totals() const {
  Totals out;
  for (const LayerWeights& layer : weights_.layers) {
    out.add(layer.attention_site.fn);
    out.add(layer.attention);
    out.add(layer.experts_site.fn);
    out.add(*layer.experts, static_cast<uint64_t>(config_.n_used));
  }
  out.add(weights_.head_site.fn);
  out.add(weights_.head);
  return out;
}

uint64_t Deepseek4Model::weight_bytes_per_token() const {
  return totals().bytes + weights_.embedding.row_bytes();
}

uint64_t Deepseek4Model::prediction_bytes_per_token() const {
  if (!predicts()) return 0;
  const PredictionWeights& weights = *weights_.prediction;
  Totals out;
  out.add(weights.join);
  if (weights.token_join) out.add(*weights.token_join);
  out.add(weights.layer.attention_site.fn);
  out.add(weights.layer.attention);
  out.add(weights.layer.experts_site.fn);
  out.add(*weights.layer.experts, static_cast<uint64_t>(config_.n_used));
  out.add(weights.head_site.fn);
  out.add(weights_.head);
  return out.bytes;
}

uint64_t Deepseek4Model::macs_per_token() const {
  return totals().macs;
}

}  // namespace deepseek4

Result<std::unique_ptr<Model>> load_deepseek4(const GgufFile& file, const LoadOptions& options,
                                              ThreadPool& pool) {
  if (options.kv_type == KvType::kQ8_0) {
    return Error{Code::kUnsupported, "DeepSeek V4 keeps keys as F16, BF16 or F32, not as Q8_0",
                 "choose another type of keys and values"};
  }
  TRY(deepseek4::Config config, deepseek4::Config::from_gguf(file));
  TRY(deepseek4::Weights weights, deepseek4::Weights::bind(file, config, options, pool));
  return std::unique_ptr<Model>(std::make_unique<deepseek4::Deepseek4Model>(
      std::move(config), std::move(weights), options.kv_type, pool));
}

Status plan_deepseek4(const GgufFile& file, const LoadOptions& options, ThreadPool& pool) {
  TRY(const deepseek4::Config config, deepseek4::Config::from_gguf(file));
  TRY(const deepseek4::Weights weights, deepseek4::Weights::bind(file, config, options, pool));
  return {};
}

}  // namespace hadal
