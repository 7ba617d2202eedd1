#pragma once
/// Who may talk to a local server: rules against DNS rebinding and cross-site requests. Pure
/// functions of header values.
#include <string>
#include <string_view>
#include <vector>

namespace hadal {

/// "localhost", "*.localhost", 127.0.0.0/8 and ::1 (with or without brackets).
bool is_loopback_host(std::string_view host);

/// An IPv4 or bracketed IPv6 address literal.
bool is_ip_literal(std::string_view host);

/// The host part of "host", "host:port" or "[v6]:port", lower case; empty when malformed.
std::string host_of(std::string_view authority);

/// Whether a Host header may be answered: loopback names, IP literals (a rebinding attack needs a
/// name) and the names in `allowed`. An absent header ("") is allowed: HTTP/1.0 tools send none.
bool host_allowed(std::string_view host_header, const std::vector<std::string>& allowed);

/// Whether a browser page of `origin` may change state here: same origin as the Host header, or a
/// page served from this machine's loopback. An absent Origin ("") is no browser.
bool origin_allowed(std::string_view origin, std::string_view host_header);

/// The headers that a page may send, for Access-Control-Allow-Headers: those it asks for (may be
/// null) when the list is a plausible one, because SDKs have many of their own.
std::string allowed_headers(const std::string* wanted);

}  // namespace hadal
