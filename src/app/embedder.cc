#include "app/embedder.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "base/limits.h"

namespace hadal {
namespace {

class EncoderEmbedder final : public Embedder {
 public:
  EncoderEmbedder(Encoder& encoder, const Tokenizer& tokenizer, OnModelThread on_model)
      : encoder_(encoder), on_model_(std::move(on_model)) {
    const EncoderConfig& config = encoder.config();
    const bool judges = config.pooling == Pooling::kRank && config.n_labels == 1;
    if (judges) shape_.pairs = tokenizer.spec().model == "bert" ? PairForm::kBert : PairForm::kXlmr;
    if (config.pooling != Pooling::kRank) shape_.width = config.d_model;
  }

  EmbeddingShape shape() const override { return shape_; }

  Result<std::vector<float>> compute(EmbeddingTask task,
                                     std::span<const EmbeddingText> texts) override {
    std::vector<EncoderText> inputs;
    for (const EmbeddingText& text : texts) inputs.push_back({text.ids, text.second});
    const bool embeds = task == EmbeddingTask::kEmbed;
    const int64_t width = embeds ? encoder_.config().d_model : 1;
    std::vector<float> out(texts.size() * static_cast<size_t>(width));
    Status done;
    TRY_STATUS(on_model_(
        [&] { done = embeds ? encoder_.embed(inputs, out) : encoder_.classify(inputs, out); }));
    TRY_STATUS(done);
    if (!embeds) {
      for (float& score : out) score = 1.0f / (1.0f + std::exp(-score));
    }
    return out;
  }

 private:
  Encoder& encoder_;
  OnModelThread on_model_;
  EmbeddingShape shape_;
};

/// What a decoder's file says of pooling; nothing: the mean.
Pooling pooling_of(const GgufFile& file, const std::string& architecture) {
  const auto value = file.integer(architecture + ".pooling_type");
  const bool known = value.ok() && value.value() && *value.value() > 0 && *value.value() <= 4;
  return known ? static_cast<Pooling>(*value.value()) : Pooling::kMean;
}

bool is_reranker_name(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name.find("reranker") != std::string::npos;
}

std::optional<TokenId> only_token(const Tokenizer& tokenizer, std::string_view word) {
  const std::vector<TokenId> ids = tokenizer.encode(word, Specials::kText);
  return ids.size() == 1 ? std::optional(ids.front()) : std::nullopt;
}

class DecoderEmbedder final : public Embedder {
 public:
  DecoderEmbedder(LoadedModel& loaded, OnModelThread on_model)
      : model_(*loaded.model), on_model_(std::move(on_model)) {
    const ModelConfig& config = model_.config();
    pooling_ = pooling_of(*loaded.file, config.architecture);
    const auto yes = only_token(*loaded.tokenizer, "yes");
    const auto no = only_token(*loaded.tokenizer, "no");
    const bool judges = config.architecture == "qwen3" && yes && no &&
                        (pooling_ == Pooling::kRank || is_reranker_name(loaded.name));
    if (judges) {
      yes_ = *yes;
      no_ = *no;
      shape_.pairs = PairForm::kYesNo;
    }
    if (pooling_ == Pooling::kRank) pooling_ = Pooling::kLast;
    shape_.width = config.d_model;
  }

  EmbeddingShape shape() const override { return shape_; }

  Result<std::vector<float>> compute(EmbeddingTask task,
                                     std::span<const EmbeddingText> texts) override {
    place(texts);
    const bool scores = task == EmbeddingTask::kScore;
    const auto d = static_cast<size_t>(shape_.width);
    std::vector<float> out(texts.size() * (scores ? 1 : d));
    for (size_t begin = 0; begin < rows_.size(); begin += kPassRows) {
      const size_t end = std::min(rows_.size(), begin + kPassRows);
      Status done;
      TRY_STATUS(on_model_([&] { done = pass(begin, end, scores, out); }));
      TRY_STATUS(done);
    }
    if (!scores) normalise(texts, out);
    return out;
  }

 private:
  /// Rows of one pass: others wait for the model no longer than that.
  static constexpr size_t kPassRows = 256;
  static constexpr int64_t kPageTokens = 32;

  /// A row for every token, and pages for every text.
  void place(std::span<const EmbeddingText> texts) {
    rows_.clear();
    pages_.clear();
    sequences_.clear();
    std::vector<size_t> ends;
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto n = static_cast<int64_t>(texts[i].ids.size());
      for (int64_t p = 0; p < n; ++p) {
        const bool last = p + 1 == n;
        rows_.push_back(
            {texts[i].ids[static_cast<size_t>(p)], static_cast<int32_t>(p), static_cast<int32_t>(i),
             last || pooling_ == Pooling::kMean || (p == 0 && pooling_ == Pooling::kCls)});
        lasts_.resize(rows_.size());
        lasts_.back() = last;
      }
      for (int64_t p = 0; p < (n + kPageTokens - 1) / kPageTokens; ++p) {
        pages_.push_back(static_cast<PageId>(pages_.size()));
      }
      ends.push_back(pages_.size());
    }
    size_t begin = 0;
    for (const size_t end : ends) {
      sequences_.push_back({std::span(pages_).subspan(begin, end - begin)});
      begin = end;
    }
    if (kv_ == nullptr || kv_->n_pages() < static_cast<int64_t>(pages_.size())) {
      kv_ = std::make_unique<KvPool>(model_.kv_layout(), kPageTokens,
                                     static_cast<int64_t>(pages_.size()));
    }
  }

