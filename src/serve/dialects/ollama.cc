#include "serve/dialects/ollama.h"

#include <algorithm>
#include <array>
#include <ctime>

#include <fmt/format.h>

#include "base/limits.h"
#include "serve/dialects/common.h"
#include "serve/dialects/openai_chat.h"
#include "serve/dialects/openai_completions.h"
#include "serve/directory.h"

namespace hadal {
namespace {

constexpr int64_t kNanosPerMicro = 1000;

class OllamaWriter final : public ReplyWriter {
 public:
  /// `logprobs`: the vocabulary to write them with, or null: they are not wanted.
  OllamaWriter(const OllamaRequest& request, int64_t loaded_micros, Env& env,
               const Tokenizer* logprobs)
      : request_(request), loaded_micros_(loaded_micros), env_(env), logprobs_(logprobs) {}

  void begin(std::string&, const std::vector<Choice>&) override {}

  void delta(std::string& out, Choice& choice, const OutputPiece& piece) override {
    if (first_micros_ == 0) first_micros_ = env_.now_micros();
    if (!piece.reasoning.empty() || !piece.content.empty()) {
      open(out);
      append_message(out, piece.content, piece.reasoning, {});
      append_logprobs(out, choice.logprobs);
      choice.logprobs.clear();
      out += ",\"done\":false}\n";
    }
    for (const OutputEvent& event : piece.calls) {
      if (event.kind == OutputEvent::Kind::kCallBegin) {
        choice.tool_calls.push_back({event.id, event.name, ""});
      } else if (event.kind == OutputEvent::Kind::kCallArguments) {
        choice.tool_calls.back().arguments += event.text;
      } else {
        open(out);
        append_message(out, "", "", {&choice.tool_calls.back(), 1});
        out += ",\"done\":false}\n";
      }
    }
  }

  void choice_end(std::string&, Choice& choice) override {
    reason_ = choice.finish_reason;
    timing_ = choice.timing;
    last_logprobs_ = std::move(choice.logprobs);
  }

  void end(std::string& out, const Usage& usage) override {
    open(out);
    append_message(out, "", "", {});
    append_logprobs(out, last_logprobs_);
    append_end(out, usage);
    out += "}\n";
  }

  void error(std::string& out, const ApiError& error) override {
    out += plain_error_body(error) + "\n";
  }

  void keep_alive(std::string& out) override { out += ollama_empty_piece(request_, env_); }

  std::string whole(const std::vector<Choice>& choices, const Usage& usage) override {
    const Choice& choice = choices.front();
    reason_ = choice.finish_reason;
    timing_ = choice.timing;
    std::string out;
    open(out);
    append_message(out, choice.content, choice.reasoning, choice.tool_calls);
    append_logprobs(out, choice.logprobs);
    append_end(out, usage);
    return out + "}";
  }

 private:
  void open(std::string& out) const {
    out += "{\"model\":";
    append_json_string(out, request_.model);
    out += ",\"created_at\":\"" + iso_time(env_.unix_micros()) + "\"";
  }

  void append_message(std::string& out, std::string_view content, std::string_view reasoning,
                      std::span<const ToolCall> calls) const {
    const bool chat = request_.kind == OllamaKind::kChat;
    out += chat ? ",\"message\":{\"role\":\"assistant\",\"content\":" : ",\"response\":";
    append_json_string(out, content);
    if (!reasoning.empty()) {
      out += ",\"thinking\":";
      append_json_string(out, reasoning);
    }
    if (!chat) return;
    for (size_t i = 0; i < calls.size(); ++i) {
      out += i == 0 ? ",\"tool_calls\":[{\"id\":" : ",{\"id\":";
      append_json_string(out, calls[i].id);
      out += ",\"function\":{\"name\":";
      append_json_string(out, calls[i].name);
      // An object: the parser gives no others.
      out += ",\"arguments\":" + (calls[i].arguments.empty() ? "{}" : calls[i].arguments) + "}}";
      if (i + 1 == calls.size()) out += "]";
    }
    out += "}";
  }

  void append_logprobs(std::string& out, std::span<const TokenLogEntry> entries) const {
    if (logprobs_ == nullptr || entries.empty()) return;
    out += ",\"logprobs\":";
    append_token_logprobs(out, *logprobs_, entries);
  }

