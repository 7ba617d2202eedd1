// Answers and streams of Anthropic's Messages.
#include <algorithm>

#include "base/json.h"
#include "serve/dialects/anthropic.h"

namespace hadal {
namespace {

class AnthropicWriter final : public ReplyWriter {
 public:
  explicit AnthropicWriter(AnthropicHead head) : head_(std::move(head)) {}

  /// The message begins with its first token, when it is known how much of the prompt was cached.
  void begin(std::string&, const std::vector<Choice>&) override {}

  void delta(std::string& out, Choice& choice, const OutputPiece& piece) override {
    start(out, choice.cached_tokens);
    if (!piece.reasoning.empty()) {
      enter(out, Block::kThinking, R"({"type":"thinking","thinking":"","signature":""})");
      signature_.add(piece.reasoning);
      block_delta(out, "thinking_delta", "thinking", piece.reasoning);
    }
    if (!piece.content.empty()) {
      enter(out, Block::kText, R"({"type":"text","text":"","citations":null})");
      block_delta(out, "text_delta", "text", piece.content);
    }
    for (const OutputEvent& event : piece.calls) {
      if (event.kind == OutputEvent::Kind::kCallBegin) {
        leave(out);
        enter(out, Block::kToolUse, tool_use({event.id, event.name, "{}"}));
      } else if (event.kind == OutputEvent::Kind::kCallArguments) {
        block_delta(out, "input_json_delta", "partial_json", event.text);
      } else {
        leave(out);
      }
    }
  }

  void choice_end(std::string& out, Choice& choice) override {
    start(out, choice.cached_tokens);
    leave(out);
    stop_ = stop_of(choice);
  }

  void end(std::string& out, const Usage& usage) override {
    std::string delta = R"({"type":"message_delta","delta":{)" + stop_;
    delta += "},\"usage\":";
    append_anthropic_usage(delta, usage);
    event(out, "message_delta", delta + "}");
    event(out, "message_stop", R"({"type":"message_stop"})");
  }

  void error(std::string& out, const ApiError& error) override {
    ApiError told = error;
    told.request_id = head_.request_id;
    event(out, "error", anthropic_error_body(told));
  }

  void keep_alive(std::string& out) override {
    start(out, 0);
    event(out, "ping", R"({"type":"ping"})");
  }

  std::string whole(const std::vector<Choice>& choices, const Usage& usage) override {
    const Choice& choice = choices.front();
    std::string content;
    const auto add = [&](const std::string& block) {
      if (!content.empty()) content.push_back(',');
      content += block;
    };
    if (!choice.reasoning.empty()) {
      signature_.add(choice.reasoning);
      add("{\"type\":\"thinking\",\"thinking\":" + quoted(choice.reasoning) +
          ",\"signature\":" + quoted(signature_.text()) + "}");
    }
    if (!choice.content.empty()) {
      add("{\"type\":\"text\",\"text\":" + quoted(choice.content) + ",\"citations\":null}");
    }
    for (const ToolCall& call : choice.tool_calls) add(tool_use(call));
    std::string out =
        message_head() + ",\"content\":[" + content + "]," + stop_of(choice) + ",\"usage\":";
    append_anthropic_usage(out, usage);
    return out + "}";
  }

 private:
  enum class Block : uint8_t { kNone, kThinking, kText, kToolUse };

  static std::string quoted(std::string_view text) {
    std::string out;
    append_json_string(out, text);
    return out;
  }

  static std::string tool_use(const ToolCall& call) {
    // Arguments are JSON of an object by contract; what is not must not break the message.
    const auto input = parse_json(call.arguments);
    return "{\"type\":\"tool_use\",\"id\":" + quoted(call.id) + ",\"name\":" + quoted(call.name) +
           ",\"caller\":{\"type\":\"direct\"},\"input\":" +
           (input.ok() ? to_json(input.value()) : "{}") + "}";
  }

