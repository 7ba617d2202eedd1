#pragma once
/// Ollama's dialect: POST /api/chat and /api/generate, NDJSON streams; /api/embed; /api/pull.
/// Bodies are turned into those of the OpenAI endpoints, so parameters and prompts are the same
/// whatever the dialect.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "serve/backend.h"
#include "serve/dialects/embeddings.h"
#include "serve/errors.h"
#include "serve/generation.h"

namespace hadal {

/// Ollama's release whose API this is; clients switch features on by it.
inline constexpr std::string_view kOllamaVersion = "0.12.11";

/// "2026-11-23T18:00:00.123456Z"
std::string iso_time(int64_t unix_micros);

enum class OllamaKind : uint8_t {
  kChat,
  kGenerate,
  kEmbed,       ///< POST /api/embed
  kEmbeddings,  ///< POST /api/embeddings, its older form
};

/// What is not about the answer itself.
struct OllamaRequest {
  OllamaKind kind = OllamaKind::kChat;
  std::string model = {};  ///< as the client named it
  bool stream = true;
  bool load_only = false;                  ///< nothing to answer
  std::optional<int64_t> keep_alive = {};  ///< microseconds, see parse_keep_alive()
  int64_t began_micros = 0;                ///< Env::now_micros
};

/// Reads the fields of OllamaRequest.
Checked read_ollama_request(const json::object& body, OllamaKind kind, OllamaRequest& out);

/// `loaded_micros`: when the model was there.
Checked plan_ollama(const ServedModel& model, json::object& body, const OllamaRequest& request,
                    int64_t loaded_micros, Env& env, GenerationPlan& out);

inline constexpr std::string_view kOllamaStream = "application/x-ndjson";
/// A piece of a stream that says nothing: a sign of life.
std::string ollama_empty_piece(const OllamaRequest& request, Env& env);

/// A body of kEmbed or kEmbeddings, with something in it.
Checked plan_ollama_vectors(const ServedModel& model, const json::object& body, OllamaKind kind,
                            EmbeddingsPlan& out);
/// What an answer with vectors tells beside them.
struct OllamaVectorFacts {
  int64_t tokens = 0;
  int64_t width = 0;  ///< of a vector
  int64_t total_micros = 0;
  int64_t load_micros = 0;
};
std::string ollama_vectors(const OllamaRequest& request, std::span<const float> numbers,
                           const OllamaVectorFacts& facts);
/// The answer to a request for vectors of nothing, which loads or unloads.
std::string ollama_no_vectors(const OllamaRequest& request);

/// The body's "model", or the older "name".
Checked read_ollama_name(const json::object& body, std::string& name);

/// {"status":...} and a line feed, of pull. `digest` may be empty; bytes are told when `total` is
/// not 0.
std::string ollama_status(std::string_view status, std::string_view digest = {}, uint64_t total = 0,
                          uint64_t done = 0);

/// The answer to a request without a prompt: `reason` is "load" or "unload".
std::string ollama_nothing(const OllamaRequest& request, std::string_view reason, Env& env);

}  // namespace hadal
