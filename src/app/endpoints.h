#pragma once
/// The endpoint table: every path this program answers. Router, /openapi.json and /docs are made
/// from it; a path without a row does not exist, a row without a scenario in tests/api fails the
/// tests.
#include <span>
#include <string>
#include <vector>

#include "app/web_pack.h"
#include "net/router.h"
#include "serve/handlers.h"
#include "serve/shapes.h"

namespace hadal {

struct EndpointRow {
  const char* method;
  const char* path;
  /// openai, responses, anthropic, deepseek, cohere, ollama, kserve, vllm, llama.cpp, hadal, web,
  /// websocket
  const char* dialect;
  const char* summary;
  Scope scope;
  size_t body_bytes_max;
  bool streams;  ///< can answer piece by piece
  /// Null for the rows that need more than the service: the page, the description, the socket.
  Handler handle;
  /// What goes in and out, for the description and for strict checks. Null: nothing to describe.
  const EndpointShape* shape = nullptr;
};

std::span<const EndpointRow> endpoint_rows();

/// Routes for all rows and for the files of `pack`. Both must outlive the server.
std::vector<Route> make_routes(Service& service, const WebPack& pack);

}  // namespace hadal