  static void append_anthropic_usage(std::string& out, const Usage& usage) {
    out += "{\"input_tokens\":" + std::to_string(usage.prompt_tokens - usage.cached_tokens);
    out +=
        ",\"cache_creation\":null,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":" +
        std::to_string(usage.cached_tokens);
    out += ",\"output_tokens\":" + std::to_string(usage.completion_tokens);
    out += ",\"output_tokens_details\":{\"thinking_tokens\":" +
           std::to_string(usage.reasoning_tokens) +
           "},\"service_tier\":\"standard\",\"inference_geo\":null,\"server_tool_use\":null}";
  }

  std::string message_head() const {
    return "{\"id\":" + quoted(head_.id) + R"(,"type":"message","role":"assistant","model":)" +
           quoted(head_.model) + R"(,"stop_details":null,"container":null)";
  }

  /// "stop_reason":...,"stop_sequence":...
  std::string stop_of(const Choice& choice) const {
    const std::string& matched = choice.output->matched_stop();
    if (!matched.empty() &&
        std::ranges::find(head_.stop_sequences, matched) != head_.stop_sequences.end()) {
      return R"("stop_reason":"stop_sequence","stop_sequence":)" + quoted(matched);
    }
    std::string_view reason = "end_turn";
    if (choice.finish_reason == "length") reason = "max_tokens";
    if (choice.finish_reason == "tool_calls") reason = "tool_use";
    return "\"stop_reason\":\"" + std::string(reason) + "\",\"stop_sequence\":null";
  }

  static void event(std::string& out, std::string_view name, std::string_view data) {
    out += "event: ";
    out += name;
    out += "\ndata: ";
    out += data;
    out += "\n\n";
  }

  void start(std::string& out, int64_t cached_tokens) {
    if (started_) return;
    started_ = true;
    std::string data = R"({"type":"message_start","message":)" + message_head();
    data += R"(,"content":[],"stop_reason":null,"stop_sequence":null,"usage":)";
    append_anthropic_usage(data,
                           {.prompt_tokens = head_.prompt_tokens, .cached_tokens = cached_tokens});
    event(out, "message_start", data + "}}");
    event(out, "ping", R"({"type":"ping"})");
  }

  /// Opens a block unless one of that kind is open.
  void enter(std::string& out, Block block, const std::string& content_block) {
    if (block_ == block) return;
    leave(out);
    block_ = block;
    event(out, "content_block_start",
          "{\"type\":\"content_block_start\",\"index\":" + std::to_string(index_) +
              ",\"content_block\":" + content_block + "}");
  }

  void leave(std::string& out) {
    if (block_ == Block::kNone) return;
    if (block_ == Block::kThinking) {
      block_delta(out, "signature_delta", "signature", signature_.text());
      signature_ = {};
    }
    block_ = Block::kNone;
    event(out, "content_block_stop",
          "{\"type\":\"content_block_stop\",\"index\":" + std::to_string(index_) + "}");
    ++index_;
  }

  void block_delta(std::string& out, std::string_view type, std::string_view field,
                   std::string_view text) const {
    out += "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":";
    out += std::to_string(index_);
    out += ",\"delta\":{\"type\":\"";
    out += type;
    out += "\",\"";
    out += field;
    out += "\":";
    append_json_string(out, text);
    out += "}}\n\n";
  }

  AnthropicHead head_;
  bool started_ = false;
  Block block_ = Block::kNone;
  int index_ = 0;
  ThinkingSignature signature_;  ///< of the open block
  std::string stop_;
};

}  // namespace

void ThinkingSignature::add(std::string_view text) {
  constexpr uint64_t kPrime = 0x100000001b3;
  for (const char c : text) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * kPrime;
  bytes_ += text.size();
}

std::string ThinkingSignature::text() const {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "hadal-" + std::to_string(bytes_) + "-";
  for (int shift = 60; shift >= 0; shift -= 4) out.push_back(kHex[(hash_ >> shift) & 15]);
  return out;
}

std::unique_ptr<ReplyWriter> make_anthropic_writer(AnthropicHead head) {
  return std::make_unique<AnthropicWriter>(std::move(head));
}

}  // namespace hadal
