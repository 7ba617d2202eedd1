/// Shapes of Anthropic's dialect.
#include "serve/dialects/anthropic.h"

#include "serve/shapes.h"

namespace hadal {
namespace {

constexpr FieldRow kError[] = {{"type", "'error'", kRequired},
                               {"error", "AnthropicErrorDetail", kRequired},
                               {"request_id", "string|null"}};
constexpr FieldRow kErrorDetail[] = {{"type", "string", kRequired},
                                     {"message", "string", kRequired}};
constexpr FieldRow kMessage[] = {{"role", "'user'|'assistant'|'system'", kRequired},
                                 {"content", "string|AnthropicBlock[]", kRequired}};
constexpr FieldRow kBlock[] = {{"type", "string", kRequired}};
constexpr FieldRow kTool[] = {
    {"type", "any"}, {"name", "string"}, {"description", "string"}, {"input_schema", "object"}};
constexpr FieldRow kToolChoice[] = {{"type", "'auto'|'any'|'tool'|'none'", kRequired},
                                    {"name", "string"},
                                    {"disable_parallel_tool_use", "boolean"}};
constexpr FieldRow kThinking[] = {
    {"type", "'enabled'|'adaptive'|'between_tools'|'disabled'", kRequired},
    {"budget_tokens", "integer"}};
constexpr FieldRow kOutputConfig[] = {
    {"effort", "'none'|'minimal'|'low'|'medium'|'high'|'xhigh'|'max'|'ultra'|''"}};
constexpr FieldRow kMetadata[] = {{"user_id", "string"}};
constexpr FieldRow kAnswer[] = {
    {"id", "string", kRequired},
    {"type", "'message'", kRequired},
    {"role", "'assistant'", kRequired},
    {"model", "string", kRequired},
    {"content", "AnthropicBlock[]", kRequired},
    {"stop_reason", "string|null", kRequired},
    {"stop_sequence", "string|null", kRequired},
    {"usage", "object", kRequired},
};
constexpr FieldRow kEvent[] = {{"type", "string", kRequired}};
constexpr FieldRow kCount[] = {{"input_tokens", "integer", kRequired}};

constexpr ObjectShape kObjects[] = {
    {"AnthropicError", kError},       {"AnthropicErrorDetail", kErrorDetail},
    {"AnthropicMessage", kMessage},   {"AnthropicBlock", kBlock},
    {"AnthropicTool", kTool},         {"AnthropicToolChoice", kToolChoice},
    {"AnthropicThinking", kThinking}, {"AnthropicOutputConfig", kOutputConfig},
    {"AnthropicMetadata", kMetadata}, {"AnthropicAnswer", kAnswer},
    {"AnthropicEvent", kEvent},       {"AnthropicCount", kCount},
};

constexpr FieldRow kFields[] = {
    {"model", "string"},
    {"messages", "AnthropicMessage[1..16384]", kRequired},
    {"system", "string|AnthropicBlock[]"},
    {"tools", "AnthropicTool[]"},
    {"tool_choice", "AnthropicToolChoice"},
    {"thinking", "AnthropicThinking"},
    {"output_config", "AnthropicOutputConfig"},
    {"metadata", "AnthropicMetadata"},
    {"cache_salt", "string"},
    {"user_id", "string"},
};
constexpr FieldRow kMessageFields[] = {{"stop_sequences", "string[0..16]"}};

}  // namespace

std::span<const ObjectShape> anthropic_objects() {
  return kObjects;
}

namespace shapes {

constinit const EndpointShape kMessages = {
    .fields = {kFields, kMessageFields},
    .params = {anthropic_params},
    .reply = "AnthropicAnswer",
    .event = "AnthropicEvent",
    .example = R"({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8})",
    .error = "AnthropicError",
    .refuse = anthropic_error_reply};
constinit const EndpointShape kCountMessageTokens = {
    .fields = {kFields},
    .reply = "AnthropicCount",
    .example = R"({"messages": [{"role": "user", "content": "Hello"}]})",
    .error = "AnthropicError",
    .refuse = anthropic_error_reply};

}  // namespace shapes
}  // namespace hadal
