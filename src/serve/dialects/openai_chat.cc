#include "serve/dialects/openai_chat.h"

#include "serve/dialects/common.h"
#include "serve/prompt.h"

namespace hadal {
namespace {

/// Skeletons are fixed; only escaped deltas and numbers are put in.
class ChatWriter final : public ReplyWriter {
 public:
  ChatWriter(ReplyHead head, const Tokenizer& tokenizer, bool usage_asked, bool logprobs)
      : head_(std::move(head)),
        tokenizer_(tokenizer),
        chunk_prefix_("data: " + reply_prefix(head_, "chat.completion.chunk") + ",\"choices\":["),
        usage_asked_(usage_asked),
        logprobs_(logprobs) {}

  void begin(std::string& out, const std::vector<Choice>& choices) override {
    for (const Choice& choice : choices) {
      open_chunk(out, choice.index);
      out += "\"role\":\"assistant\",\"content\":\"\"";
      close_chunk(out, nullptr, "");
    }
  }

  void delta(std::string& out, Choice& choice, const OutputPiece& piece) override {
    if (!piece.reasoning.empty()) {
      open_chunk(out, choice.index);
      out += "\"reasoning_content\":";
      append_json_string(out, piece.reasoning);
      close_chunk(out, piece.content.empty() && piece.calls.empty() ? &choice : nullptr, "");
    }
    if (!piece.content.empty()) {
      open_chunk(out, choice.index);
      out += "\"content\":";
      append_json_string(out, piece.content);
      close_chunk(out, &choice, "");
    }
    for (const OutputEvent& event : piece.calls) call_delta(out, choice, event);
  }

  void choice_end(std::string& out, Choice& choice) override {
    open_chunk(out, choice.index);
    close_chunk(out, &choice, public_reason(choice.finish_reason));
  }

  void end(std::string& out, const Usage& usage) override {
    if (usage_asked_) {
      out += chunk_prefix_ + "],\"usage\":";
      append_usage(out, usage);
      out += "}\n\n";
    }
    out += "data: [DONE]\n\n";
  }

  void error(std::string& out, const ApiError& error) override { append_sse_error(out, error); }

  std::string whole(const std::vector<Choice>& choices, const Usage& usage) override {
    std::string out = reply_prefix(head_, "chat.completion") + ",\"choices\":[";
    for (const Choice& choice : choices) {
      if (choice.index > 0) out.push_back(',');
      out += "{\"index\":" + std::to_string(choice.index) +
             ",\"message\":{\"role\":\"assistant\",\"content\":";
      if (choice.content.empty() && !choice.tool_calls.empty()) {
        out += "null";
      } else {
        append_json_string(out, choice.content);
      }
      if (!choice.reasoning.empty()) {
        out += ",\"reasoning_content\":";
        append_json_string(out, choice.reasoning);
      }
      append_tool_calls(out, choice.tool_calls);
      out += ",\"refusal\":null},\"logprobs\":";
      append_logprobs(out, choice.logprobs);
      out += ",\"finish_reason\":\"" + std::string(public_reason(choice.finish_reason)) + "\"}";
    }
    out += "],\"usage\":";
    append_usage(out, usage);
    out += "}";
    return out;
  }

 private:
  /// Id and name once, then the arguments in pieces.
  void call_delta(std::string& out, Choice& choice, const OutputEvent& event) {
    if (event.kind == OutputEvent::Kind::kCallEnd) return;
    open_chunk(out, choice.index);
    out += "\"tool_calls\":[{\"index\":" + std::to_string(event.index);
    if (event.kind == OutputEvent::Kind::kCallBegin) {
      out += ",\"id\":";
      append_json_string(out, event.id);
      out += ",\"type\":\"function\",\"function\":{\"name\":";
      append_json_string(out, event.name);
      out += ",\"arguments\":";
    } else {
      out += ",\"function\":{\"arguments\":";
    }
    append_json_string(out, event.text);
    out += "}}]";
    close_chunk(out, &choice, "");
  }

  void open_chunk(std::string& out, int index) const {
    out += chunk_prefix_;
    out += "{\"index\":";
    out += std::to_string(index);
    out += ",\"delta\":{";
  }

  /// `with_logprobs`: writes that choice's waiting logprobs.
  void close_chunk(std::string& out, Choice* with_logprobs, std::string_view reason) const {
    if (with_logprobs != nullptr && !with_logprobs->logprobs.empty()) {
      out += "},\"logprobs\":";
      append_logprobs(out, with_logprobs->logprobs);
      with_logprobs->logprobs.clear();
      out += ",\"finish_reason\":";
    } else {
      out += "},\"logprobs\":null,\"finish_reason\":";
    }
    if (reason.empty()) {
      out += "null";
    } else {
      append_json_string(out, reason);
    }
    out += usage_asked_ ? "}],\"usage\":null}\n\n" : "}]}\n\n";
  }

  void append_logprobs(std::string& out, const std::vector<TokenLogEntry>& entries) const {
    if (!logprobs_) {
      out += "null";
      return;
    }
    out += "{\"content\":";
    append_token_logprobs(out, tokenizer_, entries);
    out += ",\"refusal\":null}";
  }

  ReplyHead head_;
  const Tokenizer& tokenizer_;
  std::string chunk_prefix_;  ///< of every chunk, up to its choices
  bool usage_asked_;
  bool logprobs_;
};

}  // namespace

Checked plan_openai_chat(const ServedModel& model, json::object& body, Env& env,
                         GenerationPlan& out) {
  Conversation conversation;
  if (Checked error = read_conversation(body, conversation)) return error;
  RequestParams& params = out.params;
  params.sampling = model.defaults;
  if (Checked error = read_params(body, common_params(), params)) return error;
  if (Checked error = read_params(body, chat_params(), params)) return error;
  const int64_t n_vocab = model.tokenizer->size();
  if (Checked error = read_structured_params(body, n_vocab, params)) return error;
  if (params.top_logprobs > 0 && !params.logprobs) {
    return invalid_param("top_logprobs", "'top_logprobs' needs 'logprobs': true.");
  }
  settle_params(params);
  Prompt prompt;
  if (Checked error = render_chat(model, std::move(conversation), params.cache_salt, env, prompt))
    return error;
  params.stop.insert(params.stop.end(), prompt.stops.begin(), prompt.stops.end());
  out.prompts.push_back(std::move(prompt.ids));
  out.output = std::move(prompt.output);
  out.output.show_special = params.show_special;
  ReplyHead head{
      .id = new_id(env, "chatcmpl-"), .created = env.unix_micros() / 1'000'000, .model = model.id};
  out.writer = std::make_unique<ChatWriter>(std::move(head), *model.tokenizer,
                                            params.stream && params.include_usage, params.logprobs);
  return std::nullopt;
}

}  // namespace hadal
