#include "serve/dialects/anthropic.h"

#include <algorithm>

#include "base/limits.h"
#include "serve/dialects/common.h"
#include "serve/params.h"
#include "serve/prompt.h"

namespace hadal {
namespace {

constexpr ParamRow kParams[] = {
    {"max_tokens", ParamKind::kInteger, 1, limits::kStreamTokens,
     [](RequestParams& p, const ParamValue& v) { p.max_tokens = v.integer; }},
    {"temperature", ParamKind::kNumber, 0, 2,
     [](RequestParams& p, const ParamValue& v) { p.sampling.temperature = float(v.number); }},
    {"top_p", ParamKind::kNumber, 0, 1,
     [](RequestParams& p, const ParamValue& v) {
       p.sampling.top_p = std::max(float(v.number), 1e-6f);
     }},
    {"top_k", ParamKind::kInteger, -1, 2147483647,
     [](RequestParams& p, const ParamValue& v) {
       p.sampling.top_k = int32_t(std::max<int64_t>(v.integer, 0));
     }},
    {"stream", ParamKind::kBoolean, 0, 1,
     [](RequestParams& p, const ParamValue& v) { p.stream = v.boolean; }},
};

/// The user's prefixes are kept apart from those of others.
Checked read_user(const json::object& body, RequestParams& out) {
  const json::value* metadata = find_member(body, "metadata");
  if (metadata == nullptr) return std::nullopt;
  if (!metadata->is_object()) {
    return invalid_param("metadata", "metadata: an object is needed.");
  }
  const json::value* user = find_member(metadata->get_object(), "user_id");
  if (user == nullptr) return std::nullopt;
  if (!user->is_string() || user->get_string().size() > limits::kUserIdBytes) {
    return invalid_param("metadata.user_id",
                         "metadata.user_id: a string of at most 512 bytes is needed.");
  }
  isolate_user(std::string_view(user->get_string()), out);
  return std::nullopt;
}

Checked read_all_params(const json::object& body, RequestParams& out) {
  if (find_member(body, "max_tokens") == nullptr) {
    return invalid_param("max_tokens", "max_tokens: it is missing.");
  }
  if (Checked error = read_params(body, kParams, out)) return error;
  if (const json::value* stop = find_member(body, "stop_sequences")) {
    if (!stop->is_array()) {
      return invalid_param("stop_sequences", "stop_sequences: a list of strings is needed.");
    }
    if (Checked error = read_stop(*stop, "stop_sequences", out)) return error;
  }
  if (Checked error = read_isolation(body, out)) return error;
  return read_user(body, out);
}

}  // namespace

std::span<const ParamRow> anthropic_params() {
  return kParams;
}

Checked plan_anthropic(const ServedModel& model, json::object& body, Env& env,
                       GenerationPlan& out) {
  RequestParams& params = out.params;
  params.sampling = model.defaults;
  if (Checked error = read_all_params(body, params)) return error;
  Conversation conversation;
  if (Checked error = read_anthropic(body, conversation)) return error;
  if (Checked error = read_anthropic_format(body, params.format)) return error;
  Prompt prompt;
  if (Checked error = render_chat(model, std::move(conversation), params.cache_salt, env, prompt))
    return error;
  AnthropicHead head{.id = new_id(env, "msg_"),
                     .model = model.id,
                     .request_id = out.request_id,
                     .prompt_tokens = static_cast<int64_t>(prompt.ids.size()),
                     .stop_sequences = params.stop};
  params.stop.insert(params.stop.end(), prompt.stops.begin(), prompt.stops.end());
  out.prompts.push_back(std::move(prompt.ids));
  out.output = std::move(prompt.output);
  out.headers.emplace_back("request-id", out.request_id);
  out.writer = make_anthropic_writer(std::move(head));
  return std::nullopt;
}

Checked count_anthropic_tokens(const ServedModel& model, const json::object& body, Env& env,
                               std::string& out) {
  RequestParams params;
  if (Checked error = read_isolation(body, params)) return error;
  if (Checked error = read_user(body, params)) return error;
  Conversation conversation;
  if (Checked error = read_anthropic(body, conversation)) return error;
  Prompt prompt;
  Checked error = render_chat(model, std::move(conversation), params.cache_salt, env, prompt);
  if (error && error->code != "context_length_exceeded") return error;
  out = "{\"input_tokens\":" + std::to_string(prompt.ids.size()) + "}";
  return std::nullopt;
}

}  // namespace hadal
