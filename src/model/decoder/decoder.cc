#include "model/decoder/decoder.h"

#include <algorithm>

#include <fmt/format.h>

#include "model/check_batch.h"

namespace hadal {
Status Decoder::set_observer(MatmulObserver* observer) {
  observed_ = observer != nullptr;
  workspace_.set_observer(observer);
  moe_workspace_.set_observer(observer);
  for (MatmulRows* rows : {&normed_, &pairs_, &gated_}) rows->keep_floats(observer != nullptr);
  keep_attention_floats(observer != nullptr);
  return {};
}

Status Decoder::forward(const Batch& batch, KvPool& kv, std::span<float> logits) {
  TRY_STATUS(check_batch(batch, kv, kv_layout(), config_.n_vocab, logits.size()));
  each_slice(batch.rows, [&](std::span<const BatchRow> slice, int64_t wanted_before) {
    forward_slice(slice, batch.sequences, kv, logits.data() + wanted_before * config_.n_vocab);
  });
  return {};
}

Status Decoder::states(const Batch& batch, KvPool& kv, std::span<float> out) {
  const size_t n_logits = batch.rows.size() * static_cast<size_t>(config_.n_vocab);  // not wanted
  TRY_STATUS(check_batch(batch, kv, kv_layout(), config_.n_vocab, n_logits));
  const auto wanted = std::count_if(batch.rows.begin(), batch.rows.end(),
                                    [](const BatchRow& row) { return row.wants_logits; });
  CHECK(static_cast<int64_t>(out.size()) == wanted * config_.d_model);
  wants_states_ = true;
  normed_.keep_floats(true);
  each_slice(batch.rows, [&](std::span<const BatchRow> slice, int64_t wanted_before) {
    forward_slice(slice, batch.sequences, kv, out.data() + wanted_before * config_.d_model);
  });
  normed_.keep_floats(observed_);
  wants_states_ = false;
  return {};
}

/// `out`: logits, or states where they are wanted.
void Decoder::forward_slice(std::span<const BatchRow> rows, std::span<const KvSequence> sequences,
                            KvPool& kv, float* out) {
  if (profile_ != nullptr) profile_->start();
  begin_rows(rows);
  embed(weights_.embedding, x_);
  lap(Op::kEmbed);
  for (int64_t index = 0; index < config_.n_layers; ++index) {
    project(index, sequences, kv);
    // Nothing after the last layer's keys and values reads the rows without logits.
    if (index + 1 == config_.n_layers && !predicts()) keep_rows_with_logits(rows);
    if (n_rows_ == 0) return;
    add_attention(index, sequences, kv);
    add_feed_forward(layer(index));
  }
  if (predicts()) {
    keep_for_prediction(sequences, kv);
    keep_rows_with_logits(rows);
    if (n_rows_ == 0) return;
  }
  project_head(weights_.head, weights_.output_norm, out);
}

void Decoder::begin_rows(std::span<const BatchRow> rows) {
  resize_buffers(static_cast<int64_t>(rows.size()));
  for (size_t r = 0; r < rows.size(); ++r) {
    positions_[r] = rows[r].position;
    row_sequences_[r] = rows[r].sequence;
    tokens_[r] = rows[r].token;
  }
  angles_.compute(weights_.rope, positions_);
}

void Decoder::embed(const TensorView& table, std::vector<float>& out) {
  each_row([&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      dequantize_row(table, tokens_[static_cast<size_t>(r)], out.data() + r * config_.d_model);
    }
  });
}

void Decoder::resize_buffers(int64_t rows) {
  n_rows_ = rows;
  positions_.resize(static_cast<size_t>(rows));
  row_sequences_.resize(static_cast<size_t>(rows));
  tokens_.resize(static_cast<size_t>(rows));
  reserve_rows(x_, rows, config_.d_model);
  reserve_rows(norm_rows_, (rows + kRowGrain - 1) / kRowGrain, config_.d_model);
  resize_attention(rows);
  if (!config_.moe) return;
  const RouterParams& router = config_.moe.router;
  reserve_rows(router_logits_, rows, router.n_experts);
  reserve_rows(expert_weights_, rows, router.n_used);
  experts_.resize(std::max(experts_.size(), static_cast<size_t>(rows * router.n_used)));
}

