#pragma once
/// Embeddings as OpenAI's SDKs ask for them, and relevances of documents as Jina and Cohere do.
#include <span>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/json.h"
#include "serve/backend.h"
#include "serve/embedding_backend.h"
#include "serve/errors.h"

namespace hadal {

/// A body of /v1/embeddings, read.
struct EmbeddingsPlan {
  EmbeddingRequest request;  ///< not read by the answer: it may be moved out
  int64_t width = 0;         ///< of the vectors to give: `dimensions`, or the model's
  bool base64 = false;
  int64_t tokens = 0;
};

/// 400 for a model that gives no vectors; 400 context_length_exceeded for a text that is too long,
/// unless "truncate" is true.
Checked plan_embeddings(const ServedModel& model, const json::object& body, EmbeddingsPlan& out);
/// The answer. `numbers`: what the backend gave.
std::string embeddings_reply(const ServedModel& model, const EmbeddingsPlan& plan,
                             std::span<const float> numbers);
/// The vectors to give, each of `plan.width` numbers, one after the other.
std::vector<float> embeddings_wanted(const ServedModel& model, const EmbeddingsPlan& plan,
                                     std::span<const float> numbers);
/// [1,2.5]
void append_json_floats(std::string& out, std::span<const float> numbers);

/// A body of /v1/rerank, read.
struct RerankPlan {
  EmbeddingRequest request;            ///< as above
  std::vector<std::string> documents;  ///< kept when they are to be given back
  bool returns_documents = false;
  size_t top_n = 0;
  int64_t tokens = 0;
};

/// 400 for a model that judges no pairs. Documents that are too long are cut, as those APIs do,
/// unless "truncate" is false.
Checked plan_rerank(const ServedModel& model, const json::object& body, RerankPlan& out);
/// The answer: the most relevant documents first. `scores`: one per document.
std::string rerank_reply(const ServedModel& model, const RerankPlan& plan,
                         std::span<const float> scores, Env& env);

/// A body of /v1/score, vLLM's form of the same: pairs of texts, a score each, in their order.
struct ScorePlan {
  EmbeddingRequest request;  ///< as above
  int64_t tokens = 0;
};

/// 400 for a model that judges no pairs, and for pairs that are too long, unless
/// "truncate_prompt_tokens" is given.
Checked plan_score(const ServedModel& model, const json::object& body, ScorePlan& out);
std::string score_reply(const ServedModel& model, const ScorePlan& plan,
                        std::span<const float> scores, Env& env);

}  // namespace hadal
