/// Shapes of Ollama's dialect and of KServe's, which say no in the same words.
#include "serve/dialects/ollama.h"

#include "serve/shapes.h"

namespace hadal {
namespace {

constexpr FieldRow kError[] = {{"error", "string", kRequired}};
constexpr FieldRow kVersionReply[] = {{"version", "string", kRequired}};
constexpr FieldRow kModels[] = {{"models", "object[]", kRequired}};
constexpr FieldRow kAnswer[] = {
    {"model", "string", kRequired}, {"created_at", "string", kRequired},
    {"done", "boolean", kRequired}, {"done_reason", "string"},
    {"message", "object"},          {"response", "string"},
    {"logprobs", "object[]"},       {"total_duration", "integer"},
    {"eval_count", "integer"},
};
constexpr FieldRow kVectors[] = {{"model", "string", kRequired},
                                 {"embeddings", "number[][]", kRequired},
                                 {"total_duration", "integer"},
                                 {"load_duration", "integer"},
                                 {"prompt_eval_count", "integer"}};
constexpr FieldRow kVector[] = {{"embedding", "number[]", kRequired}};
constexpr FieldRow kStatus[] = {{"status", "string"},     {"error", "string"},
                                {"digest", "string"},     {"total", "integer"},
                                {"completed", "integer"}, {"model", "string"}};
constexpr FieldRow kTensors[] = {
    {"model_name", "string"}, {"model_version", "string"}, {"outputs", "object[]", kRequired}};
constexpr FieldRow kText[] = {
    {"model_name", "string"}, {"model_version", "string"}, {"text_output", "string", kRequired}};
constexpr FieldRow kOptions[] = {{"num_predict", "integer"},
                                 {"temperature", "number(0..100)"},
                                 {"top_k", "integer(-1..2147483647)"},
                                 {"top_p", "number(0..1)"},
                                 {"seed", "integer"},
                                 {"stop", "string|string[0..16]"}};

constexpr ObjectShape kObjects[] = {
    {"PlainError", kError},    {"OllamaVersion", kVersionReply}, {"OllamaModels", kModels},
    {"OllamaAnswer", kAnswer}, {"OllamaOptions", kOptions},      {"OllamaVectors", kVectors},
    {"OllamaVector", kVector}, {"OllamaStatus", kStatus},        {"KserveTensors", kTensors},
    {"KserveText", kText},
};

constexpr FieldRow kShowFields[] = {{"model", "string"}, {"name", "any"}, {"verbose", "any"}};
constexpr FieldRow kCommonFields[] = {
    {"model", "string", kRequired}, {"stream", "boolean"},
    {"options", "OllamaOptions"},   {"think", "boolean|'low'|'medium'|'high'"},
    {"format", "''|'json'|object"}, {"keep_alive", "any"},
    {"cache_salt", "string"},       {"priority", "integer(-2147483648..2147483647)"},
    {"logprobs", "boolean"},        {"top_logprobs", "integer(0..20)"},
};
constexpr FieldRow kChatFields[] = {{"messages", "any"}, {"tools", "any"}};
constexpr FieldRow kGenerateFields[] = {
    {"prompt", "string"}, {"suffix", "any"},   {"system", "any"}, {"raw", "boolean"},
    {"images", "any"},    {"template", "any"}, {"context", "any"}};

constexpr FieldRow kEmbedFields[] = {
    {"model", "string", kRequired}, {"input", "any"},   {"truncate", "boolean"},
    {"dimensions", "any"},          {"options", "any"}, {"keep_alive", "any"}};
constexpr FieldRow kEmbeddingsFields[] = {{"model", "string", kRequired},
                                          {"prompt", "string"},
                                          {"options", "any"},
                                          {"keep_alive", "any"}};
constexpr FieldRow kPullFields[] = {{"model", "string"}, {"name", "any"},     {"stream", "boolean"},
                                    {"insecure", "any"}, {"username", "any"}, {"password", "any"}};
constexpr FieldRow kCopyFields[] = {{"source", "string", kRequired},
                                    {"destination", "string", kRequired}};
constexpr FieldRow kDeleteFields[] = {{"model", "string"}, {"name", "any"}};

constexpr FieldRow kInferFields[] = {
    {"id", "any"}, {"inputs", "object[]", kRequired}, {"outputs", "any"}, {"parameters", "object"}};
constexpr FieldRow kTextFields[] = {
    {"id", "any"}, {"text_input", "string", kRequired}, {"parameters", "object"}};

}  // namespace

std::span<const ObjectShape> ollama_objects() {
  return kObjects;
}

namespace shapes {

constinit const EndpointShape kOllamaVersion = {.reply = "OllamaVersion"};
constinit const EndpointShape kOllamaModels = {.reply = "OllamaModels"};
constinit const EndpointShape kOllamaShow = {.fields = {kShowFields},
                                             .example = R"({"model": "MODEL"})",
                                             .error = "PlainError",
                                             .refuse = plain_error_reply};
constinit const EndpointShape kOllamaChat = {
    .fields = {kCommonFields, kChatFields},
    .reply = "OllamaAnswer",
    .event = "OllamaAnswer",
    .event_type = kOllamaStream,
    .example = R"({"model": "MODEL", "messages": [{"role": "user", "content": "Hello"}],)"
               R"( "options": {"num_predict": 8}})",
    .error = "PlainError",
    .refuse = plain_error_reply};
constinit const EndpointShape kOllamaGenerate = {
    .fields = {kCommonFields, kGenerateFields},
    .reply = "OllamaAnswer",
    .event = "OllamaAnswer",
    .event_type = kOllamaStream,
    .example = R"({"model": "MODEL", "prompt": "1, 2, 3,", "options": {"num_predict": 8}})",
    .error = "PlainError",
    .refuse = plain_error_reply};

constinit const EndpointShape kOllamaEmbed = {.fields = {kEmbedFields},
                                              .reply = "OllamaVectors",
                                              .example = R"({"model": "MODEL", "input": "Hello"})",
                                              .error = "PlainError",
                                              .refuse = plain_error_reply};
constinit const EndpointShape kOllamaEmbeddings = {
    .fields = {kEmbeddingsFields},
    .reply = "OllamaVector",
    .example = R"({"model": "MODEL", "prompt": "Hello"})",
    .error = "PlainError",
    .refuse = plain_error_reply};
constinit const EndpointShape kOllamaPull = {.fields = {kPullFields},
                                             .reply = "OllamaStatus",
                                             .event = "OllamaStatus",
                                             .event_type = kOllamaStream,
                                             .example = R"({"model": "MODEL"})",
                                             .error = "PlainError",
                                             .refuse = plain_error_reply};
constinit const EndpointShape kOllamaCopy = {
    .fields = {kCopyFields},
    .reply_type = "",
    .example = R"({"source": "MODEL", "destination": "other"})",
    .error = "PlainError",
    .refuse = plain_error_reply};
constinit const EndpointShape kOllamaDelete = {.fields = {kDeleteFields},
                                               .reply_type = "",
                                               .example = R"({"model": "MODEL"})",
                                               .error = "PlainError",
                                               .refuse = plain_error_reply};
constinit const EndpointShape kOllamaNotThere = {
    .reply = "any", .error = "PlainError", .refuse = plain_error_reply};

constinit const EndpointShape kKserve = {.error = "PlainError", .refuse = plain_error_reply};
constinit const EndpointShape kKserveAny = {
    .reply = "any", .error = "PlainError", .refuse = plain_error_reply};
constinit const EndpointShape kKserveInfer = {
    .fields = {kInferFields},
    .reply = "KserveTensors",
    .example = R"({"inputs": [{"name": "text_input", "shape": [1, 1], "datatype": "BYTES",)"
               R"( "data": ["1, 2, 3,"]}], "parameters": {"max_tokens": 8}})",
    .error = "PlainError",
    .refuse = plain_error_reply};
constinit const EndpointShape kKserveGenerate = {
    .fields = {kTextFields},
    .reply = "KserveText",
    .example = R"({"text_input": "1, 2, 3,", "parameters": {"max_tokens": 8}})",
    .error = "PlainError",
    .refuse = plain_error_reply};
constinit const EndpointShape kKserveStream = {
    .fields = {kTextFields},
    .reply = "KserveText",
    .event = "KserveText",
    .example = R"({"text_input": "1, 2, 3,", "parameters": {"max_tokens": 8}})",
    .error = "PlainError",
    .refuse = plain_error_reply};

}  // namespace shapes
}  // namespace hadal