void Decoder::keep_rows_with_logits(std::span<const BatchRow> rows) {
  int64_t kept = 0;
  for (int64_t r = 0; r < n_rows_; ++r) {
    const BatchRow& row = rows[static_cast<size_t>(r)];
    if (!row.wants_logits) continue;
    if (r != kept) {
      copy_row(x_, config_.d_model, r, kept);
      move_row(r, kept);
    }
    positions_[static_cast<size_t>(kept)] = row.position;
    row_sequences_[static_cast<size_t>(kept)] = row.sequence;
    ++kept;
  }
  n_rows_ = kept;
  positions_.resize(static_cast<size_t>(kept));
  row_sequences_.resize(static_cast<size_t>(kept));
}

void Decoder::add_feed_forward(const LayerWeights& layer) {
  if (layer.moe != nullptr) {
    add_experts(*layer.moe, layer.ffn_norm);
  } else {
    add_dense(*layer.dense, layer.ffn_norm);
  }
}

/// x += Wdown (silu(Wgate h) * Wup h), h = norm(x)
void Decoder::add_dense(const DenseWeights& dense, const std::vector<float>& norm_weight) {
  const Weight* const gate_up[] = {&dense.gate.weight, &dense.up.weight};
  const Weight* const down[] = {&dense.down.weight};
  norm(norm_weight, gate_up);
  gated_.reset(n_rows_, down);
  const MatmulTask tasks[] = {task(dense.gate, nullptr), task(dense.up, nullptr)};
  matmul_silu_mul(normed_, tasks[0], tasks[1], gated_, pool_, workspace_);
  lap(Op::kGateUp, tasks);
  add_linear(dense.down, gated_, Op::kDown);
}

/// x += the chosen experts' sum, weighted, and the shared expert of h = norm(x)
void Decoder::add_experts(const MoeWeights& moe, const std::vector<float>& norm_weight) {
  norm(norm_weight, moe.readers);
  const MatmulTask tasks[] = {task(moe.router, router_logits_.data())};
  matmul(normed_, tasks, pool_, workspace_);
  const RouterParams& router = config_.moe.router;
  route(router_logits_.data(), n_rows_, router, moe.bias.empty() ? nullptr : moe.bias.data(),
        experts_.data(), expert_weights_.data(), pool_);
  lap(Op::kRouter, tasks);
  moe_add(normed_, moe.layer, {router.n_used, experts_.data(), expert_weights_.data()}, x_.data(),
          config_.d_model, pool_, moe_workspace_);
  lap_experts(moe);
}

void Decoder::project_head(const Linear& head, const std::vector<float>& norm_weight, float* out) {
  const Weight* const readers[] = {&head.weight};
  norm(norm_weight, readers);
  if (wants_states_) {
    for (int64_t r = 0; r < n_rows_; ++r) {
      std::copy_n(normed_.floats(r), config_.d_model, out + r * config_.d_model);
    }
    return;
  }
  const MatmulTask tasks[] = {task(head, out)};
  matmul(normed_, tasks, pool_, workspace_);
  lap(Op::kHead, tasks);
}

/// normed_ = RMSNorm(x) for `readers`. A row is still in the cache when it is rounded.
void Decoder::norm(const std::vector<float>& weight, std::span<const Weight* const> readers) {
  const int64_t d = config_.d_model;
  normed_.reset(n_rows_, readers);
  each_row([&](int64_t begin, int64_t end) {
    float* row = norm_rows_.data() + begin / kRowGrain * d;
    for (int64_t r = begin; r < end; ++r) {
      rms_norm(x_.data() + r * d, d, weight.data(), config_.rms_eps, 1, d, row, d);
      normed_.set(r, 0, d, row);
    }
  });
  lap(Op::kNorm);
}

/// x += W in (+ bias)
void Decoder::add_linear(const Linear& weight, const MatmulRows& in, Op op) {
  MatmulTask tasks[] = {task(weight, x_.data())};
  tasks[0].add = true;
  matmul(in, tasks, pool_, workspace_);
  lap(op, tasks);
}

