#pragma once
/// Encoder: models that see a whole text at once and give one vector or the scores of a classifier
/// for it (BERT, 1810.04805; XLM-R, 1911.02116; the e5, bge and MiniLM families). Ids in, numbers
/// out; no keys and values stay.
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/matmul.h"
#include "tensor/gguf.h"

namespace hadal {

/// How the rows of a text become one vector; GGUF's pooling_type.
enum class Pooling : uint8_t { kNone, kMean, kCls, kLast, kRank };

/// Units: elements.
struct EncoderConfig {
  std::string architecture;
  int64_t n_vocab = 0;
  int64_t n_layers = 0;
  int64_t d_model = 0;
  int64_t d_ff = 0;
  int64_t n_heads = 0;
  int64_t n_ctx = 0;          ///< most ids of a text: positions are learned
  int64_t n_token_types = 0;  ///< 0: the model has none
  int64_t n_labels = 0;       ///< of its classifier; 0: it has none
  float norm_eps = 1e-12f;
  Pooling pooling = Pooling::kMean;  ///< kRank: the model is a classifier of pairs

  int64_t d_head() const { return d_model / n_heads; }

  /// Reads and checks the keys of general.architecture.
  static Result<EncoderConfig> from_gguf(const GgufFile& file);
};

/// A text's ids, with those that the model puts around it.
struct EncoderText {
  std::span<const TokenId> ids;
  size_t second = SIZE_MAX;  ///< from here on they belong to the second text of a pair
};

struct EncoderOptions {
  /// Matrices of 16 and 32 bits become Q8_0 while they are loaded: faster, about 1e-4 off in
  /// cosine.
  bool quantise = false;
  /// Of matrices in quantised formats.
  Activations activations = Activations::kInt8;
};

/// A loaded encoder. Borrows `file` and `pool`, which must outlive it. One thread at a time.
class Encoder {
 public:
  /// Whether a file's architecture is one of these.
  static bool is_encoder(const GgufFile& file);
  static Result<std::unique_ptr<Encoder>> load(const GgufFile& file, const EncoderOptions& options,
                                               ThreadPool& pool);
  virtual ~Encoder() = default;
  virtual const EncoderConfig& config() const = 0;

  /// The pooled vectors, of length 1 each: d_model floats per text at `out`, in order. Texts of any
  /// lengths go through together without padding, and a text's bits do not depend on the others.
  /// kInvalidArgument for a text without ids or with more than n_ctx, and for ids that are none.
  virtual Status embed(std::span<const EncoderText> texts, std::span<float> out) = 0;
  /// The classifier's scores, as they are: n_labels floats per text. REQUIRES: n_labels > 0.
  virtual Status classify(std::span<const EncoderText> texts, std::span<float> out) = 0;

  /// Of all matrices that every token meets; attention is not counted.
  virtual uint64_t macs_per_token() const = 0;
  virtual uint64_t weight_bytes() const = 0;
};

}  // namespace hadal
