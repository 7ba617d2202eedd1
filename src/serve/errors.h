#pragma once
/// ApiError: an answer that says no. One table maps codes to HTTP status, one function writes the
/// shape of each dialect. Texts name the cause and the parameter, never a path or an address.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/http.h"

namespace hadal {

struct ApiError {
  int status = 400;
  std::string code = {};  ///< machine-readable, "" becomes null
  std::string message = {};
  std::string param = {};          ///< the request field at fault, "" becomes null
  int64_t retry_after_micros = 0;  ///< for 429 and 503: when it is worth trying again; 0: soon
  std::string request_id = {};     ///< of the request, for the shapes that repeat it
};

/// Nothing when all is well.
using Checked = std::optional<ApiError>;

/// A field of the request is wrong: 400 naming it.
ApiError invalid_param(std::string_view param, std::string_view message);

/// 400: the model is an encoder.
ApiError not_generative(std::string_view model);

/// The one table from Code to HTTP status.
int http_status(Code code);
ApiError to_api_error(const Error& error);

/// {"error":{"message","type","param","code"}}
std::string error_body(const ApiError& error);
/// Anthropic's {"type":"error","error":{"type","message"},"request_id"}.
std::string anthropic_error_body(const ApiError& error);
/// {"error":"message"}, of Ollama and KServe.
std::string plain_error_body(const ApiError& error);
/// For errors that net finds: the shape that clients of the path understand.
std::string net_error_body(const HttpRequest& request, int status, std::string_view code,
                           std::string_view message);

/// With Retry-After on 429 and 503: whole seconds, from 1 to 600, and milliseconds in
/// retry-after-ms, which the OpenAI SDKs prefer.
HttpReply error_reply(const ApiError& error);
/// The same in the shape of plain_error_body().
HttpReply plain_error_reply(const ApiError& error);
/// The same in Anthropic's shape, where 529 tells of a queue that is too long.
HttpReply anthropic_error_reply(const ApiError& error);

}  // namespace hadal
