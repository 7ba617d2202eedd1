/// Shapes of this server's own endpoints and of those that only tell how it does.
#include "serve/metrics.h"
#include "serve/shapes.h"

namespace hadal {
namespace {

constexpr FieldRow kHealthReply[] = {{"status", "'ok'", kRequired}, {"model", "string"},
                                     {"running", "integer"},        {"waiting", "integer"},
                                     {"queue", "object"},           {"kv", "object"}};
constexpr FieldRow kReadyReply[] = {{"status", "'ready'|'loading'|'draining'", kRequired}};
constexpr FieldRow kVersionReply[] = {{"name", "'hadal'", kRequired},
                                      {"version", "string", kRequired}};

constexpr FieldRow kPlainReply[] = {
    {"text", "string", kRequired},
    {"reasoning", "string"},
    {"texts", "string[]"},
    {"tool_calls", "ToolCall[]"},
    {"finish_reason", "string", kRequired},
    {"usage", "Usage", kRequired},
    {"timings", "PlainTimings", kRequired},
};
constexpr FieldRow kPlainTimings[] = {{"queue_ms", "number", kRequired},
                                      {"prefill_ms", "number", kRequired},
                                      {"decode_ms", "number", kRequired}};
constexpr FieldRow kPlainEvent[] = {
    {"index", "integer"},  {"token", "integer"},
    {"text", "string"},    {"reasoning", "true"},
    {"tokens", "integer"}, {"tool_calls", "ToolCall[]"},
    {"done", "true"},      {"finish_reason", "string"},
    {"usage", "Usage"},    {"timings", "PlainTimings"},
};

constexpr FieldRow kTokensReply[] = {{"tokens", "integer[]|TokenPiece[]", kRequired},
                                     {"count", "integer", kRequired},
                                     {"max_model_len", "integer", kRequired},
                                     {"token_strs", "string[]"}};
constexpr FieldRow kTokenPiece[] = {{"id", "integer", kRequired},
                                    {"piece", "string|integer[]", kRequired}};
constexpr FieldRow kTextReply[] = {{"content", "string", kRequired},
                                   {"prompt", "string", kRequired}};

constexpr ObjectShape kObjects[] = {
    {"Health", kHealthReply},     {"Ready", kReadyReply},      {"Version", kVersionReply},
    {"PlainAnswer", kPlainReply}, {"PlainEvent", kPlainEvent}, {"PlainTimings", kPlainTimings},
    {"Tokens", kTokensReply},     {"TokenPiece", kTokenPiece}, {"TextOfTokens", kTextReply},
};

constexpr FieldRow kGenerateFields[] = {{"prompt", "string"}, {"messages", "Message[1..16384]"}};
constexpr FieldRow kTokenizeFields[] = {
    {"model", "string"},
    {"content", "string"},
    {"prompt", "string"},
    {"messages", "Message[1..16384]"},
    {"add_special", "boolean"},
    {"add_special_tokens", "boolean"},
    {"parse_special", "boolean"},
    {"with_pieces", "boolean"},
    {"return_token_strs", "boolean"},
};
constexpr FieldRow kDetokenizeFields[] = {{"model", "string"},
                                          {"tokens", "integer(0..)[]", kRequired}};

constexpr FieldRow kLoadFields[] = {{"model", "string", kRequired}, {"keep_alive", "any"}};
constexpr FieldRow kUnloadFields[] = {{"model", "string", kRequired}};

}  // namespace

std::span<const ObjectShape> hadal_objects() {
  return kObjects;
}

std::span<const std::span<const ObjectShape>> all_objects() {
  static const std::span<const ObjectShape> lists[] = {openai_objects(),    hadal_objects(),
                                                       llama_objects(),     anthropic_objects(),
                                                       responses_objects(), ollama_objects()};
  return lists;
}

namespace shapes {

constinit const EndpointShape kHealth = {.reply = "Health"};
constinit const EndpointShape kReady = {.reply = "Ready"};
constinit const EndpointShape kMetrics = {.reply = "string", .reply_type = kMetricsContentType};
constinit const EndpointShape kVersion = {.reply = "Version"};
constinit const EndpointShape kOpenApi = {.reply = "object"};
constinit const EndpointShape kPage = {.reply = "string", .reply_type = "text/html; charset=utf-8"};
constinit const EndpointShape kGenerate = {
    .fields = {kGenerateFields, kConversationFields, kGenerationFields},
    .params = {common_params},
    .reply = "PlainAnswer",
    .event = "PlainEvent",
    .example = R"({"prompt": "1, 2, 3,", "max_tokens": 8})"};
constinit const EndpointShape kTokenize = {.fields = {kTokenizeFields, kConversationFields},
                                           .reply = "Tokens",
                                           .example = R"({"content": "Hello"})"};
constinit const EndpointShape kDetokenize = {
    .fields = {kDetokenizeFields}, .reply = "TextOfTokens", .example = R"({"tokens": [1, 2, 3]})"};

constinit const EndpointShape kLoadModel = {
    .fields = {kLoadFields}, .reply = "Model", .example = R"({"model": "MODEL"})", .creates = true};
constinit const EndpointShape kUnloadModel = {
    .fields = {kUnloadFields}, .reply = "Model", .example = R"({"model": "MODEL"})"};

}  // namespace shapes
}  // namespace hadal
