#include "app/openapi.h"

#include "app/endpoints.h"
#include "base/json.h"

namespace hadal {
namespace {

/// Statuses that an endpoint can answer with besides 200, and for which rows.
struct ErrorRow {
  const char* status;
  const char* text;
  bool (*applies)(const EndpointRow& row);
};

bool always(const EndpointRow&) {
  return true;
}
bool needs_key(const EndpointRow& row) {
  return row.scope == Scope::kApi;
}
bool takes_body(const EndpointRow& row) {
  return row.body_bytes_max > 0;
}
bool names_model(const EndpointRow& row) {
  return takes_body(row) || std::string_view(row.path).find('{') != std::string_view::npos;
}
bool creates(const EndpointRow& row) {
  return row.shape != nullptr && row.shape->creates;
}

constexpr ErrorRow kErrors[] = {
    {"400", "The request is malformed; `param` names the field at fault", always},
    {"401", "The API key is missing or wrong", needs_key},
    {"403", "A page of another site may not call this server", takes_body},
    {"404", "There is no such model", names_model},
    {"409", "The first request with this Idempotency-Key is still running", creates},
    {"413", "The body is too large", takes_body},
    {"415", "The body has a Content-Encoding", takes_body},
    {"421", "The Host header names another server", always},
    {"422", "This Idempotency-Key was used for a different request", creates},
    {"429", "Too many requests wait; Retry-After says when to come again",
     [](const EndpointRow& row) { return row.streams; }},
    {"500", "The request failed inside the server", takes_body},
    {"501", "This server has no such thing",
     [](const EndpointRow& row) { return row.handle == handlers::ollama_not_there; }},
    {"503", "Loading, shutting down, or the wait was too long; see Retry-After", needs_key},
    {"507", "There is no room for the model",
     [](const EndpointRow& row) { return row.handle == handlers::ollama_pull; }},
};

json::object content_of(std::string_view type, json::value schema) {
  json::object content;
  content[type] = json::object{{"schema", std::move(schema)}};
  return content;
}

json::object answers_of(const EndpointRow& row) {
  json::object good{{"description", "OK"}};
  json::object answers;
  if (std::string_view(row.dialect) == "websocket") {
    answers["101"] = json::object{{"description", "A WebSocket"}};
    answers["426"] = json::object{{"description", "The request asks for no WebSocket"}};
    return answers;
  }
  if (row.shape == nullptr) {
    answers["200"] = std::move(good);
    return answers;
  }
  const EndpointShape& shape = *row.shape;
  json::object content;
  if (!shape.reply_type.empty()) {
    content = content_of(shape.reply_type, schema_of(shape.reply));
  }
  if (!shape.event.empty()) {
    // OpenAPI 3.1 cannot describe one event of a stream.
    content[shape.event_type] = json::object{{"schema", json::object{{"type", "string"}}},
                                             {"x-event-schema", schema_of(shape.event)}};
  }
  if (!content.empty()) good["content"] = std::move(content);
  answers["200"] = std::move(good);
  for (const ErrorRow& error : kErrors) {
    if (!error.applies(row)) continue;
    answers[error.status] =
        json::object{{"description", error.text},
                     {"content", content_of("application/json", schema_of(shape.error))}};
  }
  return answers;
}

json::value parameter(std::string_view place, std::string_view name, bool required,
                      json::value schema) {
  return json::object{
      {"name", name}, {"in", place}, {"required", required}, {"schema", std::move(schema)}};
}

/// "/v1/models/{tail}" -> "/v1/models/{model}", and what stands in braces.
std::string described_path(std::string_view pattern, json::array& parameters) {
  std::string out;
  while (!pattern.empty()) {
    const size_t open = std::min(pattern.find('{'), pattern.size());
    out += pattern.substr(0, open);
    pattern.remove_prefix(open);
    if (pattern.empty()) break;
    const size_t close = pattern.find('}');
    CHECK(close != std::string_view::npos);
    std::string_view name = pattern.substr(1, close - 1);
    if (name == "tail") name = "model";
    out += "{" + std::string(name) + "}";
    parameters.push_back(
        parameter("path", name, true, json::object{{"type", "string"}, {"minLength", 1}}));
    pattern.remove_prefix(close + 1);
  }
  return out;
}

json::object body_of(const EndpointShape& shape) {
  json::object media{{"schema", schema_of_body(shape)}};
  if (!shape.example.empty()) {
    auto example = parse_json(shape.example);
    CHECK(example.ok());
    media["example"] = std::move(example).value();
  }
  return {{"required", true}, {"content", json::object{{"application/json", std::move(media)}}}};
}

std::string operation_id(const EndpointRow& row) {
  std::string out = ascii_lower(row.method);
  for (const char* c = row.path; *c != '\0'; ++c) {
    const bool plain = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9');
    if (plain) {
      out.push_back(*c);
    } else if (out.back() != '_') {
      out.push_back('_');
    }
  }
  return out;
}

json::object operation_of(const EndpointRow& row, json::array parameters) {
  json::object operation{{"operationId", operation_id(row)},
                         {"summary", row.summary},
                         {"tags", json::array{row.dialect}},
                         {"responses", answers_of(row)}};
  if (row.shape != nullptr) {
    for (const FieldRow& field : row.shape->query) {
      parameters.push_back(parameter("query", field.name, field.required, schema_of(field.type)));
    }
  }
  if (!parameters.empty()) operation["parameters"] = std::move(parameters);
  if (row.shape != nullptr && has_body(*row.shape)) operation["requestBody"] = body_of(*row.shape);
  operation["security"] = row.scope == Scope::kApi
                              ? json::array{json::object{{"bearer", json::array{}}}}
                              : json::array{};
  return operation;
}

}  // namespace

std::string openapi_document() {
  json::object paths;
  for (const EndpointRow& row : endpoint_rows()) {
    json::array parameters;
    const std::string path = described_path(row.path, parameters);
    json::object& item =
        paths[path].is_object() ? paths[path].get_object() : paths[path].emplace_object();
    item[ascii_lower(row.method)] = operation_of(row, std::move(parameters));
  }
  json::object schemas;
  for (const auto& list : all_objects()) {
    for (const ObjectShape& object : list) schemas[object.name] = schema_of(object);
  }
  json::object document;
  document["openapi"] = "3.1.0";
  document["info"] = json::object{{"title", "Hadal"}, {"version", HADAL_VERSION}};
  document["paths"] = std::move(paths);
  document["components"] = json::object{
      {"schemas", std::move(schemas)},
      {"securitySchemes",
       json::object{{"bearer", json::object{{"type", "http"}, {"scheme", "bearer"}}}}}};
  return to_json(document);
}

}  // namespace hadal
