/// The forward pass of BERT-class encoders. Norms stand behind each sum (1810.04805); every row
/// attends to all rows of its text.
#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "kernels/kernels.h"
#include "model/encoder/weights.h"

namespace hadal {
namespace {

/// Most rows of texts that go through together, but for a longer text alone.
constexpr size_t kBatchRows = 2048;
/// Rows of a feed-forward layer at a time: the inner activations of a wide model stay small.
constexpr int64_t kSliceRows = 256;
constexpr int64_t kRowGrain = 16;

class BertEncoder final : public Encoder {
 public:
  BertEncoder(EncoderConfig config, EncoderWeights weights, ThreadPool& pool)
      : config_(std::move(config)), weights_(std::move(weights)), pool_(pool) {}

  const EncoderConfig& config() const override { return config_; }
  Status embed(std::span<const EncoderText> texts, std::span<float> out) override;
  Status classify(std::span<const EncoderText> texts, std::span<float> out) override;
  uint64_t macs_per_token() const override;
  uint64_t weight_bytes() const override;

 private:
  Status check(std::span<const EncoderText> texts) const;
  /// Calls body(texts, index of the first, ) on parts of `texts` whose states x_ then holds.
  template <typename Body>
  void each_batch(std::span<const EncoderText> texts, Body&& body);
  void run(std::span<const EncoderText> texts);
  void place(std::span<const EncoderText> texts);
  void add_embeddings(std::span<const EncoderText> texts);
  void attend(const EncoderLayer& layer);
  void feed_forward(const EncoderLayer& layer);
  void normalise(const NormWeights& norm);
  void add_linear(const Linear& linear, const MatmulRows& in, float* out);
  void pool_rows(int64_t first, int64_t count, float* out) const;
  template <typename Visit>
  void each_weight(Visit&& visit) const;

  template <typename Body>
  void each_row(Body&& body) {
    pool_.parallel_for(n_rows_, kRowGrain, body);
  }
  static MatmulTask task(const Linear& linear, float* out) {
    return {.weight = &linear.weight,
            .bias = linear.bias.empty() ? nullptr : linear.bias.data(),
            .out = out,
            .out_stride = linear.weight.rows()};
  }

  EncoderConfig config_;
  EncoderWeights weights_;
  ThreadPool& pool_;
  MatmulWorkspace workspace_;
  std::unique_ptr<KvPool> kv_;  ///< of one layer, which all layers use one after the other