  /// Rows [begin, end) of the batch.
  Status pass(size_t begin, size_t end, bool scores, std::vector<float>& out) {
    Batch batch;
    batch.rows.assign(rows_.begin() + static_cast<std::ptrdiff_t>(begin),
                      rows_.begin() + static_cast<std::ptrdiff_t>(end));
    batch.sequences = sequences_;
    std::vector<BatchRow> wanted;
    for (size_t r = begin; r < end; ++r) {
      BatchRow& row = batch.rows[r - begin];
      if (scores) row.wants_logits = lasts_[r];
      if (row.wants_logits) wanted.push_back(row);
    }
    if (scores) return score(batch, wanted, out);
    const auto d = static_cast<size_t>(shape_.width);
    std::vector<float> states(wanted.size() * d);
    TRY_STATUS(model_.states(batch, *kv_, states));
    for (size_t i = 0; i < wanted.size(); ++i) {
      const bool counts = pooling_ != Pooling::kCls || wanted[i].position == 0;
      if (!counts) continue;
      float* vector = out.data() + static_cast<size_t>(wanted[i].sequence) * d;
      for (size_t k = 0; k < d; ++k) vector[k] += states[i * d + k];
    }
    return {};
  }

  Status score(const Batch& batch, const std::vector<BatchRow>& wanted, std::vector<float>& out) {
    const auto n_vocab = static_cast<size_t>(model_.n_vocab());
    std::vector<float> logits(wanted.size() * n_vocab);
    TRY_STATUS(model_.forward(batch, *kv_, logits));
    for (size_t i = 0; i < wanted.size(); ++i) {
      const float* row = logits.data() + i * n_vocab;
      const float margin = row[static_cast<size_t>(yes_)] - row[static_cast<size_t>(no_)];
      out[static_cast<size_t>(wanted[i].sequence)] = 1.0f / (1.0f + std::exp(-margin));
    }
    return {};
  }

  /// Sums to vectors of length 1, which their means would give too.
  void normalise(std::span<const EmbeddingText> texts, std::vector<float>& out) const {
    const auto d = static_cast<size_t>(shape_.width);
    for (size_t i = 0; i < texts.size(); ++i) {
      double squares = 0;
      for (size_t k = i * d; k < (i + 1) * d; ++k) {
        squares += static_cast<double>(out[k]) * static_cast<double>(out[k]);
      }
      const auto scale = static_cast<float>(squares > 0 ? 1.0 / std::sqrt(squares) : 0.0);
      for (size_t k = i * d; k < (i + 1) * d; ++k) out[k] *= scale;
    }
  }

  Model& model_;
  OnModelThread on_model_;
  Pooling pooling_ = Pooling::kMean;
  EmbeddingShape shape_;
  TokenId yes_ = kNoToken;
  TokenId no_ = kNoToken;
  std::vector<BatchRow> rows_;
  std::vector<bool> lasts_;  ///< of rows_: the last of its text
  std::vector<PageId> pages_;
  std::vector<KvSequence> sequences_;
  std::unique_ptr<KvPool> kv_;
};

}  // namespace

std::unique_ptr<Embedder> make_encoder_embedder(Encoder& encoder, const Tokenizer& tokenizer,
                                                OnModelThread on_model) {
  return std::make_unique<EncoderEmbedder>(encoder, tokenizer, std::move(on_model));
}

OnModelThread on_this_thread() {
  return [](const std::function<void()>& work) -> Status {
    work();
    return {};
  };
}

std::unique_ptr<Embedder> make_decoder_embedder(LoadedModel& loaded, OnModelThread on_model) {
  return std::make_unique<DecoderEmbedder>(loaded, std::move(on_model));
}

Result<bool> is_encoder_file(const std::filesystem::path& path) {
  TRY(const GgufFile file, open_model_file(path));
  return Encoder::is_encoder(file);
}

Result<LoadedEncoder> load_encoder(const std::filesystem::path& path, const EncoderOptions& options,
                                   int threads) {
  TRY(LoadedText text, load_text(path));
  LoadedEncoder out(std::move(text));
  out.pool = std::make_unique<ThreadPool>(threads > 0 ? threads : ThreadPool::default_threads());
  TRY(out.encoder, Encoder::load(*out.file, options, *out.pool));
  if (out.encoder->config().n_vocab < out.tokenizer->size()) {
    return Error{Code::kCorrupt,
                 fmt::format("the vocabulary of {} has {} tokens, but its weights only {}",
                             path.string(), out.tokenizer->size(), out.encoder->config().n_vocab)};
  }
  return out;
}

}  // namespace hadal
