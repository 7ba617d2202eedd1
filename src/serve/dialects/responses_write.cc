// Objects and events of the Responses API.
#include <span>

#include "serve/dialects/common.h"
#include "serve/dialects/responses.h"
#include "serve/params.h"

namespace hadal {
namespace {

json::object text_part(std::string_view type, std::string_view text) {
  json::object part{{"type", type}, {"text", text}};
  if (type == "output_text") {
    part["annotations"] = json::array{};
    part["logprobs"] = json::array{};
  }
  return part;
}

json::object usage_object(const Usage& usage) {
  return {{"input_tokens", usage.prompt_tokens},
          {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
          {"output_tokens", usage.completion_tokens},
          {"output_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens}}},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
}

class ResponsesWriter final : public ReplyWriter {
 public:
  explicit ResponsesWriter(ResponsesHead head)
      : response_(std::move(head.response)),
        request_(std::move(head.request)),
        shelf_(std::move(head.shelf)),
        tokenizer_(head.tokenizer),
        events_(std::move(head.events)),
        id_(response_["id"].get_string()) {
    if (!events_) return;
    std::string nowhere;  // events of the background go to their log
    event(nowhere, "response.created", {{"response", response_}});
    event(nowhere, "response.queued", {{"response", response_}});
  }
  ~ResponsesWriter() override {
    if (events_) events_->close();
  }

  void begin(std::string& out, const std::vector<Choice>&) override {
    if (request_.background) {
      keep("in_progress");
      if (events_) event(out, "response.in_progress", {{"response", response_}});
      return;
    }
    event(out, "response.created", {{"response", response_}});
    event(out, "response.in_progress", {{"response", response_}});
  }

  void delta(std::string& out, Choice& choice, const OutputPiece& piece) override {
    if (!piece.reasoning.empty()) add_text(out, Open::kReasoning, piece.reasoning);
    if (!piece.content.empty()) add_text(out, Open::kMessage, piece.content, choice.logprobs);
    for (const OutputEvent& call : piece.calls) call_event(out, call);
    choice.logprobs.clear();
  }

  void choice_end(std::string& out, Choice& choice) override {
    close(out, item_status(choice));
    if (output_.empty()) {
      open(out, Open::kMessage);
      close(out, "completed");
    }
    finish_reason_ = choice.finish_reason;
  }

  void end(std::string& out, const Usage& usage) override {
    settle(usage);
    keep(std::string(response_["status"].get_string()));
    event(out, "response." + std::string(response_["status"].get_string()),
          {{"response", response_}});
    if (events_) events_->close();
  }

  void error(std::string& out, const ApiError& error) override {
    response_["status"] = "failed";
    response_["error"] = {{"code", "server_error"}, {"message", error.message}};
    response_["output"] = output_;
    keep("failed");
    event(out, "response.failed", {{"response", response_}});
    if (events_) events_->close();
  }

  std::string whole(const std::vector<Choice>& choices, const Usage& usage) override {
    const Choice& choice = choices.front();
    std::string nowhere;
    if (!choice.reasoning.empty()) add_text(nowhere, Open::kReasoning, choice.reasoning);
    if (!choice.content.empty()) {
      add_text(nowhere, Open::kMessage, choice.content, choice.logprobs);
    }
    for (size_t i = 0; i < choice.tool_calls.size(); ++i) {
      const ToolCall& call = choice.tool_calls[i];
      begin_call(nowhere, call.id, call.name);
      text_ = call.arguments;
      end_call(nowhere);
    }
    finish_reason_ = choice.finish_reason;
    close(nowhere, item_status(choice));
    if (output_.empty()) {
      open(nowhere, Open::kMessage);
      close(nowhere, "completed");
    }
    settle(usage);
    keep(std::string(response_["status"].get_string()));
    return to_json(response_);
  }

 private:
  enum class Open : uint8_t { kNothing, kReasoning, kMessage, kCall };

  void event(std::string& out, std::string_view type, json::object data) {
    json::object all{{"type", type}, {"sequence_number", sequence_++}};
    for (auto& member : data) all[member.key()] = std::move(member.value());
    std::string frame = "event: ";
    frame += type;
    frame += "\ndata: ";
    frame += to_json(all);
    frame += "\n\n";
    if (events_) {
      events_->append(std::move(frame));
    } else {
      out += frame;
    }
  }

  /// Of the item that the answer ended in.
  static std::string_view item_status(const Choice& choice) {
    const bool cut = choice.finish_reason == "length" || choice.finish_reason == "cancelled";
    return cut ? "incomplete" : "completed";
  }

  /// An event about the open item.
  void item_event(std::string& out, std::string_view type, json::object more) {
    json::object data{{"item_id", item_["id"]}, {"output_index", output_.size()}};
    for (auto& member : more) data[member.key()] = std::move(member.value());
    event(out, type, std::move(data));
  }

  std::string next_id(std::string_view kind) const {
    return response_item_id(kind, id_, std::to_string(output_.size()));
  }

  void open_item(std::string& out, Open kind, json::object item) {
    open_ = kind;
    item_ = std::move(item);
    text_.clear();
    logprobs_.clear();
    event(out, "response.output_item.added", {{"output_index", output_.size()}, {"item", item_}});
  }

  void open(std::string& out, Open kind) {
    if (open_ == kind) return;
    close(out, "completed");
    if (kind == Open::kReasoning) {
      open_item(out, kind,
                {{"id", next_id("rs")},
                 {"type", "reasoning"},
                 {"status", "in_progress"},
                 {"summary", json::array{}},
                 {"content", json::array{}}});
    } else {
      open_item(out, kind,
                {{"id", next_id("msg")},
                 {"type", "message"},
                 {"status", "in_progress"},
                 {"role", "assistant"},
                 {"content", json::array{}}});
    }
    item_event(out, "response.content_part.added",
               {{"content_index", 0}, {"part", text_part(part_type(), "")}});
  }

  std::string_view part_type() const {
    return open_ == Open::kReasoning ? "reasoning_text" : "output_text";
  }

  /// Those of `entries` that the answer's text is made of; none unless they are asked for.
  json::array text_logprobs(std::span<const TokenLogEntry> entries) const {
    std::vector<TokenLogEntry> shown;
    if (request_.logprobs) {
      for (const TokenLogEntry& entry : entries) {
        if (entry.place == TokenPlace::kAnswer) shown.push_back(entry);
      }
    }
    if (shown.empty()) return {};
    std::string text;
    append_token_logprobs(text, *tokenizer_, shown);
    auto parsed = parse_json(text);
    CHECK(parsed.ok() && parsed.value().is_array());
    return std::move(parsed.value().get_array());
  }

  void add_text(std::string& out, Open kind, std::string_view text,
                std::span<const TokenLogEntry> entries = {}) {
    open(out, kind);
    text_ += text;
    json::object data{{"content_index", 0}, {"delta", text}};
    if (kind == Open::kMessage) {
      json::array logprobs = text_logprobs(entries);
      logprobs_.insert(logprobs_.end(), logprobs.begin(), logprobs.end());
      data["logprobs"] = std::move(logprobs);
    }
    item_event(out, "response." + std::string(part_type()) + ".delta", std::move(data));
  }

  void close(std::string& out, std::string_view status) {
    if (open_ == Open::kNothing) return;
    if (open_ == Open::kReasoning || open_ == Open::kMessage) {
      json::object done{{"content_index", 0}, {"text", text_}};
      if (open_ == Open::kMessage) done["logprobs"] = logprobs_;
      item_event(out, "response." + std::string(part_type()) + ".done", std::move(done));
      json::object part = text_part(part_type(), text_);
      if (open_ == Open::kMessage) part["logprobs"] = logprobs_;
      item_event(out, "response.content_part.done", {{"content_index", 0}, {"part", part}});
      item_["content"] = json::array{std::move(part)};
      if (open_ == Open::kReasoning && request_.encrypted_reasoning) {
        item_["encrypted_content"] = seal_reasoning(text_);
      }
    }
    item_["status"] = status;
    event(out, "response.output_item.done", {{"output_index", output_.size()}, {"item", item_}});
    output_.push_back(std::move(item_));
    item_ = {};
    open_ = Open::kNothing;
  }

  void call_event(std::string& out, const OutputEvent& call) {
    if (call.kind == OutputEvent::Kind::kCallBegin) {
      begin_call(out, call.id, call.name);
    } else if (call.kind == OutputEvent::Kind::kCallArguments) {
      text_ += call.text;
      if (!custom_) {
        item_event(out, "response.function_call_arguments.delta", {{"delta", call.text}});
      }
    } else {
      end_call(out);
    }
  }

  void begin_call(std::string& out, std::string_view call_id, std::string_view name) {
    close(out, "completed");
    custom_ = request_.custom_tools.contains(std::string(name));
    open_item(out, Open::kCall,
              {{"id", next_id(custom_ ? "ctc" : "fc")},
               {"type", custom_ ? "custom_tool_call" : "function_call"},
               {"status", "in_progress"},
               {"call_id", call_id},
               {"name", name},
               {custom_ ? "input" : "arguments", ""}});
  }

  /// The input of a custom tool is the one string in its arguments, known when they are complete.
  std::string custom_input() const {
    const auto parsed = parse_json(text_);
    if (!parsed.ok() || !parsed.value().is_object()) return text_;
    const json::value* input = find_member(parsed.value().get_object(), "input");
    return input != nullptr && input->is_string() ? std::string(input->get_string()) : text_;
  }

  void end_call(std::string& out) {
    if (custom_) {
      const std::string input = custom_input();
      item_["input"] = input;
      item_event(out, "response.custom_tool_call_input.delta", {{"delta", input}});
      item_event(out, "response.custom_tool_call_input.done", {{"input", input}});
    } else {
      item_["arguments"] = text_;
      item_event(out, "response.function_call_arguments.done",
                 {{"name", item_["name"]}, {"arguments", text_}});
    }
    close(out, "completed");
  }

  void settle(const Usage& usage) {
    std::string_view status = "completed";
    if (finish_reason_ == "length") {
      status = "incomplete";
      response_["incomplete_details"] = {{"reason", "max_output_tokens"}};
    } else if (finish_reason_ == "cancelled") {
      status = "cancelled";
    }
    response_["status"] = status;
    response_["output"] = output_;
    response_["usage"] = usage_object(usage);
    if (status == "completed") {
      response_["completed_at"] = shelf_.env->unix_micros() / 1'000'000;
    }
  }

  void keep(const std::string& status) {
    if (!request_.store || shelf_.store == nullptr) return;
    StoredResponse stored{.status = status, .background = request_.background};
    response_["status"] = status;
    stored.body = to_json(response_);
    stored.events = events_;
    auto turn = std::make_shared<ResponseTurn>();  // see ResponseTurnRef; tidy: allow
    turn->id = id_;
    turn->input = request_.input;
    turn->output = output_;
    turn->previous = request_.previous;
    turn->length = request_.previous ? request_.previous->length + 1 : 1;
    turn->bytes =
        stored_turn_bytes(to_json(turn->input).size(), stored.body.size(), request_.previous);
    stored.turn = std::move(turn);
    const int64_t now = shelf_.env->now_micros();
    if (request_.background) {
      shelf_.store->update(shelf_.owner, id_, std::move(stored), now);
    } else {
      shelf_.store->put(shelf_.owner, id_, std::move(stored), now);
    }
  }

  json::object response_;
  ResponsesRequest request_;
  ResponseShelf shelf_;
  const Tokenizer* tokenizer_;
  EventLogRef events_;  ///< null: events go where they are asked for
  std::string id_;
  int64_t sequence_ = 0;
  json::array output_;
  Open open_ = Open::kNothing;
  json::object item_;  ///< the open one
  std::string text_;   ///< of the open item: what came so far
  json::array logprobs_ = {};
  bool custom_ = false;
  std::string finish_reason_;
};

}  // namespace

std::unique_ptr<ReplyWriter> make_responses_writer(ResponsesHead head) {
  return std::make_unique<ResponsesWriter>(std::move(head));
}

}  // namespace hadal