  // The rows in work; buffers only grow.
  int64_t n_rows_ = 0;
  std::vector<int32_t> positions_;  ///< in the text
  std::vector<int32_t> lasts_;      ///< position of the text's last row
  std::vector<int32_t> texts_;      ///< index of the text
  std::vector<PageId> pages_;
  std::vector<KvSequence> sequences_;
  std::vector<float> x_, q_, k_, v_, attended_, inner_;
  MatmulRows input_, mixed_, hidden_, activated_;
};

Status BertEncoder::check(std::span<const EncoderText> texts) const {
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto n = static_cast<int64_t>(texts[i].ids.size());
    if (n == 0 || n > config_.n_ctx) {
      return Error{
          Code::kInvalidArgument,
          fmt::format("text {} has {} tokens; the model takes 1 to {}", i, n, config_.n_ctx)};
    }
    for (const TokenId id : texts[i].ids) {
      if (id >= 0 && id < config_.n_vocab) continue;
      return Error{Code::kInvalidArgument,
                   fmt::format("text {}: token {} is not in [0, {})", i, id, config_.n_vocab)};
    }
  }
  return {};
}

template <typename Body>
void BertEncoder::each_batch(std::span<const EncoderText> texts, Body&& body) {
  for (size_t begin = 0; begin < texts.size();) {
    size_t rows = texts[begin].ids.size();
    size_t end = begin + 1;
    while (end < texts.size() && rows + texts[end].ids.size() <= kBatchRows) {
      rows += texts[end++].ids.size();
    }
    run(texts.subspan(begin, end - begin));
    body(texts.subspan(begin, end - begin), begin);
    begin = end;
  }
}

Status BertEncoder::embed(std::span<const EncoderText> texts, std::span<float> out) {
  const int64_t d = config_.d_model;
  CHECK(out.size() == texts.size() * static_cast<size_t>(d));
  TRY_STATUS(check(texts));
  each_batch(texts, [&](std::span<const EncoderText> part, size_t first) {
    int64_t row = 0;
    for (size_t i = 0; i < part.size(); ++i) {
      const auto count = static_cast<int64_t>(part[i].ids.size());
      pool_rows(row, count, out.data() + static_cast<int64_t>(first + i) * d);
      row += count;
    }
  });
  return {};
}

/// Mean, first or last row, made of length 1. A vector of zeros stays.
void BertEncoder::pool_rows(int64_t first, int64_t count, float* out) const {
  const int64_t d = config_.d_model;
  const bool mean = config_.pooling == Pooling::kMean || config_.pooling == Pooling::kNone;
  const int64_t begin = config_.pooling == Pooling::kLast ? first + count - 1 : first;
  const int64_t end = mean ? first + count : begin + 1;
  double squares = 0;
  for (int64_t i = 0; i < d; ++i) {
    double sum = 0;
    for (int64_t r = begin; r < end; ++r)
      sum += static_cast<double>(x_[static_cast<size_t>(r * d + i)]);
    out[i] = static_cast<float>(sum / static_cast<double>(end - begin));
    squares += static_cast<double>(out[i]) * static_cast<double>(out[i]);
  }
  if (squares <= 0) return;
  const auto scale = static_cast<float>(1.0 / std::sqrt(squares));
  for (int64_t i = 0; i < d; ++i) out[i] *= scale;
}

Status BertEncoder::classify(std::span<const EncoderText> texts, std::span<float> out) {
  CHECK(weights_.classifier.has_value());
  const int64_t d = config_.d_model;
  const int64_t labels = config_.n_labels;
  CHECK(out.size() == texts.size() * static_cast<size_t>(labels));
  TRY_STATUS(check(texts));
  each_batch(texts, [&](std::span<const EncoderText> part, size_t first) {
    const auto n = static_cast<int64_t>(part.size());
    std::vector<float> cls(static_cast<size_t>(n * d));
    int64_t row = 0;
    for (int64_t i = 0; i < n; ++i) {
      std::copy_n(x_.begin() + row * d, d, cls.begin() + i * d);
      row += static_cast<int64_t>(part[static_cast<size_t>(i)].ids.size());
    }
    if (weights_.classifier_hidden) {
      std::vector<float> hidden(cls.size());
      const MatmulTask tasks[] = {task(*weights_.classifier_hidden, hidden.data())};
      matmul({cls.data(), n, d}, tasks, pool_, workspace_);
      for (size_t i = 0; i < cls.size(); ++i) cls[i] = std::tanh(hidden[i]);
    }
    const MatmulTask tasks[] = {
        task(*weights_.classifier, out.data() + static_cast<int64_t>(first) * labels)};
    matmul({cls.data(), n, d}, tasks, pool_, workspace_);
  });
  return {};
}

void BertEncoder::run(std::span<const EncoderText> texts) {
  place(texts);
  add_embeddings(texts);
  normalise(weights_.embedding_norm);
  for (const EncoderLayer& layer : weights_.layers) {
    attend(layer);
    normalise(layer.attention_norm);
    feed_forward(layer);
    normalise(layer.output_norm);
  }
}

/// Where each row stands, and pages for its text's keys and values.
void BertEncoder::place(std::span<const EncoderText> texts) {
  positions_.clear();
  lasts_.clear();
  texts_.clear();
  std::vector<size_t> page_counts;
  size_t n_pages = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const size_t n = texts[i].ids.size();
    for (size_t p = 0; p < n; ++p) positions_.push_back(static_cast<int32_t>(p));
    lasts_.insert(lasts_.end(), n, static_cast<int32_t>(n - 1));
    texts_.insert(texts_.end(), n, static_cast<int32_t>(i));
    page_counts.push_back((n + kKvBlock - 1) / kKvBlock);
    n_pages += page_counts.back();
  }
  n_rows_ = static_cast<int64_t>(positions_.size());
  pages_.resize(n_pages);
  for (size_t i = 0; i < n_pages; ++i) pages_[i] = static_cast<PageId>(i);
  sequences_.clear();
  size_t page = 0;
  for (const size_t count : page_counts) {
    sequences_.push_back({std::span(pages_).subspan(page, count)});
    page += count;
  }
  if (kv_ == nullptr || kv_->n_pages() < static_cast<int64_t>(n_pages)) {
    const KvLayout layout{.n_layers = 1,
                          .n_kv_heads = config_.n_heads,
                          .d_head = config_.d_head(),
                          .type = KvType::kF32};
    kv_ = std::make_unique<KvPool>(layout, kKvBlock, static_cast<int64_t>(n_pages));
  }
  const auto floats = static_cast<size_t>(n_rows_ * config_.d_model);
  for (std::vector<float>* buffer : {&x_, &q_, &k_, &v_, &attended_}) {
    if (buffer->size() < floats) buffer->resize(floats);
  }
  const auto inner = static_cast<size_t>(std::min(n_rows_, kSliceRows) * config_.d_ff);
  if (inner_.size() < inner) inner_.resize(inner);
}