  /// Durations that the engine does not know (a stop string ended the answer) are by the clock.
  void append_end(std::string& out, const Usage& usage) const {
    const int64_t now = env_.now_micros();
    const int64_t first = first_micros_ > 0 ? first_micros_ : now;
    const bool timed = timing_.completion_tokens > 0;
    const int64_t prefill = timed ? timing_.prefill_micros : first - loaded_micros_;
    const int64_t decode = timed ? timing_.decode_micros : now - first;
    out += ",\"done\":true,\"done_reason\":";
    append_json_string(out, reason_ == "length" ? "length" : "stop");
    out += fmt::format(
        ",\"total_duration\":{},\"load_duration\":{},\"prompt_eval_count\":{},"
        "\"prompt_eval_duration\":{},\"eval_count\":{},\"eval_duration\":{}",
        (now - request_.began_micros) * kNanosPerMicro,
        (loaded_micros_ - request_.began_micros) * kNanosPerMicro, usage.prompt_tokens,
        prefill * kNanosPerMicro, usage.completion_tokens, decode * kNanosPerMicro);
  }

  const OllamaRequest request_;
  const int64_t loaded_micros_;
  Env& env_;
  const Tokenizer* const logprobs_;
  int64_t first_micros_ = 0;
  std::string reason_;
  FinishEvent timing_;
  std::vector<TokenLogEntry> last_logprobs_;  ///< of tokens whose text came with no piece
};

bool is_text(const json::value* value) {
  return value != nullptr && value->is_string() && !value->get_string().empty();
}

bool has_items(const json::object& object, std::string_view name) {
  const json::value* value = find_member(object, name);
  return value != nullptr && (!value->is_array() || !value->get_array().empty());
}

ApiError no_images() {
  ApiError error = invalid_param("images", "This model takes no images.");
  error.code = "unsupported_content";
  return error;
}

/// options.* by the names of the parameter table; what this server has no use for is ignored.
Checked take_options(const json::object& body, json::object& out) {
  const json::value* options = find_member(body, "options");
  if (options == nullptr) return std::nullopt;
  if (!options->is_object()) return invalid_param("options", "'options' must be an object.");
  constexpr std::array<const char*, 13> kSame = {"temperature",
                                                 "top_k",
                                                 "top_p",
                                                 "min_p",
                                                 "typical_p",
                                                 "repeat_penalty",
                                                 "presence_penalty",
                                                 "frequency_penalty",
                                                 "mirostat",
                                                 "mirostat_tau",
                                                 "mirostat_eta",
                                                 "seed",
                                                 "stop"};
  for (const char* name : kSame) {
    if (const json::value* value = find_member(options->get_object(), name)) out[name] = *value;
  }
  const json::value* predict = find_member(options->get_object(), "num_predict");
  if (predict == nullptr) return std::nullopt;
  if (!predict->is_int64()) {
    return invalid_param("options.num_predict", "'num_predict' must be a whole number.");
  }
  // Below zero: no end but the context's.
  if (predict->get_int64() >= 0) out["max_tokens"] = std::max<int64_t>(predict->get_int64(), 1);
  return std::nullopt;
}

Checked take_think(const json::object& body, json::object& out) {
  const json::value* think = find_member(body, "think");
  if (think == nullptr) return std::nullopt;
  if (think->is_bool()) {
    out["thinking"] = {{"type", think->get_bool() ? "enabled" : "disabled"}};
    return std::nullopt;
  }
  const bool level =
      think->is_string() && (think->get_string() == "low" || think->get_string() == "medium" ||
                             think->get_string() == "high");
  if (!level) {
    return invalid_param("think", "'think' must be true, false, \"low\", \"medium\" or \"high\".");
  }
  out["reasoning_effort"] = think->get_string();
  return std::nullopt;
}

/// "json" or a schema, as chat's response_format.
Checked take_format(const json::object& body, json::object& out) {
  const json::value* format = find_member(body, "format");
  if (format == nullptr) return std::nullopt;
  if (format->is_object()) {
    out["response_format"] = {{"type", "json_schema"},
                              {"json_schema", {{"name", "format"}, {"schema", *format}}}};
    return std::nullopt;
  }
  if (format->is_string() && format->get_string().empty()) return std::nullopt;
  if (!format->is_string() || format->get_string() != "json") {
    return invalid_param("format", "'format' must be \"json\" or a JSON schema.");
  }
  out["response_format"] = {{"type", "json_object"}};
  return std::nullopt;
}

Checked take_common(const json::object& body, json::object& out) {
  if (Checked error = take_options(body, out)) return error;
  if (Checked error = take_think(body, out)) return error;
  if (Checked error = take_format(body, out)) return error;
  for (const char* name : {"cache_salt", "priority"}) {
    if (const json::value* value = find_member(body, name)) out[name] = *value;
  }
  return std::nullopt;
}

/// Chat has a switch and a number, completions a number alone. A number without the switch means
/// nothing.
Checked take_logprobs(const json::object& body, bool as_chat, json::object& out) {
  bool wanted = false;
  if (Checked error = read_flag(body, "logprobs", wanted)) return error;
  int64_t top = 0;
  if (const json::value* value = find_member(body, "top_logprobs")) {
    const bool fits =
        value->is_int64() && value->get_int64() >= 0 && value->get_int64() <= limits::kTopLogprobs;
    if (!fits) {
      return invalid_param("top_logprobs", "'top_logprobs' must be a whole number from 0 to " +
                                               std::to_string(limits::kTopLogprobs) + ".");
    }
    top = value->get_int64();
  }
  if (!wanted) return std::nullopt;
  if (as_chat) {
    out["logprobs"] = true;
    out["top_logprobs"] = top;
  } else {
    out["logprobs"] = top;
  }
  return std::nullopt;
}

/// Ollama's calls have no ids: results belong to calls in their order.
class CallIds {
 public:
  std::string next_call() { return "call_" + std::to_string(calls_++); }
  std::string next_result() { return "call_" + std::to_string(results_++); }

