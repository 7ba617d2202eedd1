#include "serve/dialects/responses.h"

#include <algorithm>

#include "base/limits.h"
#include "serve/dialects/common.h"
#include "serve/params.h"
#include "serve/prompt.h"

namespace hadal {
namespace {

constexpr ParamRow kParams[] = {
    {"max_output_tokens", ParamKind::kInteger, 1, limits::kStreamTokens,
     [](RequestParams& p, const ParamValue& v) { p.max_tokens = v.integer; }},
    {"temperature", ParamKind::kNumber, 0, 100,
     [](RequestParams& p, const ParamValue& v) { p.sampling.temperature = float(v.number); }},
    {"top_p", ParamKind::kNumber, 0, 1,
     [](RequestParams& p, const ParamValue& v) {
       p.sampling.top_p = std::max(float(v.number), 1e-6f);
     }},
    {"presence_penalty", ParamKind::kNumber, -2, 2,
     [](RequestParams& p, const ParamValue& v) { p.sampling.presence_penalty = float(v.number); }},
    {"frequency_penalty", ParamKind::kNumber, -2, 2,
     [](RequestParams& p, const ParamValue& v) { p.sampling.frequency_penalty = float(v.number); }},
    {"top_logprobs", ParamKind::kInteger, 0, limits::kTopLogprobs,
     [](RequestParams& p, const ParamValue& v) { p.top_logprobs = v.integer; }},
    {"stream", ParamKind::kBoolean, 0, 1,
     [](RequestParams& p, const ParamValue& v) { p.stream = v.boolean; }},
};

/// Members of the request that the answer repeats, and what stands there when they are absent.
json::object echo_defaults() {
  return {{"instructions", nullptr},
          {"max_output_tokens", nullptr},
          {"max_tool_calls", nullptr},
          {"metadata", json::object{}},
          {"parallel_tool_calls", true},
          {"previous_response_id", nullptr},
          {"prompt_cache_key", nullptr},
          {"reasoning", json::object{{"effort", nullptr}, {"summary", nullptr}}},
          {"safety_identifier", nullptr},
          {"service_tier", "default"},
          {"text", json::object{{"format", json::object{{"type", "text"}}}}},
          {"tool_choice", "auto"},
          {"tools", json::array{}},
          {"top_logprobs", 0},
          {"truncation", "disabled"},
          {"user", nullptr}};
}

/// Open Responses' schemas want every member of what is repeated.
void complete_echo(json::object& response) {
  const auto complete = [](json::value* value, const json::object& defaults) {
    if (value == nullptr || !value->is_object()) return;
    for (const auto& member : defaults) {
      if (!value->get_object().contains(member.key())) {
        value->get_object()[member.key()] = member.value();
      }
    }
  };
  const json::object defaults = echo_defaults();
  for (const char* name : {"reasoning", "text"}) {
    complete(response.if_contains(name), find_member(defaults, name)->get_object());
  }
  json::value* tools = response.if_contains("tools");
  if (tools == nullptr || !tools->is_array()) return;
  for (json::value& tool : tools->get_array()) {
    const json::value* type = tool.is_object() ? find_member(tool.get_object(), "type") : nullptr;
    if (type == nullptr || *type != json::value("function")) continue;
    complete(&tool, {{"description", nullptr}, {"parameters", nullptr}, {"strict", nullptr}});
  }
}

json::object response_object(const json::object& body, const ResponsesRequest& request,
                             const RequestParams& params, const ReplyHead& head) {
  json::object out{{"id", head.id},
                   {"object", "response"},
                   {"created_at", head.created},
                   {"status", request.background ? "queued" : "in_progress"},
                   {"background", request.background},
                   {"completed_at", nullptr},
                   {"error", nullptr},
                   {"incomplete_details", nullptr},
                   {"model", head.model},
                   {"output", json::array{}},
                   {"presence_penalty", double{params.sampling.presence_penalty}},
                   {"frequency_penalty", double{params.sampling.frequency_penalty}},
                   {"store", request.store},
                   {"temperature", double{params.sampling.temperature}},
                   {"top_p", double{params.sampling.top_p}},
                   {"usage", nullptr}};
  for (auto& member : echo_defaults()) {
    const json::value* given = find_member(body, member.key());
    out[member.key()] = given != nullptr ? *given : std::move(member.value());
  }
  complete_echo(out);
  return out;
}

Checked read_text_format(const json::object& body, AnswerFormat& out) {
  const json::value* text = find_member(body, "text");
  if (text == nullptr) return std::nullopt;
  if (!text->is_object()) return invalid_param("text", "'text' must be an object.");
  const json::value* format = find_member(text->get_object(), "format");
  if (format == nullptr) return std::nullopt;
  return read_typed_format(*format, "text.format", out);
}

/// A body up to what is rendered.
Checked read_request(const ServedModel& model, const json::object& body, const std::string& id,
                     ResponseShelf& shelf, RequestParams& params, ResponsesRequest& request) {
  params.sampling = model.defaults;
  if (Checked error = read_params(body, kParams, params)) return error;
  if (Checked error = read_structured_params(body, model.tokenizer->size(), params)) return error;
  shelf.owner = response_owner(shelf.owner, params.cache_salt);
  if (Checked error = read_responses(body, id, shelf, request)) return error;
  params.logprobs = request.logprobs;
  settle_params(params);
  return read_text_format(body, params.format);
}

/// What is on the shelf before the answer begins.
StoredResponse queued_response(const json::object& response, const std::string& id,
                               const ResponsesRequest& request, const EventLogRef& events) {
  StoredResponse queued{.body = to_json(response), .status = "queued", .background = true};
  auto turn = std::make_shared<ResponseTurn>();  // see ResponseTurnRef; tidy: allow
  turn->id = id;
  turn->input = request.input;
  turn->previous = request.previous;
  queued.turn = std::move(turn);
  queued.events = events;
  return queued;
}

}  // namespace

std::span<const ParamRow> responses_params() {
  return kParams;
}

std::string response_owner(std::string_view credential, std::string_view cache_salt) {
  return std::string(credential) + '\n' + std::string(cache_salt);
}

Checked plan_responses(const ServedModel& model, const json::object& body, ResponseShelf shelf,
                       PlannedResponse& out) {
  Env& env = *shelf.env;
  const ReplyHead head{
      .id = new_id(env, "resp_"), .created = env.unix_micros() / 1'000'000, .model = model.id};
  ResponsesRequest request;
  RequestParams& params = out.plan.params;
  if (Checked error = read_request(model, body, head.id, shelf, params, request)) return error;
  if (request.background && !request.store) {
    return invalid_param("background", "'background' needs 'store'.");
  }
  Prompt prompt;
  if (Checked error =
          render_chat(model, std::move(request.conversation), params.cache_salt, env, prompt)) {
    if (error->param == "messages") error->param = "input";
    return error;
  }
  params.stop.insert(params.stop.end(), prompt.stops.begin(), prompt.stops.end());
  out.plan.prompts.push_back(std::move(prompt.ids));
  out.plan.output = std::move(prompt.output);
  out.id = head.id;
  out.background = request.background;
  json::object response = response_object(body, request, params, head);
  EventLogRef events;
  if (request.background) {
    if (params.stream) events = std::make_shared<EventLog>();  // see EventLogRef; tidy: allow
    out.queued = queued_response(response, head.id, request, events);
  }
  out.shelf = shelf;
  out.plan.writer = make_responses_writer({.response = std::move(response),
                                           .request = std::move(request),
                                           .shelf = std::move(shelf),
                                           .tokenizer = model.tokenizer,
                                           .events = std::move(events)});
  return std::nullopt;
}

Checked count_responses_tokens(const ServedModel& model, const json::object& body,
                               ResponseShelf shelf, std::string& out) {
  ResponsesRequest request;
  RequestParams params;
  if (Checked error = read_request(model, body, "resp_", shelf, params, request)) return error;
  Prompt prompt;
  Checked error =
      render_chat(model, std::move(request.conversation), params.cache_salt, *shelf.env, prompt);
  if (error && error->code != "context_length_exceeded") return error;
  out = "{\"object\":\"response.input_tokens\",\"input_tokens\":" +
        std::to_string(prompt.ids.size()) + "}";
  return std::nullopt;
}

}  // namespace hadal
