#pragma once
/// The shapes of all endpoints (shape.h): one file of data per dialect in shapes/.
#include <span>

#include "serve/shape.h"

namespace hadal {

/// Objects that the shapes of a dialect name; each name occurs once in all of them.
std::span<const ObjectShape> hadal_objects();
std::span<const ObjectShape> openai_objects();
std::span<const ObjectShape> llama_objects();
std::span<const ObjectShape> anthropic_objects();
std::span<const ObjectShape> responses_objects();
std::span<const ObjectShape> ollama_objects();  ///< and KServe's

/// Every list above.
std::span<const std::span<const ObjectShape>> all_objects();

namespace shapes {

/// Members that every generating endpoint reads besides the table of parameters.
inline constexpr FieldRow kGenerationFields[] = {
    {"model", "string"},
    {"stop", "string|string[0..16]"},
    {"stop_token_ids", "integer(0..)[0..1024]"},
    {"logit_bias", "object"},
    {"cache_salt", "string"},
    {"user_id", "string"},
    {"service_tier", "'auto'|'default'|'flex'|'priority'"},
    {"stream_options", "StreamOptions"},
};
/// Members of a body with a conversation, but for its messages.
inline constexpr FieldRow kConversationFields[] = {
    {"tools", "object[]"},
    {"tool_choice", "'none'|'auto'|'required'|object"},
    {"parallel_tool_calls", "boolean"},
    {"thinking", "Thinking"},
    {"reasoning_effort", "'none'|'minimal'|'low'|'medium'|'high'|'xhigh'|'max'|'ultra'|''"},
    {"chat_template_kwargs", "object"},
    {"add_generation_prompt", "boolean"},
    {"continue_final_message", "boolean"},
};

extern const EndpointShape kHealth;
extern const EndpointShape kReady;
extern const EndpointShape kMetrics;
extern const EndpointShape kVersion;
extern const EndpointShape kOpenApi;
extern const EndpointShape kPage;  ///< any HTML page
extern const EndpointShape kGenerate;
extern const EndpointShape kTokenize;
extern const EndpointShape kDetokenize;

extern const EndpointShape kModels;
extern const EndpointShape kModel;
extern const EndpointShape kChatCompletions;
extern const EndpointShape kCompletions;
extern const EndpointShape kEmbeddings;
extern const EndpointShape kRerank;
extern const EndpointShape kScore;

extern const EndpointShape kLlamaCompletion;
extern const EndpointShape kLlamaInfill;
extern const EndpointShape kApplyTemplate;
extern const EndpointShape kProps;
extern const EndpointShape kSlots;
extern const EndpointShape kTokenizerInfo;
extern const EndpointShape kPing;

extern const EndpointShape kMessages;
extern const EndpointShape kCountMessageTokens;

extern const EndpointShape kResponses;
extern const EndpointShape kCountResponseTokens;
extern const EndpointShape kStoredResponse;
extern const EndpointShape kCancelledResponse;
extern const EndpointShape kDeletedResponse;
extern const EndpointShape kInputItems;

extern const EndpointShape kBalance;

extern const EndpointShape kLoadModel;
extern const EndpointShape kUnloadModel;

extern const EndpointShape kOllamaVersion;
extern const EndpointShape kOllamaModels;
extern const EndpointShape kOllamaShow;
extern const EndpointShape kOllamaChat;
extern const EndpointShape kOllamaGenerate;
extern const EndpointShape kOllamaEmbed;
extern const EndpointShape kOllamaEmbeddings;
extern const EndpointShape kOllamaPull;
extern const EndpointShape kOllamaCopy;
extern const EndpointShape kOllamaDelete;
extern const EndpointShape kOllamaNotThere;

extern const EndpointShape kKserve;     ///< any object
extern const EndpointShape kKserveAny;  ///< any JSON
extern const EndpointShape kKserveInfer;
extern const EndpointShape kKserveGenerate;
extern const EndpointShape kKserveStream;

}  // namespace shapes
}  // namespace hadal
