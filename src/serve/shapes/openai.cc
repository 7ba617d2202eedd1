/// Shapes of the OpenAI endpoints, and of DeepSeek's own.
#include "serve/shapes.h"

namespace hadal {
namespace {

constexpr FieldRow kError[] = {{"message", "string", kRequired},
                               {"type", "string", kRequired},
                               {"param", "string|null", kRequired},
                               {"code", "string|null", kRequired}};
constexpr FieldRow kErrorReply[] = {{"error", "ErrorDetail", kRequired}};

constexpr FieldRow kStreamOptions[] = {{"include_usage", "boolean"}};
constexpr FieldRow kThinking[] = {{"type", "'enabled'|'disabled'", kRequired}};

constexpr FieldRow kMessage[] = {
    {"role", "'system'|'developer'|'user'|'assistant'|'tool'|'latest_reminder'", kRequired},
    {"content", "string|TextPart[]"},
    {"reasoning_content", "string"},
    {"name", "string"},
    {"tool_call_id", "string"},
    {"tool_calls", "ToolCall[]"},
    {"prefix", "boolean"},
};
constexpr FieldRow kTextPart[] = {{"type", "'text'", kRequired}, {"text", "string", kRequired}};
constexpr FieldRow kToolCall[] = {{"id", "string"},
                                  {"type", "'function'"},
                                  {"index", "integer"},
                                  {"function", "FunctionCall", kRequired}};
constexpr FieldRow kFunctionCall[] = {{"name", "string", kRequired},
                                      {"arguments", "string|object"}};

constexpr FieldRow kUsage[] = {
    {"prompt_tokens", "integer", kRequired},
    {"completion_tokens", "integer", kRequired},
    {"total_tokens", "integer", kRequired},
    {"prompt_cache_hit_tokens", "integer", kRequired},
    {"prompt_cache_miss_tokens", "integer", kRequired},
    {"prompt_tokens_details", "object", kRequired},
    {"completion_tokens_details", "object", kRequired},
};

constexpr FieldRow kChatReply[] = {
    {"id", "string", kRequired},       {"object", "'chat.completion'", kRequired},
    {"created", "integer", kRequired}, {"model", "string", kRequired},
    {"system_fingerprint", "string"},  {"choices", "ChatChoice[]", kRequired},
    {"usage", "Usage", kRequired},
};
constexpr FieldRow kChatChoice[] = {
    {"index", "integer", kRequired},
    {"message", "AnswerMessage", kRequired},
    {"logprobs", "object|null", kRequired},
    {"finish_reason", "'stop'|'length'|'tool_calls'", kRequired},
};
constexpr FieldRow kAnswerMessage[] = {
    {"role", "'assistant'", kRequired}, {"content", "string|null", kRequired},
    {"reasoning_content", "string"},    {"refusal", "null", kRequired},
    {"tool_calls", "ToolCall[]"},
};
constexpr FieldRow kChatChunk[] = {
    {"id", "string", kRequired},           {"object", "'chat.completion.chunk'", kRequired},
    {"created", "integer", kRequired},     {"model", "string", kRequired},
    {"choices", "ChatDelta[]", kRequired}, {"usage", "Usage"},
};
constexpr FieldRow kChatDelta[] = {
    {"index", "integer", kRequired},
    {"delta", "object", kRequired},
    {"logprobs", "object|null", kRequired},
    {"finish_reason", "'stop'|'length'|'tool_calls'|null", kRequired},
};

constexpr FieldRow kCompletionReply[] = {
    {"id", "string", kRequired},
    {"object", "'text_completion'", kRequired},
    {"created", "integer", kRequired},
    {"model", "string", kRequired},
    {"system_fingerprint", "string"},
    {"choices", "CompletionChoice[]", kRequired},
    {"usage", "Usage"},
};
constexpr FieldRow kCompletionChoice[] = {
    {"index", "integer", kRequired},
    {"text", "string", kRequired},
    {"logprobs", "object|null", kRequired},
    {"finish_reason", "'stop'|'length'|null", kRequired},
};

constexpr FieldRow kModelEntry[] = {
    {"id", "string", kRequired},
    {"object", "'model'", kRequired},
    {"created", "integer", kRequired},
    {"owned_by", "string", kRequired},
    {"max_model_len", "integer"},
    {"context_length", "integer"},
    {"state", "string"},
    {"meta", "object"},
};
constexpr FieldRow kModelList[] = {{"object", "'list'", kRequired}, {"data", "Model[]", kRequired}};

constexpr FieldRow kBalance[] = {{"is_available", "boolean", kRequired},
                                 {"balance_infos", "object[]", kRequired}};

constexpr ObjectShape kObjects[] = {
    {"Error", kErrorReply},
    {"ErrorDetail", kError},
    {"StreamOptions", kStreamOptions},
    {"Thinking", kThinking},
    {"Message", kMessage},
    {"TextPart", kTextPart},
    {"ToolCall", kToolCall},
    {"FunctionCall", kFunctionCall},
    {"Usage", kUsage},
    {"ChatCompletion", kChatReply},
    {"ChatChoice", kChatChoice},
    {"AnswerMessage", kAnswerMessage},
    {"ChatChunk", kChatChunk},
    {"ChatDelta", kChatDelta},
    {"Completion", kCompletionReply},
    {"CompletionChoice", kCompletionChoice},
    {"Model", kModelEntry},
    {"ModelList", kModelList},
    {"Balance", kBalance},
};

constexpr FieldRow kChatFields[] = {{"messages", "Message[1..16384]", kRequired},
                                    {"response_format", "object"}};
constexpr FieldRow kCompletionFields[] = {
    {"prompt", "string|string[]|integer(0..)[]|integer(0..)[][]", kRequired}, {"suffix", "string"}};

}  // namespace

std::span<const ObjectShape> openai_objects() {
  return kObjects;
}

namespace shapes {

constinit const EndpointShape kModels = {.reply = "ModelList"};
constinit const EndpointShape kModel = {.reply = "Model"};
constinit const EndpointShape kBalance = {.reply = "Balance"};
constinit const EndpointShape kChatCompletions = {
    .fields = {kChatFields, kConversationFields, kGenerationFields},
    .params = {common_params, chat_params},
    .reply = "ChatCompletion",
    .event = "ChatChunk",
    .example = R"({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8})"};
constinit const EndpointShape kCompletions = {
    .fields = {kCompletionFields, kGenerationFields},
    .params = {common_params, completion_params},
    .reply = "Completion",
    .event = "Completion",
    .example = R"({"prompt": "1, 2, 3,", "max_tokens": 8})"};

constexpr FieldRow kEmbeddingFields[] = {{"model", "string"},
                                         {"input", "any", kRequired},
                                         {"encoding_format", "'float'|'base64'"},
                                         {"dimensions", "any"},
                                         {"truncate", "boolean"}};
constinit const EndpointShape kEmbeddings = {.fields = {kEmbeddingFields},
                                             .example = R"({"input": "Hello"})"};
constexpr FieldRow kRerankFields[] = {{"model", "string"},
                                      {"query", "any", kRequired},
                                      {"documents", "any", kRequired},
                                      {"top_n", "any"},
                                      {"return_documents", "any"}};
constinit const EndpointShape kRerank = {
    .fields = {kRerankFields}, .example = R"({"query": "sea", "documents": ["water", "sand"]})"};
constexpr FieldRow kScoreFields[] = {{"model", "string"},
                                     {"text_1", "any", kRequired},
                                     {"text_2", "any", kRequired},
                                     {"truncate_prompt_tokens", "any"}};
constinit const EndpointShape kScore = {.fields = {kScoreFields},
                                        .example = R"({"text_1": "sea", "text_2": ["water"]})"};

}  // namespace shapes
}  // namespace hadal