 private:
  int calls_ = 0;
  int results_ = 0;
};

/// Adding a member may move the others: what is there is taken out first.
void rename_member(json::object& object, std::string_view from, std::string_view to) {
  json::value* found = object.if_contains(from);
  if (found == nullptr || found->is_null()) return;
  json::value value = std::move(*found);
  object[to] = std::move(value);
}

Checked take_message(const json::value& value, CallIds& ids, json::array& out) {
  if (!value.is_object()) return invalid_param("messages", "A message must be an object.");
  json::object message = value.get_object();
  if (has_items(message, "images")) return no_images();
  rename_member(message, "thinking", "reasoning_content");
  json::value* calls = message.if_contains("tool_calls");
  if (calls != nullptr && calls->is_array()) {
    for (json::value& call : calls->get_array()) {
      if (!call.is_object()) continue;  // refused where calls are read
      if (!is_text(find_member(call.get_object(), "id"))) {
        call.get_object()["id"] = ids.next_call();
      }
    }
  }
  const json::value* role = find_member(message, "role");
  if (role != nullptr && role->is_string() && role->get_string() == "tool" &&
      !is_text(find_member(message, "tool_call_id"))) {
    message["tool_call_id"] = ids.next_result();
    rename_member(message, "tool_name", "name");
  }
  out.emplace_back(std::move(message));
  return std::nullopt;
}

Checked chat_body(const json::object& body, json::object& out) {
  const json::value* messages = find_member(body, "messages");
  if (messages == nullptr || !messages->is_array()) {
    return invalid_param("messages", "'messages' must be a list.");
  }
  json::array list;
  CallIds ids;
  for (const json::value& message : messages->get_array()) {
    if (Checked error = take_message(message, ids, list)) return error;
  }
  out["messages"] = std::move(list);
  if (has_items(body, "tools")) out["tools"] = *find_member(body, "tools");
  if (Checked error = take_logprobs(body, true, out)) return error;
  return take_common(body, out);
}

/// `as_chat`: whether the prompt is a user's message; else it is text to go on with.
Checked generate_body(const json::object& body, bool& as_chat, json::object& out) {
  if (has_items(body, "images")) return no_images();
  if (is_text(find_member(body, "template"))) {
    ApiError error = invalid_param("template", "'template' is not supported; send 'raw': true.");
    error.code = "unsupported";
    return error;
  }
  const json::value* prompt = find_member(body, "prompt");
  if (prompt == nullptr || !prompt->is_string()) {
    return invalid_param("prompt", "'prompt' must be a string.");
  }
  const json::value* raw = find_member(body, "raw");
  if (raw != nullptr && !raw->is_bool()) {
    return invalid_param("raw", "'raw' must be true or false.");
  }
  const json::value* suffix = find_member(body, "suffix");
  as_chat = !(raw != nullptr && raw->get_bool()) && !is_text(suffix);
  if (Checked error = take_common(body, out)) return error;
  if (Checked error = take_logprobs(body, as_chat, out)) return error;
  if (!as_chat) {
    out["prompt"] = *prompt;
    if (is_text(suffix)) out["suffix"] = *suffix;
    if (!out.contains("max_tokens")) out["max_tokens"] = limits::kStreamTokens;
    return std::nullopt;
  }
  json::array messages;
  const json::value* system = find_member(body, "system");
  if (system != nullptr && !system->is_string()) {
    return invalid_param("system", "'system' must be a string.");
  }
  if (is_text(system)) messages.push_back({{"role", "system"}, {"content", *system}});
  messages.push_back({{"role", "user"}, {"content", *prompt}});
  out["messages"] = std::move(messages);
  return std::nullopt;
}

std::string empty_message(const OllamaRequest& request, Env& env) {
  std::string out = "{\"model\":";
  append_json_string(out, request.model);
  out += ",\"created_at\":\"" + iso_time(env.unix_micros()) + "\"";
  return out + (request.kind == OllamaKind::kChat
                    ? ",\"message\":{\"role\":\"assistant\",\"content\":\"\"}"
                    : ",\"response\":\"\"");
}

}  // namespace

std::string iso_time(int64_t unix_micros) {
  const time_t seconds = unix_micros / 1'000'000;
  struct tm utc = {};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     unix_micros % 1'000'000);
}

