#include "serve/dialects/plain.h"

#include "serve/dialects/common.h"
#include "serve/prompt.h"

namespace hadal {
namespace {

enum class Frame : uint8_t { kSse, kSocket };

/// Events of a socket are separated by a NUL here and sent as one message each.
constexpr char kMessageEnd = '\0';

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
    out += frame_ == Frame::kSse ? "data: " + body + "\n\n" : body + kMessageEnd;
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
      out.push_back(kMessageEnd);
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
  if (Checked error = check_model_name(model, body)) return error;
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

/// One /stream connection: answers one prompt after another.
class StreamSocket final : public GenerationHost {
 public:
  StreamSocket(const PeerRef& peer, const ServedModel& model, TokenBackend& backend, Env& env)
      : peer_(peer), model_(model), backend_(backend), env_(env) {}

  void on_message(Exchange& exchange, std::string text) override;
  void on_token(Exchange& exchange, uint64_t number, int choice, const TokenEvent& event) override {
    if (generation_ == nullptr || number != number_) return;
    advance(exchange, generation_->on_token(choice, event));
  }
  bool busy() const override { return generation_ != nullptr || preparing_; }
  void on_finish(Exchange& exchange, uint64_t number, int choice,
                 const FinishEvent& event) override {
    if (generation_ == nullptr || number != number_) return;
    advance(exchange, generation_->on_finish(choice, event));
  }

 private:
  void prepare(std::string text);
  void begin(Exchange& exchange, std::unique_ptr<GenerationPlan> plan, const Checked& problem);
  void advance(Exchange& exchange, const std::string& bytes);
  static void send(Exchange& exchange, std::string_view messages);

  PeerRef peer_;
  const ServedModel& model_;
  TokenBackend& backend_;
  Env& env_;
  std::unique_ptr<Generation> generation_;  ///< null between answers
  uint64_t number_ = 0;
  bool preparing_ = false;
  bool stop_asked_ = false;
};

bool asks_to_stop(std::string_view text) {
  if (text == "STOP") return true;
  if (text.size() > 64 || text.empty() || text.front() != '{') return false;
  auto parsed = parse_json(text);
  if (!parsed.ok() || !parsed.value().is_object()) return false;
  const json::value* stop = find_member(parsed.value().get_object(), "stop");
  return stop != nullptr && stop->is_bool() && stop->get_bool();
}

void StreamSocket::send(Exchange& exchange, std::string_view messages) {
  while (!messages.empty()) {
    const size_t end = messages.find(kMessageEnd);
    exchange.write(std::string(messages.substr(0, end)));
    messages.remove_prefix(end == std::string_view::npos ? messages.size() : end + 1);
  }
}

void StreamSocket::on_message(Exchange& exchange, std::string text) {
  if (asks_to_stop(text)) {
    stop_asked_ = preparing_;
    if (generation_ != nullptr) advance(exchange, generation_->stop_all());
    return;
  }
  if (generation_ != nullptr || preparing_) {
    exchange.write(error_body({.status = 400,
                               .code = "busy",
                               .message = "An answer is running; send STOP first, or wait."}));
    return;
  }
  preparing_ = true;
  stop_asked_ = false;
  prepare(std::move(text));
}

/// Parsing, rendering and tokenising take their time: not on the network thread.
void StreamSocket::prepare(std::string text) {
  peer_.work([peer = peer_, &model = model_, &env = env_, message = std::move(text)] {
    auto plan = std::make_unique<GenerationPlan>();
    Checked problem = plan_socket_message(model, message, env, *plan);
    peer.post([p = std::move(plan), problem = std::move(problem)](Exchange& exchange) mutable {
      auto* socket = static_cast<StreamSocket*>(exchange.state());
      if (socket != nullptr) socket->begin(exchange, std::move(p), problem);
    });
  });
}

void StreamSocket::begin(Exchange& exchange, std::unique_ptr<GenerationPlan> plan,
                         const Checked& problem) {
  preparing_ = false;
  if (problem) {
    exchange.write(error_body(*problem));
    return;
  }
  generation_ = std::make_unique<Generation>(model_, backend_, std::move(*plan));
  if (Checked error = generation_->start(peer_, ++number_)) {
    generation_.reset();
    exchange.write(error_body(*error));
    return;
  }
  if (stop_asked_) advance(exchange, generation_->stop_all());
}

void StreamSocket::advance(Exchange& exchange, const std::string& bytes) {
  if (generation_->failure()) {
    send(exchange, generation_->error_bytes(*generation_->failure()));
    generation_.reset();
    return;
  }
  send(exchange, bytes);
  if (!generation_->done()) return;
  send(exchange, generation_->end());
  generation_.reset();
}

}  // namespace

Checked plan_generate(const ServedModel& model, std::string_view text, Env& env,
                      GenerationPlan& out) {
  json::object body;
  if (Checked error = parse_body(text, body)) return error;
  if (Checked error = plan_plain_body(model, body, env, out)) return error;
  out.writer = std::make_unique<PlainWriter>(Frame::kSse, out.params.n > 1);
  return std::nullopt;
}

Checked plan_socket_message(const ServedModel& model, std::string_view message, Env& env,
                            GenerationPlan& out) {
  json::object body;
  const size_t first = message.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && message[first] == '{') {
    if (Checked error = parse_body(message, body)) return error;
  } else {
    body["prompt"] = json::string(message.data(), message.size());
  }
  if (Checked error = plan_plain_body(model, body, env, out)) return error;
  out.params.stream = true;
  out.writer = std::make_unique<PlainWriter>(Frame::kSocket, out.params.n > 1);
  return std::nullopt;
}

std::unique_ptr<PeerState> make_stream_socket(const PeerRef& peer, const ServedModel& model,
                                              TokenBackend& backend, Env& env) {
  return std::make_unique<StreamSocket>(peer, model, backend, env);
}

}  // namespace hadal
