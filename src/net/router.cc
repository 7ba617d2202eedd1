#include "net/router.h"

namespace hadal {
namespace {

constexpr std::string_view kTail = "{tail}";

/// Cuts the text up to the next '/' off `path`; the slash goes, too.
std::string_view take_segment(std::string_view& path) {
  const size_t slash = path.find('/');
  const std::string_view segment = path.substr(0, slash);
  path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  return segment;
}

bool is_placeholder(std::string_view segment) {
  return segment.size() > 2 && segment.front() == '{' && segment.back() == '}';
}

bool add_value(std::string_view text, std::vector<std::string>& values) {
  return !text.empty() && percent_decode(text, values.emplace_back());
}

/// Whether `path` fits `pattern`; `values` are what its braces stand for.
bool fits(std::string_view pattern, std::string_view path, std::vector<std::string>& values) {
  if (pattern.find('{') == std::string_view::npos) return pattern == path;
  for (;;) {
    if (pattern == kTail) return add_value(path, values);
    const bool more = pattern.find('/') != std::string_view::npos;
    if (more != (path.find('/') != std::string_view::npos)) return false;
    const std::string_view wanted = take_segment(pattern);
    const std::string_view found = take_segment(path);
    if (is_placeholder(wanted) ? !add_value(found, values) : wanted != found) return false;
    if (!more) return true;
  }
}

}  // namespace

Router::Match Router::find(std::string_view method, std::string_view path) const {
  Match match;
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  for (const Route& route : routes_) {
    std::vector<std::string> values;
    if (!fits(route.path, path, values)) continue;
    match.path_exists = true;
    if (match.allow.find(route.method) == std::string::npos) {
      match.allow += (match.allow.empty() ? "" : ", ") + route.method;
      if (route.method == "GET") match.allow += ", HEAD";
    }
    if (route.method == wanted && match.route == nullptr) {
      match.route = &route;
      match.values = std::move(values);
    }
  }
  if (match.path_exists) match.allow += ", OPTIONS";
  return match;
}

}  // namespace hadal
