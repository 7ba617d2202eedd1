#pragma once
/// Embedder: texts as ids to numbers, by an encoder or by the hidden states of a generative model.
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "app/app.h"
#include "model/encoder.h"
#include "serve/embedding_backend.h"

namespace hadal {

/// One thread at a time.
class Embedder {
 public:
  virtual ~Embedder() = default;
  virtual EmbeddingShape shape() const = 0;
  /// The numbers of all texts, one after the other: shape().width each, or one each for kScore.
  virtual Result<std::vector<float>> compute(EmbeddingTask task,
                                             std::span<const EmbeddingText> texts) = 0;
};

/// Runs work where the model may be used, and returns when it is done.
using OnModelThread = std::function<Status(const std::function<void()>& work)>;

/// Scores are sigmoids of the classifier's only output. Borrows the encoder.
std::unique_ptr<Embedder> make_encoder_embedder(Encoder& encoder, const Tokenizer& tokenizer,
                                                OnModelThread on_model);

/// For a model that nobody else uses.
OnModelThread on_this_thread();

/// The final states of a text's tokens, pooled as the file says (else their mean), of length 1. A
/// Qwen3 reranker, known by its pooling type or its name, judges pairs by its "yes" and "no".
/// Borrows the model; passes of some hundred tokens go through `on_model`.
std::unique_ptr<Embedder> make_decoder_embedder(LoadedModel& loaded, OnModelThread on_model);

/// An encoder with its words.
struct LoadedEncoder : LoadedText {
  explicit LoadedEncoder(LoadedText text) : LoadedText(std::move(text)) {}
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<Encoder> encoder;
};

/// Whether `path` holds an encoder; reads its metadata only.
Result<bool> is_encoder_file(const std::filesystem::path& path);
/// kCorrupt when words and weights are of different models.
Result<LoadedEncoder> load_encoder(const std::filesystem::path& path, const EncoderOptions& options,
                                   int threads);

}  // namespace hadal