Checked read_ollama_request(const json::object& body, OllamaKind kind, OllamaRequest& out) {
  out.kind = kind;
  const json::value* model = find_member(body, "model");
  if (!is_text(model)) return invalid_param("model", "'model' must name a model.");
  out.model = model->get_string();
  if (const json::value* stream = find_member(body, "stream")) {
    if (!stream->is_bool()) return invalid_param("stream", "'stream' must be true or false.");
    out.stream = stream->get_bool();
  }
  if (const json::value* keep = find_member(body, "keep_alive")) {
    out.keep_alive =
        parse_keep_alive(keep->is_string() ? std::string(keep->get_string()) : to_json(*keep));
    if (!out.keep_alive) {
      return invalid_param("keep_alive",
                           "'keep_alive' must be seconds, or a duration such as \"5m\".");
    }
  }
  const json::value* text = find_member(body, kind == OllamaKind::kEmbed ? "input" : "prompt");
  const bool empty = text == nullptr || (text->is_string() && text->get_string().empty());
  switch (kind) {
    case OllamaKind::kChat:
      out.load_only = !has_items(body, "messages");
      break;
    case OllamaKind::kGenerate:
      out.load_only = empty && !is_text(find_member(body, "suffix"));
      break;
    case OllamaKind::kEmbed:
      out.load_only = empty || (text->is_array() && text->get_array().empty());
      break;
    case OllamaKind::kEmbeddings:
      out.load_only = empty;
      break;
  }
  return std::nullopt;
}

Checked read_ollama_name(const json::object& body, std::string& name) {
  for (const char* field : {"model", "name"}) {
    const json::value* value = find_member(body, field);
    if (!is_text(value)) continue;
    name = value->get_string();
    return std::nullopt;
  }
  return invalid_param("model", "'model' must name a model.");
}

Checked plan_ollama(const ServedModel& model, json::object& body, const OllamaRequest& request,
                    int64_t loaded_micros, Env& env, GenerationPlan& out) {
  json::object plain;
  bool as_chat = true;
  Checked error = request.kind == OllamaKind::kChat ? chat_body(body, plain)
                                                    : generate_body(body, as_chat, plain);
  if (error) return error;
  plain["stream"] = request.stream;
  error = as_chat ? plan_openai_chat(model, plain, env, out)
                  : plan_openai_completions(model, plain, env, out);
  if (error) return error;
  out.content_type = kOllamaStream;
  out.writer = std::make_unique<OllamaWriter>(request, loaded_micros, env,
                                              out.params.logprobs ? model.tokenizer : nullptr);
  return std::nullopt;
}

std::string ollama_empty_piece(const OllamaRequest& request, Env& env) {
  return empty_message(request, env) + ",\"done\":false}\n";
}

std::string ollama_nothing(const OllamaRequest& request, std::string_view reason, Env& env) {
  std::string out = empty_message(request, env);
  out += ",\"done\":true,\"done_reason\":";
  append_json_string(out, reason);
  return out + "}\n";
}

}  // namespace hadal
