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

/// Anthropic has a status of its own for a server with too much to do; a server that goes down or
/// comes up keeps 503.
bool is_overload(const ApiError& error) {
  return error.status == 503 && (error.code == "queue_timeout" || error.code == "overloaded");
}

std::string_view anthropic_type(const ApiError& error) {
  switch (error.status) {
    case 413:
      return "request_too_large";
    case 503:
      return "overloaded_error";
    case 504:
      return "timeout_error";
    default:
      return error.status < 500 ? error_type(error.status) : "api_error";
  }
}

void append_or_null(std::string& out, std::string_view text) {
  if (text.empty()) {
    out += "null";
  } else {
    append_json_string(out, text);
  }
}

void add_retry_after(HttpReply& reply, const ApiError& error) {
  if (error.status != 429 && error.status != 503) return;
  const int64_t ms =
      std::clamp<int64_t>(error.retry_after_micros / 1000, 1000, kRetryAfterMillisMax);
  reply.headers.emplace_back("Retry-After", std::to_string((ms + 999) / 1000));
  reply.headers.emplace_back("retry-after-ms", std::to_string(ms));
}

}  // namespace

ApiError invalid_param(std::string_view param, std::string_view message) {
  return {.status = 400,
          .code = "invalid_value",
          .message = std::string(message),
          .param = std::string(param)};
}

ApiError not_generative(std::string_view model) {
  return {.status = 400,
          .code = "model_not_generative",
          .message = "The model '" + std::string(model) +
                     "' answers no prompts: it is an encoder. See /v1/embeddings and /v1/rerank.",
          .param = "model"};
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

std::string anthropic_error_body(const ApiError& error) {
  std::string out = R"({"type":"error","error":{"type":)";
  append_json_string(out, anthropic_type(error));
  out += ",\"message\":";
  append_json_string(out, error.message);
  out += "},\"request_id\":";
  append_or_null(out, error.request_id);
  out += "}";
  return out;
}

std::string plain_error_body(const ApiError& error) {
  std::string out = "{\"error\":";
  append_json_string(out, error.message);
  return out + "}";
}

HttpReply plain_error_reply(const ApiError& error) {
  HttpReply reply{.status = error.status, .body = plain_error_body(error)};
  add_retry_after(reply, error);
  return reply;
}

std::string net_error_body(const HttpRequest& request, int status, std::string_view code,
                           std::string_view message) {
  const ApiError error{.status = status,
                       .code = std::string(code),
                       .message = std::string(message),
                       .request_id = request.request_id};
  const std::string_view path = request.path;
  if (path.starts_with("/api/") || path == "/v2" || path.starts_with("/v2/")) {
    return plain_error_body(error);
  }
  const bool anthropic = path == "/v1/messages" || path.starts_with("/v1/messages/") ||
                         path.starts_with("/anthropic/");
  return anthropic ? anthropic_error_body(error) : error_body(error);
}

HttpReply error_reply(const ApiError& error) {
  HttpReply reply{.status = error.status, .body = error_body(error)};
  add_retry_after(reply, error);
  return reply;
}

HttpReply anthropic_error_reply(const ApiError& error) {
  HttpReply reply{.status = is_overload(error) ? 529 : error.status,
                  .body = anthropic_error_body(error)};
  if (!error.request_id.empty()) reply.headers.emplace_back("request-id", error.request_id);
  add_retry_after(reply, error);
  return reply;
}

}  // namespace hadal
