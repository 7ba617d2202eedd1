#pragma once
/// What serve needs from below for vectors and relevances: texts as ids in, numbers out.
#include <cstdint>
#include <functional>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace hadal {

/// A text, or a query and a document.
struct EmbeddingText {
  std::vector<TokenId> ids;
  size_t second = SIZE_MAX;  ///< where the document begins
};

enum class EmbeddingTask : uint8_t {
  kEmbed,  ///< a vector of length 1 per text
  kScore,  ///< a relevance from 0 to 1 per pair
};

struct EmbeddingRequest {
  EmbeddingTask task = EmbeddingTask::kEmbed;
  std::vector<EmbeddingText> texts;
};

using EmbeddingId = uint64_t;

/// Thread-safe.
class EmbeddingBackend {
 public:
  /// The numbers of all texts, one after the other.
  using Done = std::function<void(Result<std::vector<float>> numbers)>;

  virtual ~EmbeddingBackend() = default;
  /// Calls `done` once, on any thread, unless it returns an Error: kExhausted when too much waits,
  /// kUnavailable while the program ends.
  virtual Result<EmbeddingId> submit(EmbeddingRequest request, Done done) = 0;
  /// Nobody waits for the numbers any more; `done` may not come then. Unknown ids are ignored.
  virtual void cancel(EmbeddingId id) = 0;
};

/// How a query and a document are put together for a model that judges pairs.
enum class PairForm : uint8_t {
  kNone,   ///< it does not
  kBert,   ///< [CLS] query [SEP] document [SEP]
  kXlmr,   ///< <s> query </s></s> document </s>
  kYesNo,  ///< a conversation whose answer is yes or no (Qwen3-Reranker)
};

/// What a model offers here.
struct EmbeddingShape {
  int64_t width = 0;  ///< of a vector; 0: it gives none
  PairForm pairs = PairForm::kNone;
};

}  // namespace hadal
