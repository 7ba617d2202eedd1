#include "net/access.h"

#include <algorithm>

#include "base/parse.h"
#include "net/http.h"

namespace hadal {
namespace {

bool is_ipv4(std::string_view host) {
  int parts = 0;
  while (parts < 4) {
    const size_t dot = host.find('.');
    const auto number = parse_int<uint8_t>(host.substr(0, dot));
    if (!number) return false;
    ++parts;
    if (dot == std::string_view::npos) return parts == 4;
    host.remove_prefix(dot + 1);
  }
  return false;
}

/// Bracketed, made of the characters of an IPv6 address. No name contains a colon, so this is
/// enough to tell it from one.
bool is_ipv6(std::string_view host) {
  if (host.size() < 4 || host.front() != '[' || host.back() != ']') return false;
  const std::string_view inner = host.substr(1, host.size() - 2);
  return inner.find(':') != std::string_view::npos &&
         inner.find_first_not_of("0123456789abcdef:.") == std::string_view::npos;
}

}  // namespace

std::string host_of(std::string_view authority) {
  if (!authority.empty() && authority.front() == '[') {
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) return "";
    return ascii_lower(authority.substr(0, end + 1));
  }
  return ascii_lower(authority.substr(0, authority.find(':')));
}

bool is_ip_literal(std::string_view host) {
  return is_ipv4(host) || is_ipv6(host);
}

bool is_loopback_host(std::string_view host) {
  const std::string name = ascii_lower(host);
  return name == "localhost" || name.ends_with(".localhost") || name == "[::1]" || name == "::1" ||
         (is_ipv4(name) && name.starts_with("127."));
}

bool host_allowed(std::string_view host_header, const std::vector<std::string>& allowed) {
  if (host_header.empty()) return true;
  const std::string host = host_of(host_header);
  if (is_loopback_host(host) || is_ip_literal(host)) return true;
  return std::any_of(allowed.begin(), allowed.end(),
                     [&](const std::string& name) { return ascii_lower(name) == host; });
}

bool origin_allowed(std::string_view origin, std::string_view host_header) {
  if (origin.empty()) return true;
  const size_t scheme = origin.find("://");
  if (scheme == std::string_view::npos) return false;  // "null" and anything odd
  const std::string_view authority = origin.substr(scheme + 3);
  if (is_loopback_host(host_of(authority))) return true;
  return !host_header.empty() && ascii_lower(authority) == ascii_lower(host_header);
}

std::string allowed_headers(const std::string* wanted) {
  constexpr std::string_view kUsual = "authorization, content-type, x-request-id";
  const bool plausible = wanted != nullptr && !wanted->empty() && wanted->size() <= 1024 &&
                         wanted->find_first_not_of(
                             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRST"
                             "UVWXYZ0123456789-_, ") == std::string::npos;
  return plausible ? *wanted : std::string(kUsual);
}

}  // namespace hadal
