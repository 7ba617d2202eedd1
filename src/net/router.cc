#include "net/router.h"

#include <span>

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

Router::Router(std::vector<Route> routes) : routes_(std::move(routes)) {
  for (size_t i = 0; i < routes_.size(); ++i) {
    const std::string& path = routes_[i].path;
    (path.find('{') == std::string::npos ? exact_[path] : patterns_).push_back(i);
  }
}

template <typename Visit>
void Router::visit_rows(std::string_view path, Visit visit) const {
  std::span<const size_t> exact;
  if (const auto found = exact_.find(path); found != exact_.end()) exact = found->second;
  std::vector<std::string> values;
  for (size_t i = 0, j = 0; i < exact.size() || j < patterns_.size();) {
    values.clear();
    const bool is_exact = i < exact.size() && (j == patterns_.size() || exact[i] < patterns_[j]);
    const Route& route = routes_[is_exact ? exact[i++] : patterns_[j++]];
    if (!is_exact && !fits(route.path, path, values)) continue;
    if (visit(route, values)) return;
  }
}

Router::Match Router::find(std::string_view method, std::string_view path) const {
  Match match;
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  visit_rows(path, [&](const Route& route, std::vector<std::string>& values) {
    match.path_exists = true;
    if (route.method != wanted) return false;
    match.route = &route;
    match.values = std::move(values);
    return true;
  });
  if (match.route != nullptr || !match.path_exists) return match;
  visit_rows(path, [&](const Route& route, std::vector<std::string>&) {
    if (match.allow.find(route.method) == std::string::npos) {
      match.allow += (match.allow.empty() ? "" : ", ") + route.method;
      if (route.method == "GET") match.allow += ", HEAD";
    }
    return false;
  });
  match.allow += ", OPTIONS";
  return match;
}

}  // namespace hadal