void Decoder::lap(Op op, std::span<const MatmulTask> tasks) {
  if (profile_ == nullptr) return;
  OpWork work;
  for (const MatmulTask& task : tasks) {
    work.bytes += task.weight->bytes();
    work.macs += static_cast<uint64_t>(n_rows_ * task.weight->rows() * task.weight->cols());
  }
  profile_->lap(op, work);
}

/// An expert's weights are counted once, however many rows it has.
void Decoder::lap_experts(const MoeWeights& moe) {
  if (profile_ == nullptr) return;
  OpWork work;
  auto count = [&](const ExpertWeights& expert, int64_t rows) {
    for (const Weight* weight : {expert.gate, expert.up, expert.down}) {
      work.bytes += weight->bytes();
      work.macs += static_cast<uint64_t>(rows * weight->rows() * weight->cols());
    }
  };
  std::vector<int64_t> rows(moe.experts.size());
  for (int64_t i = 0; i < n_rows_ * config_.moe.router.n_used; ++i) {
    ++rows[static_cast<size_t>(experts_[static_cast<size_t>(i)])];
  }
  for (size_t e = 0; e < rows.size(); ++e) {
    if (rows[e] > 0) count(moe.experts[e], rows[e]);
  }
  if (moe.layer.shared != nullptr) count(*moe.layer.shared, n_rows_);
  profile_->lap(Op::kExperts, work);
}

/// A sequence's keys and values are counted once, as far as its last row sees.
void Decoder::lap_attention(const KvLayout& kv, int64_t macs_per_position) {
  if (profile_ == nullptr) return;
  const uint64_t position_bytes = kv.bytes_per_token() / static_cast<uint64_t>(kv.n_layers);
  OpWork work;
  for (size_t r = 0; r < positions_.size(); ++r) {
    const auto seen = static_cast<uint64_t>(positions_[r]) + 1;
    work.macs += seen * static_cast<uint64_t>(macs_per_position);
    const bool last = r + 1 == positions_.size() || row_sequences_[r + 1] != row_sequences_[r];
    if (last) work.bytes += seen * position_bytes;
  }
  profile_->lap(Op::kAttention, work);
}

/// Of all matrices that one token's pass reads.
struct Decoder::Totals {
  uint64_t bytes = 0;
  uint64_t macs = 0;

  void add(const Weight& weight, uint64_t times = 1) {
    bytes += times * weight.bytes();
    macs += times * static_cast<uint64_t>(weight.rows()) * static_cast<uint64_t>(weight.cols());
  }
  void add(const DenseWeights& dense) {
    for (const Linear* linear : {&dense.gate, &dense.up, &dense.down}) add(linear->weight);
  }
  /// The experts that one token uses; all are of one size.
  void add(const MoeWeights& moe, int64_t n_used) {
    add(moe.router.weight);
    for (const auto* part : {&moe.gate, &moe.up, &moe.down}) {
      add(part->front(), static_cast<uint64_t>(n_used));
    }
    if (moe.shared) add(*moe.shared);
  }
};

void Decoder::add_layer(int64_t index, Totals& out) const {
  const LayerWeights& layer = this->layer(index);
  each_attention_weight(layer, [&](const Weight& weight) { out.add(weight); });
  if (layer.dense) out.add(*layer.dense);
  if (layer.moe != nullptr) out.add(*layer.moe, config_.moe.router.n_used);
}

Decoder::Totals Decoder::totals() const {
  Totals out;
  for (int64_t index = 0; index < config_.n_layers; ++index) add_layer(index, out);
  out.add(weights_.head.weight);
  return out;
}

uint64_t Decoder::prediction_bytes_per_token() const {
  if (!predicts()) return 0;
  Totals out;
  add_layer(config_.n_layers, out);
  out.add(weights_.prediction->join.weight);
  out.add(weights_.head.weight);
  return out.bytes;
}

uint64_t Decoder::weight_bytes_per_token() const {
  return weights_.embedding.row_bytes() + totals().bytes;
}

uint64_t Decoder::macs_per_token() const {
  return totals().macs;
}

}  // namespace hadal
