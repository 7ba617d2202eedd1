#pragma once
/// HTTP messages as the other rooms see them: plain data, no sockets, no Boost.
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hadal {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

/// The value of the first header with that name (any case), or nullptr.
const std::string* find_header(const HeaderList& headers, std::string_view name);

/// One request, read completely. Every byte comes from outside.
struct HttpRequest {
  std::string method;
  std::string path;   ///< target up to '?', as sent: never decoded before routing
  std::string query;  ///< after '?'
  /// What the braces of the route matched, in their order, percent-decoded.
  std::vector<std::string> path_values;
  std::string path_tail;  ///< the last of them
  HeaderList headers;
  std::string body;
  std::string request_id;  ///< the caller's x-request-id if it is well formed, else ours

  const std::string* header(std::string_view name) const { return find_header(headers, name); }
};

/// A whole answer.
struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body = {};
  HeaderList headers = {};
};

/// The beginning of an answer that comes piece by piece.
struct StreamHead {
  int status = 200;
  std::string content_type = "text/event-stream";
  HeaderList headers = {};
};

/// "Not Found" for 404.
std::string_view status_text(int status);

/// `text` with %XX decoded. Malformed escapes and NUL give nothing back but false.
bool percent_decode(std::string_view text, std::string& out);

/// Whether this is a trace context header of W3C: version, trace, parent and flags in lower-case
/// hex.
bool well_formed_traceparent(std::string_view text);

/// Lower-case copy of ASCII letters.
std::string ascii_lower(std::string_view text);

}  // namespace hadal
