/// The forward pass of dense decoders (Llama, Qwen2, Qwen3). Symbols: x is the residual stream,
/// q k v queries, keys and values; rows are tokens of any number of sequences.
///
/// Activations between two products are kept only as the next product reads them (MatmulRows), and
/// written where they are computed: a layer of one row has five parallel steps, q k v, attention,
/// output, gate and up, down.
///
/// Big batches go through in slices of kSliceRows rows: a row sees only rows before it, so slices
/// change nothing but the memory needed.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "kernels/kernels.h"
#include "model/model.h"
#include "model/weights.h"

namespace hadal {
namespace {

/// Enough rows for the matrix kernels to work at full speed; the activations of a 7B model at this
/// size are about 80 MB.
constexpr int64_t kSliceRows = 512;

/// Rows that one worker takes at a time in element-wise steps.
constexpr int64_t kRowGrain = 16;

class Decoder final : public Model {
 public:
  Decoder(ModelConfig config, ModelWeights weights, KvType kv_type, ThreadPool& pool)
      : config_(std::move(config)), weights_(std::move(weights)), kv_type_(kv_type), pool_(pool) {}

  const ModelConfig& config() const override { return config_; }
  int64_t n_vocab() const override { return config_.n_vocab; }
  int64_t n_ctx_train() const override { return config_.n_ctx_train; }
  KvLayout kv_layout() const override {
    return {config_.n_layers, config_.n_kv_heads, config_.d_head, kv_type_};
  }
  std::span<const PackedPart> packed_parts() const override { return weights_.packed; }
  uint64_t weight_bytes_per_token() const override;
  uint64_t macs_per_token() const override;
  Status forward(const Batch& batch, KvPool& kv, std::span<float> logits) override;
  void set_profile(Profile* profile) override { profile_ = profile; }

 private:
  Status check(const Batch& batch, const KvPool& kv, std::span<const float> logits) const;
  Status check_row(const Batch& batch, size_t index, const KvPool& kv) const;
  void forward_slice(std::span<const BatchRow> rows, std::span<const KvSequence> sequences,
                     KvPool& kv, float* logits);

  void resize_buffers(int64_t rows);
  void embed(std::span<const BatchRow> rows);
  void project_qkv(const LayerWeights& layer);
  void rotate(const LayerWeights& layer);
  void keep_rows_with_logits(std::span<const BatchRow> rows);
  void add_attention(const LayerWeights& layer, int64_t index,
                     std::span<const KvSequence> sequences, KvPool& kv);
  void add_feed_forward(const LayerWeights& layer);
  void project_head(float* logits);

  /// With a profile: the op that ends here, and what it read and multiplied.
  void lap(Op op) {
    if (profile_ != nullptr) profile_->lap(op);
  }
  void lap(Op op, std::span<const MatmulTask> tasks);
  void lap_attention(const KvLayout& kv);

  AttentionRows attention_rows(std::span<const KvSequence> sequences) const {
    return {positions_, row_sequences_, sequences};
  }
  void norm(const std::vector<float>& weight, std::span<const Weight* const> readers);
  void add_linear(const Linear& weight, const MatmulRows& in, Op op);
  static MatmulTask task(const Linear& weight, float* out) {
    return {.weight = &weight.weight,
            .bias = weight.bias.empty() ? nullptr : weight.bias.data(),
            .out = out,
            .out_stride = weight.weight.rows()};
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

  int64_t q_width() const { return config_.n_heads * config_.d_head; }
  int64_t kv_width() const { return config_.n_kv_heads * config_.d_head; }

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
  RopeAngles angles_;
  std::vector<float> x_, q_, k_, v_, attended_;
  std::vector<float> norm_rows_;  ///< one row per piece of kRowGrain rows
  MatmulRows normed_;             ///< input of q k v, of gate and up, and of the head
  MatmulRows mixed_;              ///< attended_, input of the attention's output product
  MatmulRows gated_;              ///< silu(gate) * up, input of down
};

Status Decoder::forward(const Batch& batch, KvPool& kv, std::span<float> logits) {
  TRY_STATUS(check(batch, kv, logits));
  const std::span<const BatchRow> rows = batch.rows;
  float* out = logits.data();
  for (size_t begin = 0; begin < rows.size(); begin += kSliceRows) {
    const auto slice = rows.subspan(begin, std::min<size_t>(kSliceRows, rows.size() - begin));
    forward_slice(slice, batch.sequences, kv, out);
    out += std::count_if(slice.begin(), slice.end(), [](auto& row) { return row.wants_logits; }) *
           config_.n_vocab;
  }
  return {};
}

void Decoder::forward_slice(std::span<const BatchRow> rows, std::span<const KvSequence> sequences,
                            KvPool& kv, float* logits) {
  if (profile_ != nullptr) profile_->start();
  embed(rows);
  lap(Op::kEmbed);
  for (int64_t index = 0; index < config_.n_layers; ++index) {
    const LayerWeights& layer = weights_.layers[static_cast<size_t>(index)];
    project_qkv(layer);
    rotate(layer);
    lap(Op::kRope);
    kv_write(kv, index, attention_rows(sequences), k_.data(), v_.data(), pool_);
    lap(Op::kKvWrite);
    // Nothing after the last layer's keys and values reads the rows without logits.
    if (index + 1 == config_.n_layers) keep_rows_with_logits(rows);
    if (n_rows_ == 0) return;
    add_attention(layer, index, sequences, kv);
    add_feed_forward(layer);
  }
  project_head(logits);
}

void Decoder::embed(std::span<const BatchRow> rows) {
  resize_buffers(static_cast<int64_t>(rows.size()));
  const TensorView& table = weights_.embedding;
  for (size_t r = 0; r < rows.size(); ++r) {
    positions_[r] = rows[r].position;
    row_sequences_[r] = rows[r].sequence;
  }
  each_row([&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      dequantize_row(table.type, table.row(rows[static_cast<size_t>(r)].token),
                     x_.data() + r * config_.d_model, config_.d_model);
    }
  });
  angles_.compute(weights_.rope, positions_);
}

/// q, k, v = W norm(x)
void Decoder::project_qkv(const LayerWeights& layer) {
  const Weight* const readers[] = {&layer.q.weight, &layer.k.weight, &layer.v.weight};
  norm(layer.attn_norm, readers);
  const MatmulTask tasks[] = {task(layer.q, q_.data()), task(layer.k, k_.data()),
                              task(layer.v, v_.data())};
  matmul(normed_, tasks, pool_, workspace_);
  lap(Op::kQkv, tasks);
}

/// Norms (Qwen3) and rotates the heads of q and k.
void Decoder::rotate(const LayerWeights& layer) {
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
    heads(q_.data(), config_.n_heads, layer.q_norm);
    heads(k_.data(), config_.n_kv_heads, layer.k_norm);
  });
}

