#include "serve/dialects/common.h"

#include <algorithm>

namespace hadal {

std::string new_id(Env& env, std::string_view prefix) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string id(prefix);
  for (int word = 0; word < 2; ++word) {
    uint64_t bits = env.random_u64();
    for (int i = 0; i < 12; ++i, bits >>= 4) id.push_back(kHex[bits & 15]);
  }
  return id;
}

std::string reply_prefix(const ReplyHead& head, std::string_view object) {
  std::string out = "{\"id\":";
  append_json_string(out, head.id);
  out += ",\"object\":";
  append_json_string(out, object);
  out += ",\"created\":" + std::to_string(head.created) + ",\"model\":";
  append_json_string(out, head.model);
  out += ",\"system_fingerprint\":\"hadal-" HADAL_VERSION "\"";
  return out;
}

void settle_params(RequestParams& params) {
  if (params.logprobs) params.sampling.top_logprobs = static_cast<int>(params.top_logprobs);
}

std::string_view public_reason(std::string_view finish_reason) {
  return finish_reason == "length" || finish_reason == "tool_calls" ? finish_reason : "stop";
}

void append_tool_calls(std::string& out, std::span<const ToolCall> calls) {
  if (calls.empty()) return;
  out += ",\"tool_calls\":[";
  for (size_t i = 0; i < calls.size(); ++i) {
    out += i > 0 ? ",{\"id\":" : "{\"id\":";
    append_json_string(out, calls[i].id);
    out += ",\"type\":\"function\",\"function\":{\"name\":";
    append_json_string(out, calls[i].name);
    out += ",\"arguments\":";
    append_json_string(out, calls[i].arguments);
    out += "}}";
  }
  out += "]";
}

void append_sse_error(std::string& out, const ApiError& error) {
  out += "data: " + error_body(error) + "\n\n";
}

void append_token_text(std::string& out, const Tokenizer& tokenizer, TokenId id) {
  append_json_string(out, tokenizer.piece(id, true));
}

void append_token_bytes(std::string& out, const Tokenizer& tokenizer, TokenId id) {
  out.push_back('[');
  bool first = true;
  for (const char c : tokenizer.piece(id, true)) {
    if (!first) out.push_back(',');
    first = false;
    out += std::to_string(static_cast<unsigned char>(c));
  }
  out.push_back(']');
}

void append_token_logprobs(std::string& out, const Tokenizer& tokenizer,
                           std::span<const TokenLogEntry> entries) {
  const auto entry = [&](TokenId id, float logprob) {
    out += "{\"token\":";
    append_token_text(out, tokenizer, id);
    out += ",\"logprob\":";
    append_json_number(out, logprob);
    out += ",\"bytes\":";
    append_token_bytes(out, tokenizer, id);
  };
  out.push_back('[');
  for (size_t i = 0; i < entries.size(); ++i) {
    if (i > 0) out.push_back(',');
    entry(entries[i].id, entries[i].logprob);
    out += ",\"top_logprobs\":[";
    for (size_t k = 0; k < entries[i].top.size(); ++k) {
      if (k > 0) out.push_back(',');
      entry(entries[i].top[k].id, entries[i].top[k].logprob);
      out.push_back('}');
    }
    out += "]}";
  }
  out.push_back(']');
}

}  // namespace hadal
