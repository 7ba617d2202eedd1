/// Shapes of the Responses API.
#include "serve/dialects/responses.h"

#include "serve/shapes.h"

namespace hadal {
namespace {

constexpr FieldRow kResponse[] = {
    {"id", "string", kRequired},
    {"object", "'response'", kRequired},
    {"created_at", "integer", kRequired},
    {"status", "'queued'|'in_progress'|'completed'|'incomplete'|'failed'|'cancelled'", kRequired},
    {"background", "boolean", kRequired},
    {"error", "object|null", kRequired},
    {"incomplete_details", "object|null", kRequired},
    {"model", "string", kRequired},
    {"output", "object[]", kRequired},
    {"usage", "object|null", kRequired},
};
constexpr FieldRow kEvent[] = {{"type", "string", kRequired},
                               {"sequence_number", "integer", kRequired}};
constexpr FieldRow kReasoning[] = {
    {"effort", "'none'|'minimal'|'low'|'medium'|'high'|'xhigh'|'max'|'ultra'|''"},
    {"summary", "string"}};
constexpr FieldRow kCount[] = {{"object", "'response.input_tokens'", kRequired},
                               {"input_tokens", "integer", kRequired}};
constexpr FieldRow kDeleted[] = {{"id", "string", kRequired},
                                 {"object", "'response'", kRequired},
                                 {"deleted", "true", kRequired}};
constexpr FieldRow kItems[] = {{"object", "'list'", kRequired},
                               {"data", "object[]", kRequired},
                               {"first_id", "string|null", kRequired},
                               {"last_id", "string|null", kRequired},
                               {"has_more", "boolean", kRequired}};

constexpr ObjectShape kObjects[] = {
    {"Response", kResponse},   {"ResponseEvent", kEvent},     {"Reasoning", kReasoning},
    {"ResponseCount", kCount}, {"DeletedResponse", kDeleted}, {"ItemList", kItems},
};

constexpr FieldRow kFields[] = {
    {"input", "string|object[]", kRequired},
    {"instructions", "string"},
    {"previous_response_id", "string"},
    {"tools", "object[]"},
    {"tool_choice", "'none'|'auto'|'required'|object"},
    {"parallel_tool_calls", "boolean"},
    {"reasoning", "Reasoning"},
    {"text", "object"},
    {"store", "boolean"},
    {"background", "boolean"},
    {"conversation", "null"},
    {"metadata", "object"},
    {"include", "string[]"},
    {"max_tool_calls", "any"},
    {"prompt_cache_key", "any"},
    {"safety_identifier", "any"},
    {"truncation", "any"},
    {"user", "any"},
};

/// Whose answer it is, besides the credential.
constexpr FieldRow kOwnerQuery[] = {{"cache_salt", "string"}, {"user_id", "string"}};
constexpr FieldRow kFetchQuery[] = {{"stream", "boolean"},
                                    {"starting_after", "integer"},
                                    {"cache_salt", "string"},
                                    {"user_id", "string"}};
constexpr FieldRow kItemsQuery[] = {{"limit", "integer(1..100)"},
                                    {"order", "'asc'|'desc'"},
                                    {"after", "string"},
                                    {"cache_salt", "string"},
                                    {"user_id", "string"}};

}  // namespace

std::span<const ObjectShape> responses_objects() {
  return kObjects;
}

namespace shapes {

constinit const EndpointShape kResponses = {
    .fields = {kFields, kGenerationFields},
    .params = {responses_params},
    .reply = "Response",
    .event = "ResponseEvent",
    .example = R"({"input": "Hello", "max_output_tokens": 8})",
    .creates = true};
constinit const EndpointShape kCountResponseTokens = {.fields = {kFields, kGenerationFields},
                                                      .params = {responses_params},
                                                      .reply = "ResponseCount",
                                                      .example = R"({"input": "Hello"})"};
constinit const EndpointShape kStoredResponse = {
    .query = kFetchQuery, .reply = "Response", .event = "ResponseEvent"};
constinit const EndpointShape kCancelledResponse = {.query = kOwnerQuery, .reply = "Response"};
constinit const EndpointShape kDeletedResponse = {.query = kOwnerQuery, .reply = "DeletedResponse"};
constinit const EndpointShape kInputItems = {.query = kItemsQuery, .reply = "ItemList"};

}  // namespace shapes
}  // namespace hadal
