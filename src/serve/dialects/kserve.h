#pragma once
/// KServe's Open Inference Protocol v2 over REST, with Triton's extensions: infer (JSON and binary
/// tensors), generate, generate_stream. A model is a function from text_input to text_output, both
/// of type BYTES and shape [-1, 1]; all else are parameters, as further inputs or under
/// "parameters".
#include <cstdint>
#include <string>
#include <string_view>

#include "net/http.h"
#include "serve/backend.h"
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

/// What a model takes and gives: metadata and configuration, as KServe and Triton write them.
json::object kserve_metadata(std::string_view name);
json::object kserve_model_config(std::string_view name, int64_t rows_max);

}  // namespace hadal
