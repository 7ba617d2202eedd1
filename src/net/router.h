#pragma once
/// Router: endpoint rows and how a path finds its row. A path without a row does not exist.
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/exchange.h"
#include "net/http.h"

namespace hadal {

/// What a caller must show.
enum class Scope : unsigned char { kPublic, kApi };

/// One endpoint. Paths match exactly, byte for byte. A segment "{name}" matches any one segment,
/// and
/// "/{tail}" at the end any longer path (HttpRequest::path_values).
struct Route {
  std::string method;  ///< "GET", "POST" or "DELETE"; HEAD and OPTIONS follow from the rows
  std::string path;
  Scope scope = Scope::kApi;
  size_t body_bytes_max = 0;
  /// Runs on a worker thread; answers through the PeerRef, now or later.
  std::function<void(HttpRequest&& request, PeerRef peer)> handle = {};
  /// For WebSocket rows (instead of `handle`): called on the network thread at the upgrade.
  std::function<std::unique_ptr<PeerState>(PeerRef peer)> open_socket = {};
};

/// Immutable after construction.
class Router {
 public:
  explicit Router(std::vector<Route> routes);

  struct Match {
    const Route* route = nullptr;
    std::vector<std::string> values = {};
    bool path_exists = false;
    std::string allow = {};  ///< methods of the path, for Allow; only when there is no route
  };
  /// HEAD finds the GET row. OPTIONS finds none, but fills `allow`.
  Match find(std::string_view method, std::string_view path) const;

 private:
  /// Calls `visit` with each row that fits, in their order, until it returns true.
  template <typename Visit>
  void visit_rows(std::string_view path, Visit visit) const;

  std::vector<Route> routes_;
  // Indices into routes_, in order.
  std::map<std::string, std::vector<size_t>, std::less<>> exact_;  ///< rows without braces, by path
  std::vector<size_t> patterns_;                                   ///< the others
};

}  // namespace hadal
