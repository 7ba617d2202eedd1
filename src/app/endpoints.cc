#include "app/endpoints.h"

#include <string_view>

#include "app/openapi.h"
#include "base/limits.h"
#include "serve/manners.h"
#include "serve/stream_socket.h"

namespace hadal {
namespace {

constexpr size_t kBody = limits::kHttpBodyBytes;
constexpr size_t kSmallBody = 4 * limits::kKiB;  // a name, or an empty object

constexpr EndpointRow kRows[] = {
    {"GET", "/", "web", "The chat page", Scope::kPublic, 0, false, nullptr, &shapes::kPage},
    {"GET", "/health", "hadal", "The process lives; counters", Scope::kPublic, 0, false,
     handlers::health, &shapes::kHealth},
    {"GET", "/healthz", "hadal", "As /health, as Kubernetes asks", Scope::kPublic, 0, false,
     handlers::health, &shapes::kHealth},
    {"GET", "/livez", "hadal", "As /health, as Kubernetes asks", Scope::kPublic, 0, false,
     handlers::health, &shapes::kHealth},
    {"GET", "/readyz", "hadal", "As /ready, as Kubernetes asks", Scope::kPublic, 0, false,
     handlers::ready, &shapes::kReady},
    {"GET", "/ready", "hadal", "200 when a model is loaded and the server is not going down",
     Scope::kPublic, 0, false, handlers::ready, &shapes::kReady},
    {"GET", "/metrics", "hadal", "Counters for Prometheus", Scope::kApi, 0, false,
     handlers::metrics, &shapes::kMetrics},
    {"GET", "/version", "hadal", "Name and version", Scope::kPublic, 0, false, handlers::version,
     &shapes::kVersion},
    {"GET", "/openapi.json", "hadal", "All endpoints, for programs", Scope::kPublic, 0, false,
     nullptr, &shapes::kOpenApi},
    {"GET", "/docs", "hadal", "All endpoints, for people", Scope::kPublic, 0, false, nullptr,
     &shapes::kPage},
    {"GET", "/v1/models", "openai", "Models served here", Scope::kApi, 0, false, handlers::models,
     &shapes::kModels},
    {"GET", "/models", "openai", "Models served here", Scope::kApi, 0, false, handlers::models,
     &shapes::kModels},
    {"GET", "/v1/models/{tail}", "openai", "One model", Scope::kApi, 0, false, handlers::model,
     &shapes::kModel},
    {"GET", "/models/{tail}", "openai", "One model", Scope::kApi, 0, false, handlers::model,
     &shapes::kModel},
    {"POST", "/v1/chat/completions", "openai", "Answer a conversation", Scope::kApi, kBody, true,
     handlers::chat_completions, &shapes::kChatCompletions},
    {"POST", "/chat/completions", "openai", "Answer a conversation", Scope::kApi, kBody, true,
     handlers::chat_completions, &shapes::kChatCompletions},
    {"POST", "/v1/completions", "openai", "Continue a text", Scope::kApi, kBody, true,
     handlers::completions, &shapes::kCompletions},
    {"POST", "/completions", "openai", "Continue a text", Scope::kApi, kBody, true,
     handlers::completions, &shapes::kCompletions},
    {"POST", "/v1/responses", "responses", "Answer items", Scope::kApi, kBody, true,
     handlers::responses, &shapes::kResponses},
    {"POST", "/responses", "responses", "Answer items", Scope::kApi, kBody, true,
     handlers::responses, &shapes::kResponses},
    {"POST", "/v1/responses/input_tokens", "responses", "How many tokens items are", Scope::kApi,
     kBody, false, handlers::count_response_tokens, &shapes::kCountResponseTokens},
    {"POST", "/responses/input_tokens", "responses", "How many tokens items are", Scope::kApi,
     kBody, false, handlers::count_response_tokens, &shapes::kCountResponseTokens},
    {"GET", "/v1/responses/{response_id}", "responses", "A stored answer", Scope::kApi, 0, false,
     handlers::response, &shapes::kStoredResponse},
    {"GET", "/responses/{response_id}", "responses", "A stored answer", Scope::kApi, 0, false,
     handlers::response, &shapes::kStoredResponse},
    {"DELETE", "/v1/responses/{response_id}", "responses", "Forget a stored answer", Scope::kApi, 0,
     false, handlers::delete_response, &shapes::kDeletedResponse},
    {"DELETE", "/responses/{response_id}", "responses", "Forget a stored answer", Scope::kApi, 0,
     false, handlers::delete_response, &shapes::kDeletedResponse},
    {"POST", "/v1/responses/{response_id}/cancel", "responses", "End an answer in the background",
     Scope::kApi, kSmallBody, false, handlers::cancel_response, &shapes::kCancelledResponse},
    {"POST", "/responses/{response_id}/cancel", "responses", "End an answer in the background",
     Scope::kApi, kSmallBody, false, handlers::cancel_response, &shapes::kCancelledResponse},
    {"GET", "/v1/responses/{response_id}/input_items", "responses", "What a stored answer answers",
     Scope::kApi, 0, false, handlers::response_input_items, &shapes::kInputItems},
    {"GET", "/responses/{response_id}/input_items", "responses", "What a stored answer answers",
     Scope::kApi, 0, false, handlers::response_input_items, &shapes::kInputItems},
    {"POST", "/v1/messages", "anthropic", "Answer a conversation", Scope::kApi, kBody, true,
     handlers::messages, &shapes::kMessages},
    {"POST", "/anthropic/v1/messages", "anthropic", "Answer a conversation", Scope::kApi, kBody,
     true, handlers::messages, &shapes::kMessages},
    {"POST", "/v1/messages/count_tokens", "anthropic", "How many tokens a conversation is",
     Scope::kApi, kBody, false, handlers::count_message_tokens, &shapes::kCountMessageTokens},
    {"POST", "/anthropic/v1/messages/count_tokens", "anthropic",
     "How many tokens a conversation is", Scope::kApi, kBody, false, handlers::count_message_tokens,
     &shapes::kCountMessageTokens},
    {"POST", "/beta/chat/completions", "deepseek", "Answer or continue a conversation", Scope::kApi,
     kBody, true, handlers::chat_completions, &shapes::kChatCompletions},
    {"POST", "/beta/completions", "deepseek", "Continue a text or fill a gap in it", Scope::kApi,
     kBody, true, handlers::completions, &shapes::kCompletions},
    {"GET", "/user/balance", "deepseek", "Always enough", Scope::kApi, 0, false,
     handlers::user_balance, &shapes::kBalance},
    {"POST", "/generate", "hadal", "Continue a text, plainly", Scope::kApi, kBody, true,
     handlers::generate, &shapes::kGenerate},
    {"POST", "/completion", "llama.cpp", "Continue a text, as llama.cpp does", Scope::kApi, kBody,
     true, handlers::llama_completion, &shapes::kLlamaCompletion},
    {"POST", "/infill", "llama.cpp", "Fill the gap between two texts", Scope::kApi, kBody, true,
     handlers::llama_infill, &shapes::kLlamaInfill},
    {"POST", "/apply-template", "llama.cpp", "The prompt that a conversation becomes", Scope::kApi,
     kBody, false, handlers::apply_template, &shapes::kApplyTemplate},
    {"GET", "/props", "llama.cpp", "Default settings, template and special tokens", Scope::kApi, 0,
     false, handlers::props, &shapes::kProps},
    {"GET", "/slots", "llama.cpp", "How many requests run of how many", Scope::kApi, 0, false,
     handlers::slots, &shapes::kSlots},
    {"GET", "/tokenizer_info", "vllm", "Special tokens and the chat template", Scope::kApi, 0,
     false, handlers::tokenizer_info, &shapes::kTokenizerInfo},
    {"GET", "/ping", "vllm", "200 when a model is loaded", Scope::kApi, 0, false, handlers::ping,
     &shapes::kPing},
    {"GET", "/stream", "websocket", "Prompts in, tokens out, over WebSocket", Scope::kApi, 0, true,
     nullptr},
    {"POST", "/v1/embeddings", "openai", "Vectors of texts", Scope::kApi, kBody, false,
     handlers::embeddings, &shapes::kEmbeddings},
    {"POST", "/embeddings", "openai", "Vectors of texts", Scope::kApi, kBody, false,
     handlers::embeddings, &shapes::kEmbeddings},
    {"POST", "/v1/rerank", "cohere", "Documents by their relevance for a query", Scope::kApi, kBody,
     false, handlers::rerank, &shapes::kRerank},
    {"POST", "/rerank", "cohere", "Documents by their relevance for a query", Scope::kApi, kBody,
     false, handlers::rerank, &shapes::kRerank},
    {"POST", "/v2/rerank", "cohere", "Documents by their relevance for a query", Scope::kApi, kBody,
     false, handlers::rerank, &shapes::kRerank},
    {"POST", "/v1/score", "vllm", "Relevances of pairs of texts", Scope::kApi, kBody, false,
     handlers::score, &shapes::kScore},
    {"POST", "/score", "vllm", "Relevances of pairs of texts", Scope::kApi, kBody, false,
     handlers::score, &shapes::kScore},
    {"POST", "/tokenize", "hadal", "Text or messages to token ids", Scope::kApi, kBody, false,
     handlers::tokenize, &shapes::kTokenize},
    {"POST", "/detokenize", "hadal", "Token ids to text", Scope::kApi, kBody, false,
     handlers::detokenize, &shapes::kDetokenize},
    {"POST", "/v1/models/load", "hadal", "Load a model", Scope::kApi, kSmallBody, false,
     handlers::load_model, &shapes::kLoadModel},
    {"POST", "/v1/models/unload", "hadal", "Let a model go", Scope::kApi, kSmallBody, false,
     handlers::unload_model, &shapes::kUnloadModel},
    {"GET", "/api/version", "ollama", "Version of the API", Scope::kPublic, 0, false,
     handlers::ollama_version, &shapes::kOllamaVersion},
    {"GET", "/api/tags", "ollama", "Models served here", Scope::kApi, 0, false,
     handlers::ollama_tags, &shapes::kOllamaModels},
    {"GET", "/api/ps", "ollama", "Models that are loaded", Scope::kApi, 0, false,
     handlers::ollama_ps, &shapes::kOllamaModels},
    {"POST", "/api/show", "ollama", "What is known about a model", Scope::kApi, kSmallBody, false,
     handlers::ollama_show, &shapes::kOllamaShow},
    {"POST", "/api/chat", "ollama", "Answer a conversation", Scope::kApi, kBody, true,
     handlers::ollama_chat, &shapes::kOllamaChat},
    {"POST", "/api/generate", "ollama", "Answer or continue a text", Scope::kApi, kBody, true,
     handlers::ollama_generate, &shapes::kOllamaGenerate},
    {"POST", "/api/embed", "ollama", "Vectors of texts", Scope::kApi, kBody, false,
     handlers::ollama_embed, &shapes::kOllamaEmbed},
    {"POST", "/api/embeddings", "ollama", "The vector of a text", Scope::kApi, kBody, false,
     handlers::ollama_embeddings, &shapes::kOllamaEmbeddings},
    {"POST", "/api/pull", "ollama", "Get a model", Scope::kApi, kSmallBody, true,
     handlers::ollama_pull, &shapes::kOllamaPull},
    {"POST", "/api/copy", "ollama", "Give a model a further name", Scope::kApi, kSmallBody, false,
     handlers::ollama_copy, &shapes::kOllamaCopy},
    {"DELETE", "/api/delete", "ollama", "Take a model away", Scope::kApi, kSmallBody, false,
     handlers::ollama_delete, &shapes::kOllamaDelete},
    {"POST", "/api/create", "ollama", "Not implemented (501)", Scope::kApi, kBody, false,
     handlers::ollama_not_there, &shapes::kOllamaNotThere},
    {"POST", "/api/push", "ollama", "Not implemented (501)", Scope::kApi, kBody, false,
     handlers::ollama_not_there, &shapes::kOllamaNotThere},
    {"POST", "/api/blobs/{digest}", "ollama", "Not implemented (501)", Scope::kApi, kBody, false,
     handlers::ollama_not_there, &shapes::kOllamaNotThere},
    {"GET", "/v2", "kserve", "The server", Scope::kPublic, 0, false, handlers::kserve_server,
     &shapes::kKserve},
    {"GET", "/v2/health/live", "kserve", "The process lives", Scope::kPublic, 0, false,
     handlers::kserve_live, &shapes::kKserveAny},
    {"GET", "/v2/health/ready", "kserve", "Models are loaded", Scope::kPublic, 0, false,
     handlers::kserve_ready, &shapes::kKserveAny},
    {"GET", "/v2/models/stats", "kserve", "Counters of all models", Scope::kApi, 0, false,
     handlers::kserve_all_stats, &shapes::kKserve},
    {"GET", "/v2/models/{model}", "kserve", "What a model takes and gives", Scope::kApi, 0, false,
     handlers::kserve_model, &shapes::kKserve},
    {"GET", "/v2/models/{model}/ready", "kserve", "Whether a model is loaded", Scope::kApi, 0,
     false, handlers::kserve_model_ready, &shapes::kKserveAny},
    {"GET", "/v2/models/{model}/config", "kserve", "Configuration of a model", Scope::kApi, 0,
     false, handlers::kserve_config, &shapes::kKserve},
    {"GET", "/v2/models/{model}/stats", "kserve", "Counters of a model", Scope::kApi, 0, false,
     handlers::kserve_stats, &shapes::kKserve},
    {"POST", "/v2/models/{model}/infer", "kserve", "Tensors of texts to tensors of texts",
     Scope::kApi, kBody, false, handlers::kserve_infer, &shapes::kKserveInfer},
    {"POST", "/v2/models/{model}/generate", "kserve", "Continue a text", Scope::kApi, kBody, false,
     handlers::kserve_generate, &shapes::kKserveGenerate},
    {"POST", "/v2/models/{model}/generate_stream", "kserve", "Continue a text, piece by piece",
     Scope::kApi, kBody, true, handlers::kserve_generate_stream, &shapes::kKserveStream},
    {"GET", "/v2/models/{model}/versions/{version}", "kserve", "What a model takes and gives",
     Scope::kApi, 0, false, handlers::kserve_model, &shapes::kKserve},
    {"GET", "/v2/models/{model}/versions/{version}/ready", "kserve", "Whether a model is loaded",
     Scope::kApi, 0, false, handlers::kserve_model_ready, &shapes::kKserveAny},
    {"GET", "/v2/models/{model}/versions/{version}/config", "kserve", "Configuration of a model",
     Scope::kApi, 0, false, handlers::kserve_config, &shapes::kKserve},
    {"GET", "/v2/models/{model}/versions/{version}/stats", "kserve", "Counters of a model",
     Scope::kApi, 0, false, handlers::kserve_stats, &shapes::kKserve},
    {"POST", "/v2/models/{model}/versions/{version}/infer", "kserve",
     "Tensors of texts to tensors of texts", Scope::kApi, kBody, false, handlers::kserve_infer,
     &shapes::kKserveInfer},
    {"POST", "/v2/models/{model}/versions/{version}/generate", "kserve", "Continue a text",
     Scope::kApi, kBody, false, handlers::kserve_generate, &shapes::kKserveGenerate},
    {"POST", "/v2/models/{model}/versions/{version}/generate_stream", "kserve",
     "Continue a text, piece by piece", Scope::kApi, kBody, true, handlers::kserve_generate_stream,
     &shapes::kKserveStream},
    {"POST", "/v2/repository/index", "kserve", "Models and their states", Scope::kApi, kSmallBody,
     false, handlers::kserve_index, &shapes::kKserveAny},
    {"POST", "/v2/repository/models/{model}/load", "kserve", "Load a model", Scope::kApi, kBody,
     false, handlers::kserve_load, &shapes::kKserveAny},
    {"POST", "/v2/repository/models/{model}/unload", "kserve", "Let a model go", Scope::kApi,
     kSmallBody, false, handlers::kserve_unload, &shapes::kKserveAny},
};

Route make_route(const EndpointRow& row) {
  Route route;
  route.method = row.method;
  route.path = row.path;
  route.scope = row.scope;
  route.body_bytes_max = row.body_bytes_max;
  return route;
}

/// The page; programs of Ollama's family get the word they know the server by.
void serve_root(const WebPack& pack, HttpRequest&& request, const PeerRef& peer) {
  const std::string* agent = request.header("user-agent");
  if (agent != nullptr && ascii_lower(*agent).starts_with("ollama")) {
    peer.reply({.content_type = "text/plain; charset=utf-8", .body = "Ollama is running"});
    return;
  }
  peer.reply(pack.reply(request.path, request));
}

void serve_file(const WebPack& pack, HttpRequest&& request, const PeerRef& peer) {
  peer.reply(pack.reply(request.path, request));
}

}  // namespace

std::span<const EndpointRow> endpoint_rows() {
  return kRows;
}

std::vector<Route> make_routes(Service& service, const WebPack& pack) {
  std::vector<Route> routes;
  for (const EndpointRow& row : kRows) {
    Route route = make_route(row);
    const std::string_view path = row.path;
    if (row.handle != nullptr) {
      route.handle = [&service, &row](HttpRequest&& request, PeerRef peer) {
        run_handler(service, row.handle, row.shape, std::move(request), peer);
      };
    } else if (path == "/openapi.json") {
      route.handle = [](HttpRequest&&, PeerRef peer) { peer.reply({.body = openapi_document()}); };
    } else if (path == "/docs") {
      route.handle = [](HttpRequest&&, PeerRef peer) { peer.reply(docs_page()); };
    } else if (path == "/stream") {
      route.open_socket = [&service](PeerRef peer) { return open_stream_socket(peer, service); };
    } else {
      route.handle = [&pack](HttpRequest&& request, PeerRef peer) {
        serve_root(pack, std::move(request), peer);
      };
    }
    routes.push_back(std::move(route));
  }
  for (const WebFile& file : pack.files()) {
    Route route{.method = "GET", .path = file.path, .scope = Scope::kPublic};
    route.handle = [&pack](HttpRequest&& request, PeerRef peer) {
      serve_file(pack, std::move(request), peer);
    };
    routes.push_back(std::move(route));
  }
  return routes;
}

}  // namespace hadal