void Decoder::keep_rows_with_logits(std::span<const BatchRow> rows) {
  int64_t kept = 0;
  auto move_row = [&](std::vector<float>& x, int64_t width, int64_t from) {
    std::copy_n(x.begin() + from * width, width, x.begin() + kept * width);
  };
  for (int64_t r = 0; r < n_rows_; ++r) {
    const BatchRow& row = rows[static_cast<size_t>(r)];
    if (!row.wants_logits) continue;
    if (r != kept) {
      move_row(x_, config_.d_model, r);
      move_row(q_, q_width(), r);
    }
    positions_[static_cast<size_t>(kept)] = row.position;
    row_sequences_[static_cast<size_t>(kept)] = row.sequence;
    ++kept;
  }
  n_rows_ = kept;
  positions_.resize(static_cast<size_t>(kept));
  row_sequences_.resize(static_cast<size_t>(kept));
}

/// x += Wo attention(q, K, V)
void Decoder::add_attention(const LayerWeights& layer, int64_t index,
                            std::span<const KvSequence> sequences, KvPool& kv) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(config_.d_head));
  attention(kv, index, attention_rows(sequences), q_.data(), config_.n_heads, scale,
            attended_.data(), pool_);
  lap_attention(kv.layout());
  const Weight* const readers[] = {&layer.o.weight};
  mixed_.reset(n_rows_, readers);
  mixed_.set_all(attended_.data(), q_width(), pool_);
  add_linear(layer.o, mixed_, Op::kAttentionOut);
}

/// x += Wdown (silu(Wgate h) * Wup h), h = norm(x)
void Decoder::add_feed_forward(const LayerWeights& layer) {
  const Weight* const gate_up[] = {&layer.gate.weight, &layer.up.weight};
  const Weight* const down[] = {&layer.down.weight};
  norm(layer.ffn_norm, gate_up);
  gated_.reset(n_rows_, down);
  const MatmulTask tasks[] = {task(layer.gate, nullptr), task(layer.up, nullptr)};
  matmul_silu_mul(normed_, tasks[0], tasks[1], gated_, pool_, workspace_);
  lap(Op::kGateUp, tasks);
  add_linear(layer.down, gated_, Op::kDown);
}

