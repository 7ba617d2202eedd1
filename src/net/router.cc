#include "net/router.h"

namespace hadal {
namespace {

constexpr std::string_view kTail = "/{tail}";

/// Whether `path` fits `pattern`; the tail is left percent-encoded.
bool fits(std::string_view pattern, std::string_view path, std::string_view& tail) {
  if (!pattern.ends_with(kTail)) return pattern == path;
  const std::string_view head = pattern.substr(0, pattern.size() - kTail.size() + 1);
  if (!path.starts_with(head) || path.size() == head.size()) return false;
  tail = path.substr(head.size());
  return true;
}

}  // namespace

Router::Match Router::find(std::string_view method, std::string_view path) const {
  Match match;
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  for (const Route& route : routes_) {
    std::string_view tail;
    if (!fits(route.path, path, tail)) continue;
    std::string decoded;
    if (!percent_decode(tail, decoded)) continue;
    match.path_exists = true;
    if (match.allow.find(route.method) == std::string::npos) {
      match.allow += (match.allow.empty() ? "" : ", ") + route.method;
      if (route.method == "GET") match.allow += ", HEAD";
    }
    if (route.method == wanted && match.route == nullptr) {
      match.route = &route;
      match.tail = std::move(decoded);
    }
  }
  if (match.path_exists) match.allow += ", OPTIONS";
  return match;
}

}  // namespace hadal
