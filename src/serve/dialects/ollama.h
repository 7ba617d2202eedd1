#pragma once
/// Ollama's dialect: POST /api/chat and /api/generate, NDJSON streams. Bodies are turned into those
/// of the OpenAI endpoints, so parameters and prompts are the same whatever the dialect.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "serve/backend.h"
#include "serve/errors.h"
#include "serve/generation.h"

namespace hadal {

/// Ollama's release whose API this is; clients switch features on by it.
inline constexpr std::string_view kOllamaVersion = "0.12.6";

/// "2026-11-23T18:00:00.123456Z"
std::string iso_time(int64_t unix_micros);

enum class OllamaKind : uint8_t { kChat, kGenerate };

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

/// The answer to a request without a prompt: `reason` is "load" or "unload".
std::string ollama_nothing(const OllamaRequest& request, std::string_view reason, Env& env);

}  // namespace hadal