void BertEncoder::add_embeddings(std::span<const EncoderText> texts) {
  const int64_t d = config_.d_model;
  each_row([&](int64_t begin, int64_t end) {
    std::vector<float> position(static_cast<size_t>(d));
    for (int64_t r = begin; r < end; ++r) {
      const auto row = static_cast<size_t>(r);
      const EncoderText& text = texts[static_cast<size_t>(texts_[row])];
      const auto at = static_cast<size_t>(positions_[row]);
      float* x = x_.data() + r * d;
      dequantize_row(weights_.embedding, text.ids[at], x);
      dequantize_row(weights_.positions, positions_[row], position.data());
      add_in_place(x, position.data(), d);
      if (config_.n_token_types == 0) continue;
      const bool second = at >= text.second && config_.n_token_types > 1;
      add_in_place(x, weights_.token_types.data() + (second ? d : 0), d);
    }
  });
}

/// x += Wo attention(q, K, V) + bias
void BertEncoder::attend(const EncoderLayer& layer) {
  const int64_t d = config_.d_model;
  const Weight* const readers[] = {&layer.q.weight, &layer.k.weight, &layer.v.weight};
  input_.reset(n_rows_, readers);
  input_.set_all(x_.data(), d, pool_);
  const MatmulTask tasks[] = {task(layer.q, q_.data()), task(layer.k, k_.data()),
                              task(layer.v, v_.data())};
  matmul(input_, tasks, pool_, workspace_);
  kv_write(*kv_, 0, {positions_, texts_, sequences_}, k_.data(), v_.data(), pool_);
  // The op is causal; rows that all stand at the end of their text see all of it.
  const float scale = 1.0f / std::sqrt(static_cast<float>(config_.d_head()));
  attention(*kv_, 0, {lasts_, texts_, sequences_}, q_.data(), config_.n_heads, scale,
            attended_.data(), pool_);
  const Weight* const output[] = {&layer.o.weight};
  mixed_.reset(n_rows_, output);
  mixed_.set_all(attended_.data(), d, pool_);
  add_linear(layer.o, mixed_, x_.data());
}

/// x += Wdown gelu(Wup x + bias) + bias
void BertEncoder::feed_forward(const EncoderLayer& layer) {
  const int64_t d = config_.d_model;
  const Weight* const up[] = {&layer.up.weight};
  const Weight* const down[] = {&layer.down.weight};
  for (int64_t begin = 0; begin < n_rows_; begin += kSliceRows) {
    const int64_t n = std::min(kSliceRows, n_rows_ - begin);
    hidden_.reset(n, up);
    hidden_.set_all(x_.data() + begin * d, d, pool_);
    const MatmulTask tasks[] = {task(layer.up, inner_.data())};
    matmul(hidden_, tasks, pool_, workspace_);
    pool_.parallel_for(n, kRowGrain, [&](int64_t first, int64_t last) {
      gelu_in_place(inner_.data() + first * config_.d_ff, (last - first) * config_.d_ff);
    });
    activated_.reset(n, down);
    activated_.set_all(inner_.data(), config_.d_ff, pool_);
    add_linear(layer.down, activated_, x_.data() + begin * d);
  }
}

void BertEncoder::add_linear(const Linear& linear, const MatmulRows& in, float* out) {
  MatmulTask tasks[] = {task(linear, out)};
  tasks[0].add = true;
  matmul(in, tasks, pool_, workspace_);
}

void BertEncoder::normalise(const NormWeights& norm) {
  const int64_t d = config_.d_model;
  each_row([&](int64_t begin, int64_t end) {
    float* x = x_.data() + begin * d;
    layer_norm(x, norm.weight.data(), norm.bias.data(), config_.norm_eps, end - begin, d, x);
  });
}

template <typename Visit>
void BertEncoder::each_weight(Visit&& visit) const {
  for (const EncoderLayer& layer : weights_.layers) {
    for (const Linear* one : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.up, &layer.down}) {
      visit(one->weight);
    }
  }
}

uint64_t BertEncoder::macs_per_token() const {
  uint64_t out = 0;
  each_weight([&](const Weight& weight) {
    out += static_cast<uint64_t>(weight.rows()) * static_cast<uint64_t>(weight.cols());
  });
  return out;
}

uint64_t BertEncoder::weight_bytes() const {
  uint64_t out = 0;
  each_weight([&](const Weight& weight) { out += weight.bytes(); });
  return out;
}

}  // namespace

Result<std::unique_ptr<Encoder>> Encoder::load(const GgufFile& file, const EncoderOptions& options,
                                               ThreadPool& pool) {
  TRY(EncoderConfig config, EncoderConfig::from_gguf(file));
  TRY(EncoderWeights weights, EncoderWeights::bind(file, config, options, pool));
  return std::unique_ptr<Encoder>(
      std::make_unique<BertEncoder>(std::move(config), std::move(weights), pool));
}

}  // namespace hadal
