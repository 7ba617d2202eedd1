#include "app/endpoints.h"

#include <string_view>

#include "base/json.h"
#include "base/limits.h"

namespace hadal {
namespace {

constexpr size_t kBody = limits::kHttpBodyBytes;

constexpr EndpointRow kRows[] = {
    {"GET", "/", "web", "The chat page", Scope::kPublic, 0, false, nullptr},
    {"GET", "/health", "hadal", "The process lives; counters", Scope::kPublic, 0, false,
     &Service::health},
    {"GET", "/ready", "hadal", "200 when a model is loaded and the server is not going down",
     Scope::kPublic, 0, false, &Service::ready},
    {"GET", "/metrics", "hadal", "Counters for Prometheus", Scope::kApi, 0, false,
     &Service::metrics},
    {"GET", "/version", "hadal", "Name and version", Scope::kPublic, 0, false, &Service::version},
    {"GET", "/openapi.json", "hadal", "This description", Scope::kPublic, 0, false, nullptr},
    {"GET", "/v1/models", "openai", "Models served here", Scope::kApi, 0, false, &Service::models},
    {"GET", "/models", "openai", "Models served here", Scope::kApi, 0, false, &Service::models},
    {"GET", "/v1/models/{tail}", "openai", "One model", Scope::kApi, 0, false, &Service::model},
    {"GET", "/models/{tail}", "openai", "One model", Scope::kApi, 0, false, &Service::model},
    {"POST", "/v1/chat/completions", "openai", "Answer a conversation", Scope::kApi, kBody, true,
     &Service::chat_completions},
    {"POST", "/chat/completions", "openai", "Answer a conversation", Scope::kApi, kBody, true,
     &Service::chat_completions},
    {"POST", "/v1/completions", "openai", "Continue a text", Scope::kApi, kBody, true,
     &Service::completions},
    {"POST", "/completions", "openai", "Continue a text", Scope::kApi, kBody, true,
     &Service::completions},
    {"POST", "/generate", "hadal", "Continue a text, plainly", Scope::kApi, kBody, true,
     &Service::generate},
    {"GET", "/stream", "websocket", "Prompts in, tokens out, over WebSocket", Scope::kApi, 0, true,
     nullptr},
    {"POST", "/tokenize", "hadal", "Text or messages to token ids", Scope::kApi, kBody, false,
     &Service::tokenize},
    {"POST", "/detokenize", "hadal", "Token ids to text", Scope::kApi, kBody, false,
     &Service::detokenize},
};

Route make_route(const EndpointRow& row) {
  Route route;
  route.method = row.method;
  route.path = row.path;
  route.scope = row.scope;
  route.body_bytes_max = row.body_bytes_max;
  return route;
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
      route.handle = [&service, handle = row.handle](HttpRequest&& request, PeerRef peer) {
        (service.*handle)(std::move(request), peer);
      };
    } else if (path == "/openapi.json") {
      route.handle = [](HttpRequest&&, PeerRef peer) { peer.reply({.body = openapi_document()}); };
    } else if (path == "/stream") {
      route.open_socket = [&service](PeerRef peer) { return service.stream_socket(peer); };
    } else {
      route.handle = [&pack](HttpRequest&& request, PeerRef peer) {
        serve_file(pack, std::move(request), peer);
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

std::string openapi_document() {
  json::object paths;
  for (const EndpointRow& row : kRows) {
    std::string path = row.path;
    json::object operation;
    operation["summary"] = row.summary;
    operation["tags"] = json::array{row.dialect};
    json::object answers;
    json::object content;
    content["application/json"] = json::object{};
    if (row.streams) content["text/event-stream"] = json::object{};
    answers["200"] = json::object{{"description", "OK"}, {"content", std::move(content)}};
    operation["responses"] = std::move(answers);
    if (row.body_bytes_max > 0) {
      operation["requestBody"] = json::object{
          {"required", true}, {"content", json::object{{"application/json", json::object{}}}}};
    }
    if (row.scope == Scope::kApi) {
      operation["security"] = json::array{json::object{{"bearer", json::array{}}}};
    }
    if (path.ends_with("{tail}")) {
      path = path.substr(0, path.size() - 6) + "{model}";
      operation["parameters"] =
          json::array{json::object{{"name", "model"},
                                   {"in", "path"},
                                   {"required", true},
                                   {"schema", json::object{{"type", "string"}}}}};
    }
    json::object& item =
        paths[path].is_object() ? paths[path].get_object() : paths[path].emplace_object();
    item[std::string_view(row.method) == "GET" ? "get" : "post"] = std::move(operation);
  }
  json::object document;
  document["openapi"] = "3.1.0";
  document["info"] = json::object{{"title", "Hadal"}, {"version", HADAL_VERSION}};
  document["paths"] = std::move(paths);
  document["components"] = json::object{
      {"securitySchemes",
       json::object{{"bearer", json::object{{"type", "http"}, {"scheme", "bearer"}}}}}};
  return to_json(document);
}

}  // namespace hadal