void Decoder::project_head(float* logits) {
  const Weight* const readers[] = {&weights_.head.weight};
  norm(weights_.output_norm, readers);
  const MatmulTask tasks[] = {task(weights_.head, logits)};
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

/// A sequence's keys and values are counted once, as far as its last row sees.
void Decoder::lap_attention(const KvLayout& kv) {
  if (profile_ == nullptr) return;
  const uint64_t position_bytes = kv.bytes_per_token() / static_cast<uint64_t>(kv.n_layers);
  OpWork work;
  for (size_t r = 0; r < positions_.size(); ++r) {
    const auto seen = static_cast<uint64_t>(positions_[r]) + 1;
    work.macs += 2 * seen * static_cast<uint64_t>(q_width());
    const bool last = r + 1 == positions_.size() || row_sequences_[r + 1] != row_sequences_[r];
    if (last) work.bytes += seen * position_bytes;
  }
  profile_->lap(Op::kAttention, work);
}

void Decoder::resize_buffers(int64_t rows) {
  n_rows_ = rows;
  positions_.resize(static_cast<size_t>(rows));
  row_sequences_.resize(static_cast<size_t>(rows));
  auto reserve_rows = [&](std::vector<float>& buffer, int64_t width) {
    const size_t needed = static_cast<size_t>(rows * width);
    if (buffer.size() < needed) buffer.resize(needed);
  };
  reserve_rows(x_, config_.d_model);
  reserve_rows(q_, q_width());
  reserve_rows(k_, kv_width());
  reserve_rows(v_, kv_width());
  reserve_rows(attended_, q_width());
  const size_t pieces = static_cast<size_t>((rows + kRowGrain - 1) / kRowGrain);
  norm_rows_.resize(std::max(norm_rows_.size(), pieces * static_cast<size_t>(config_.d_model)));
}

Status Decoder::check(const Batch& batch, const KvPool& kv, std::span<const float> logits) const {
  const KvLayout& layout = kv.layout();
  if (layout.n_layers != config_.n_layers || layout.n_kv_heads != config_.n_kv_heads ||
      layout.d_head != config_.d_head) {
    return Error{Code::kInvalidArgument, "the key/value pool was made for another model"};
  }
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    for (PageId page : batch.sequences[s].pages) {
      if (page < 0 || page >= kv.n_pages()) {
        return Error{Code::kInvalidArgument,
                     fmt::format("sequence {} names page {} of {}", s, page, kv.n_pages())};
      }
    }
  }
  size_t wanted = 0;
  std::vector<bool> seen(batch.sequences.size());
  for (size_t r = 0; r < batch.rows.size(); ++r) {
    TRY_STATUS(check_row(batch, r, kv));
    const size_t sequence = static_cast<size_t>(batch.rows[r].sequence);
    const bool continues = r > 0 && batch.rows[r - 1].sequence == batch.rows[r].sequence;
    if (seen[sequence] && !continues) {
      return Error{Code::kInvalidArgument,
                   fmt::format("row {}: the rows of sequence {} are not consecutive", r, sequence)};
    }
    seen[sequence] = true;
    wanted += batch.rows[r].wants_logits ? 1 : 0;
  }
  if (logits.size() < wanted * static_cast<size_t>(config_.n_vocab)) {
    return Error{Code::kInvalidArgument, fmt::format("room for {} logits, {} rows want {} each",
                                                     logits.size(), wanted, config_.n_vocab)};
  }
  return {};
}

Status Decoder::check_row(const Batch& batch, size_t index, const KvPool& kv) const {
  const BatchRow& row = batch.rows[index];
  if (row.token < 0 || row.token >= config_.n_vocab) {
    return Error{Code::kInvalidArgument, fmt::format("row {}: token {} is not in [0, {})", index,
                                                     row.token, config_.n_vocab)};
  }
  if (row.sequence < 0 || static_cast<size_t>(row.sequence) >= batch.sequences.size()) {
    return Error{Code::kInvalidArgument, fmt::format("row {}: sequence {} is not in [0, {})", index,
                                                     row.sequence, batch.sequences.size())};
  }
  const auto& pages = batch.sequences[static_cast<size_t>(row.sequence)].pages;
  const int64_t room = static_cast<int64_t>(pages.size()) * kv.page_tokens();
  if (row.position < 0 || row.position >= room) {
    return Error{Code::kInvalidArgument, fmt::format("row {}: position {} is not in [0, {}), the "
                                                     "pages of its sequence",
                                                     index, row.position, room)};
  }
  if (index > 0 && batch.rows[index - 1].sequence == row.sequence &&
      batch.rows[index - 1].position >= row.position) {
    return Error{Code::kInvalidArgument,
                 fmt::format("row {}: position {} does not follow {}", index, row.position,
                             batch.rows[index - 1].position)};
  }
  return {};
}

/// Calls visit(weight) on every matrix that a token's pass reads.
template <typename Visit>
void each_weight(const ModelWeights& weights, Visit&& visit) {
  for (const LayerWeights& layer : weights.layers) {
    for (const Linear* linear :
         {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      visit(linear->weight);
    }
  }
  visit(weights.head.weight);
}

uint64_t Decoder::weight_bytes_per_token() const {
  uint64_t bytes = weights_.embedding.row_bytes();
  each_weight(weights_, [&](const Weight& weight) { bytes += weight.bytes(); });
  return bytes;
}

uint64_t Decoder::macs_per_token() const {
  uint64_t macs = 0;
  each_weight(weights_, [&](const Weight& weight) {
    macs += static_cast<uint64_t>(weight.rows()) * static_cast<uint64_t>(weight.cols());
  });
  return macs;
}

}  // namespace

Result<std::unique_ptr<Model>> Model::load(const GgufFile& file, const LoadOptions& options,
                                           ThreadPool& pool) {
  TRY(ModelConfig config, ModelConfig::from_gguf(file));
  TRY(ModelWeights weights, ModelWeights::bind(file, config, options, pool));
  return std::unique_ptr<Model>(
      std::make_unique<Decoder>(std::move(config), std::move(weights), options.kv_type, pool));
}

}  // namespace hadal
