#pragma once
/// KServe's Open Inference Protocol v2 over REST, with Triton's extensions: infer (JSON and binary
/// tensors), generate, generate_stream. A model is a function from text_input to text_output, both
/// of type BYTES and shape [-1, 1]; all else are parameters, as further inputs or under
/// "parameters". An encoder's output is `embedding`, FP32 of shape [-1, width], or, with the
/// further input `query`, `score`, FP32 of shape [-1, 1].
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "net/http.h"
#include "serve/backend.h"
#include "serve/dialects/embeddings.h"
#include "serve/errors.h"
#include "serve/generation.h"

namespace hadal {

/// The only version there is of any model.
inline constexpr std::string_view kKserveVersion = "1";

enum class KserveKind : uint8_t { kInfer, kGenerate, kGenerateStream };

/// A request's JSON and the bytes of its binary tensors behind it.
Checked read_kserve_body(const HttpRequest& request, json::object& body, std::string& tensors);

/// `name`: the model as the client named it. `rows_max`: texts that one request may bring.
struct KserveRequest {
  KserveKind kind = KserveKind::kInfer;
  std::string name = {};
  size_t rows_max = 1;
};
Checked plan_kserve(const ServedModel& model, const KserveRequest& request,
                    const json::object& body, const std::string& tensors, Env& env,
                    GenerationPlan& out);

/// A request for numbers, read.
struct KserveNumbers {
  EmbeddingRequest request;  ///< not read by the answer: it may be moved out
  EmbeddingsPlan vectors;    ///< of vectors: which of their numbers are given
  int64_t tokens = 0;
  bool scores = false;
  bool binary = false;    ///< they come as bytes behind the JSON
  std::string name = {};  ///< of the model
  std::string id = {};    ///< of the request, given back
};
/// Whether the request is one for numbers: that of an encoder, or one that asks for the output
/// `embedding` or `score`.
bool wants_kserve_numbers(const ServedModel& model, const json::object& body);
Checked plan_kserve_numbers(const ServedModel& model, const KserveRequest& request,
                            const json::object& body, const std::string& tensors,
                            KserveNumbers& out);
/// `numbers`: what the backend gave.
HttpReply kserve_numbers_reply(const ServedModel& model, const KserveNumbers& plan,
                               std::span<const float> numbers);

/// What a model takes and gives: metadata and configuration, as KServe and Triton write them.
/// `task`: "embedding" or "rerank" of an encoder, else empty; `width`: of a vector.
struct KserveModel {
  std::string name;
  std::string task = {};
  int64_t width = -1;
  int64_t rows_max = 1;
};
json::object kserve_metadata(const KserveModel& model);
json::object kserve_model_config(const KserveModel& model);

}  // namespace hadal
