/// Ollama's two endpoints for vectors, and the lines that its pull says.
#include <fmt/format.h>

#include "serve/dialects/ollama.h"

namespace hadal {
namespace {

constexpr int64_t kNanosPerMicro = 1000;

/// Texts only: token ids are not part of this dialect.
Checked check_texts(const json::value& input) {
  bool texts = input.is_string() || input.is_array();
  if (input.is_array()) {
    for (const json::value& one : input.get_array()) texts = texts && one.is_string();
  }
  if (texts) return std::nullopt;
  return invalid_param("input", "'input' must be a text, or a list of texts.");
}

}  // namespace

Checked plan_ollama_vectors(const ServedModel& model, const json::object& body, OllamaKind kind,
                            EmbeddingsPlan& out) {
  json::object plain;
  if (kind == OllamaKind::kEmbeddings) {
    const json::value* prompt = find_member(body, "prompt");
    if (prompt == nullptr || !prompt->is_string()) {
      return invalid_param("prompt", "'prompt' must be a string.");
    }
    plain["input"] = *prompt;
    plain["truncate"] = true;
    return plan_embeddings(model, plain, out);
  }
  const json::value* input = find_member(body, "input");
  if (input == nullptr) return invalid_param("input", "'input' is missing.");
  if (Checked error = check_texts(*input)) return error;
  plain["input"] = *input;
  const json::value* truncate = find_member(body, "truncate");
  plain["truncate"] = truncate == nullptr ? json::value(true) : *truncate;
  // 0 is what clients send that want the model's own.
  const json::value* dimensions = find_member(body, "dimensions");
  if (dimensions != nullptr && *dimensions != 0) plain["dimensions"] = *dimensions;
  return plan_embeddings(model, plain, out);
}

std::string ollama_vectors(const OllamaRequest& request, std::span<const float> numbers,
                           const OllamaVectorFacts& facts) {
  std::string out;
  if (request.kind == OllamaKind::kEmbeddings) {
    out = "{\"embedding\":";
    append_json_floats(out, numbers);
    return out + "}";
  }
  out = "{\"model\":";
  append_json_string(out, request.model);
  out += ",\"embeddings\":[";
  const auto width = static_cast<size_t>(facts.width);
  for (size_t at = 0; at + width <= numbers.size(); at += width) {
    if (at > 0) out.push_back(',');
    append_json_floats(out, numbers.subspan(at, width));
  }
  return out +
         fmt::format("],\"total_duration\":{},\"load_duration\":{},\"prompt_eval_count\":{}}}",
                     facts.total_micros * kNanosPerMicro, facts.load_micros * kNanosPerMicro,
                     facts.tokens);
}

std::string ollama_no_vectors(const OllamaRequest& request) {
  if (request.kind == OllamaKind::kEmbeddings) return R"({"embedding":[]})";
  std::string out = "{\"model\":";
  append_json_string(out, request.model);
  return out + ",\"embeddings\":[]}";
}

std::string ollama_status(std::string_view status, std::string_view digest, uint64_t total,
                          uint64_t done) {
  std::string out = "{\"status\":";
  append_json_string(out, status);
  if (!digest.empty()) {
    out += ",\"digest\":";
    append_json_string(out, digest);
  }
  if (total > 0) out += fmt::format(",\"total\":{},\"completed\":{}", total, done);
  return out + "}\n";
}

}  // namespace hadal
