#pragma once
/// The endpoint table: every path this program answers. Router and /openapi.json are made from it;
/// a path without a row does not exist, a row without a scenario in tests/api fails the tests.
#include <span>
#include <string>
#include <vector>

#include "app/web_pack.h"
#include "net/router.h"
#include "serve/service.h"

namespace hadal {

struct EndpointRow {
  const char* method;
  const char* path;
  const char* dialect;  ///< openai, hadal, web, websocket
  const char* summary;
  Scope scope;
  size_t body_bytes_max;
  bool streams;  ///< can answer piece by piece
  /// Null for the rows that need more than the service: the page, the description, the socket.
  void (Service::*handle)(HttpRequest&&, const PeerRef&);
};

std::span<const EndpointRow> endpoint_rows();

/// Routes for all rows and for the files of `pack`. Both must outlive the server.
std::vector<Route> make_routes(Service& service, const WebPack& pack);

/// OpenAPI 3.1, generated from the rows.
std::string openapi_document();

}  // namespace hadal
