#include "serve/dialects/plain.h"

#include "serve/dialects/common.h"
#include "serve/prompt.h"

namespace hadal {
namespace {

enum class Frame : uint8_t { kSse, kSocket };

class PlainWriter final : public ReplyWriter {
 public:
  PlainWriter(Frame frame, bool many) : frame_(frame), many_(many) {}

  void begin(std::string&, const std::vector<Choice>&) override {}

  void delta(std::string& out, Choice& choice, const OutputPiece& piece) override {
    if (!piece.reasoning.empty()) append_piece(out, choice, piece.reasoning, true);
    if (!piece.content.empty()) append_piece(out, choice, piece.content, false);
    for (const OutputEvent& event : piece.calls) {
      if (event.kind == OutputEvent::Kind::kCallBegin) {
        choice.tool_calls.push_back({event.id, event.name, ""});
      } else if (event.kind == OutputEvent::Kind::kCallArguments) {
        choice.tool_calls.back().arguments += event.text;
      } else {
        append_call(out, choice);
      }
    }
  }

  void choice_end(std::string&, Choice& choice) override {
    finish_reason_ = choice.finish_reason;
    timing_ = choice.timing;
  }

  void end(std::string& out, const Usage& usage) override {
    open(out);
    out += "\"done\":true,\"finish_reason\":";
    append_json_string(out, finish_reason_);
    out += ",\"usage\":";
    append_usage(out, usage);
    append_timings(out, timing_);
    close(out);
  }

  void error(std::string& out, const ApiError& error) override {
    const std::string body = error_body(error);
    out += frame_ == Frame::kSse ? "data: " + body + "\n\n" : body + kSocketMessageEnd;
  }

  std::string whole(const std::vector<Choice>& choices, const Usage& usage) override {
    const Choice& first = choices.front();
    std::string out = "{\"text\":";
    append_json_string(out, first.content);
    if (!first.reasoning.empty()) {
      out += ",\"reasoning\":";
      append_json_string(out, first.reasoning);
    }
    append_tool_calls(out, first.tool_calls);
    if (many_) {
      out += ",\"texts\":[";
      for (const Choice& choice : choices) {
        if (choice.index > 0) out.push_back(',');
        append_json_string(out, choice.content);
      }
      out += "]";
    }
    out += ",\"finish_reason\":";
    append_json_string(out, first.finish_reason);
    out += ",\"usage\":";
    append_usage(out, usage);
    append_timings(out, first.timing);
    out += "}";
    return out;
  }

 private:
  void open(std::string& out) const { out += frame_ == Frame::kSse ? "data: {" : "{"; }
  void close(std::string& out) const {
    out += "}";
    if (frame_ == Frame::kSse) {
      out += "\n\n";
    } else {
      out.push_back(kSocketMessageEnd);
    }
  }

  void append_piece(std::string& out, const Choice& choice, std::string_view text,
                    bool reasoning) const {
    open(out);
    if (many_) out += "\"index\":" + std::to_string(choice.index) + ",";
    out += "\"token\":" + std::to_string(choice.last_token) + ",\"text\":";
    append_json_string(out, text);
    out += reasoning ? ",\"reasoning\":true" : "";
    out += ",\"tokens\":" + std::to_string(choice.completion_tokens);
    close(out);
  }

  /// A call is told at once, when it is complete.
  void append_call(std::string& out, const Choice& choice) const {
    open(out);
    if (many_) out += "\"index\":" + std::to_string(choice.index) + ",";
    out += "\"tokens\":" + std::to_string(choice.completion_tokens);
    append_tool_calls(out, {&choice.tool_calls.back(), 1});
    close(out);
  }

  static void append_timings(std::string& out, const FinishEvent& timing) {
    out += ",\"timings\":{\"queue_ms\":";
    append_json_number(out, static_cast<double>(timing.queue_micros) / 1000);
    out += ",\"prefill_ms\":";
    append_json_number(out, static_cast<double>(timing.prefill_micros) / 1000);
    out += ",\"decode_ms\":";
    append_json_number(out, static_cast<double>(timing.decode_micros) / 1000);
    out += "}";
  }

  Frame frame_;
  bool many_;
  std::string finish_reason_;
  FinishEvent timing_;
};

Checked plan_plain_body(const ServedModel& model, const json::object& body, Env& env,
                        GenerationPlan& out) {
  RequestParams& params = out.params;
  params.sampling = model.defaults;
  if (Checked error = read_params(body, common_params(), params)) return error;
  if (Checked error = read_structured_params(body, model.tokenizer->size(), params)) return error;
  if (find_member(body, "messages") != nullptr) {
    Conversation conversation;
    if (Checked error = read_conversation(body, conversation)) return error;
    Prompt prompt;
    if (Checked error = render_chat(model, std::move(conversation), params.cache_salt, env, prompt))
      return error;
    params.stop.insert(params.stop.end(), prompt.stops.begin(), prompt.stops.end());
    out.prompts.push_back(std::move(prompt.ids));
    out.output = std::move(prompt.output);
  } else {
    const json::value* prompt = find_member(body, "prompt");
    if (prompt == nullptr || !prompt->is_string()) {
      return invalid_param("prompt", "'prompt' must be a string (or send 'messages').");
    }
    const auto& text = prompt->get_string();
    out.prompts.push_back(
        encode_text(model, std::string_view(text.data(), text.size()), true, true));
    if (Checked error = check_context(model, out.prompts.back().size())) {
      error->param = "prompt";
      return error;
    }
    out.output.continues_text = true;
  }
  out.output.show_special = params.show_special;
  return std::nullopt;
}

}  // namespace

Checked plan_generate(const ServedModel& model, json::object& body, Env& env, GenerationPlan& out) {
  if (Checked error = plan_plain_body(model, body, env, out)) return error;
  out.writer = std::make_unique<PlainWriter>(Frame::kSse, out.params.n > 1);
  return std::nullopt;
}

Checked plan_socket_message(const ServedModel& model, json::object& body, Env& env,
                            GenerationPlan& out) {
  if (Checked error = plan_plain_body(model, body, env, out)) return error;
  out.params.stream = true;
  out.writer = std::make_unique<PlainWriter>(Frame::kSocket, out.params.n > 1);
  return std::nullopt;
}

}  // namespace hadal
