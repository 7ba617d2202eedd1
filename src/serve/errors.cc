#include "serve/errors.h"

#include <algorithm>

#include "base/json.h"

namespace hadal {
namespace {

constexpr int64_t kRetryAfterMillisMax = 600'000;

std::string_view error_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    default:
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

void append_or_null(std::string& out, std::string_view text) {
  if (text.empty()) {
    out += "null";
  } else {
    append_json_string(out, text);
  }
}

}  // namespace

ApiError invalid_param(std::string_view param, std::string_view message) {
  return {.status = 400,
          .code = "invalid_value",
          .message = std::string(message),
          .param = std::string(param)};
}

int http_status(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return 400;
    case Code::kUnsupported:
      return 400;
    case Code::kNotFound:
      return 404;
    case Code::kDenied:
      return 403;
    case Code::kExhausted:
      return 503;
    case Code::kUnavailable:
      return 503;
    case Code::kDeadline:
      return 504;
    case Code::kCancelled:
      return 503;
    case Code::kCorrupt:
    case Code::kIo:
    case Code::kInternal:
      return 500;
  }
  return 500;
}

ApiError to_api_error(const Error& error) {
  const int status = http_status(error.code);
  ApiError out{.status = status, .code = std::string(code_name(error.code)), .message = {}};
  // Inner failures may name files or addresses: clients get the fact, the log has the text.
  out.message = status == 500 ? "The request failed inside the server." : error.message;
  if (error.code == Code::kExhausted) out.code = "overloaded";
  return out;
}

std::string error_body(const ApiError& error) {
  std::string out = "{\"error\":{\"message\":";
  append_json_string(out, error.message);
  out += ",\"type\":";
  append_json_string(out, error_type(error.status));
  out += ",\"param\":";
  append_or_null(out, error.param);
  out += ",\"code\":";
  append_or_null(out, error.code);
  out += "}}";
  return out;
}

std::string openai_error_body(int status, std::string_view code, std::string_view message) {
  return error_body({.status = status, .code = std::string(code), .message = std::string(message)});
}

HttpReply error_reply(const ApiError& error) {
  HttpReply reply{.status = error.status, .body = error_body(error)};
  if (error.status == 429 || error.status == 503) {
    const int64_t ms =
        std::clamp<int64_t>(error.retry_after_micros / 1000, 1000, kRetryAfterMillisMax);
    reply.headers.emplace_back("Retry-After", std::to_string((ms + 999) / 1000));
    reply.headers.emplace_back("retry-after-ms", std::to_string(ms));
  }
  return reply;
}

}  // namespace hadal
