#pragma once
/// What the OpenAI dialects share.
#include <span>
#include <string>
#include <string_view>

#include "base/env.h"
#include "serve/backend.h"
#include "serve/generation.h"

namespace hadal {

/// `prefix` and 24 random characters.
std::string new_id(Env& env, std::string_view prefix);

/// Facts that stay the same in every chunk of a reply.
struct ReplyHead {
  std::string id;
  int64_t created = 0;  ///< unix seconds; constant over a stream
  std::string model;
};

/// {"id":..,"object":..,"created":..,"model":.., up to where choices begin.
std::string reply_prefix(const ReplyHead& head, std::string_view object);

/// Fills sampling fields that do not come from one row: logprobs into the engine's request.
void settle_params(RequestParams& params);

/// ,"tool_calls":[{"id","type","function":{"name","arguments"}},...] unless there are none.
void append_tool_calls(std::string& out, std::span<const ToolCall> calls);

/// OpenAI knows "length", "tool_calls" and "stop"; whatever else ended an answer is a stop there.
std::string_view public_reason(std::string_view finish_reason);

/// data: {"error":...} and a blank line.
void append_sse_error(std::string& out, const ApiError& error);

/// The text of a token for logprobs, invalid UTF-8 replaced; bytes exactly as an array.
void append_token_text(std::string& out, const Tokenizer& tokenizer, TokenId id);
void append_token_bytes(std::string& out, const Tokenizer& tokenizer, TokenId id);
/// [{"token","logprob","bytes","top_logprobs":[{"token","logprob","bytes"},...]},...]
void append_token_logprobs(std::string& out, const Tokenizer& tokenizer,
                           std::span<const TokenLogEntry> entries);

}  // namespace hadal
