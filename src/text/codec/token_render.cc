/// The generations before DSML: plain lines, then turns and calls marked by tokens.
///
/// DeepSeek's V3 and R1 templates leave the end of a block of calls out when there is one call and
/// never begin a second block; these renderers write every block in full.
#include "text/codec/markers.h"
#include "text/codec/writer.h"

namespace hadal {
namespace {

constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>";
constexpr std::string_view kCallsEnd = "<｜tool▁calls▁end｜>";
constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>";
constexpr std::string_view kCallEnd = "<｜tool▁call▁end｜>";
constexpr std::string_view kCallSeparator = "<｜tool▁sep｜>";
constexpr std::string_view kOutputsBegin = "<｜tool▁outputs▁begin｜>";
constexpr std::string_view kOutputsEnd = "<｜tool▁outputs▁end｜>";
constexpr std::string_view kOutputBegin = "<｜tool▁output▁begin｜>";
constexpr std::string_view kOutputEnd = "<｜tool▁output▁end｜>";

std::string_view behind_think(std::string_view text, bool last) {
  const size_t at = last ? text.rfind(kThinkEnd) : text.find(kThinkEnd);
  return at == std::string_view::npos ? text : text.substr(at + kThinkEnd.size());
}

std::string json_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr ? "{}" : python_json(*value);
}

/// Arguments as json.dumps would write them; text that is no JSON as it is.
std::string settled_arguments(const std::string& arguments) {
  const auto parsed = parse_json(arguments);
  return parsed.ok() ? python_json(parsed.value()) : arguments;
}

/// The section that DeepSeek's card of V2.5 shows; V3's and R1's templates write none.
void describe_fenced(const json::array& tools, PromptWriter& out) {
  out.mark("## Tools\n\n### Function\n\nYou have the following functions available:\n");
  for (const json::value& tool : tools) {
    const json::object* function = function_of(tool);
    if (function == nullptr) continue;
    out.mark("\n- `").text(string_member(*function, "name")).mark("`:\n```json\n");
    out.text(python_json_indented(*function, 4)).mark("\n```\n");
  }
}

/// The section of V3.1's card.
void describe_v31(const json::array& tools, PromptWriter& out) {
  out.mark("## Tools\nYou have access to the following tools:\n\n");
  for (const json::value& tool : tools) {
    const json::object* function = function_of(tool);
    if (function == nullptr) continue;
    out.mark("### ").text(string_member(*function, "name"));
    out.mark("\nDescription: ").text(string_member(*function, "description"));
    out.mark("\n\nParameters: ").text(json_of(*function, "parameters")).mark("\n\n");
  }
  out.mark("IMPORTANT: ALWAYS adhere to this exact format for tool use:\n");
  out.mark(kCallsBegin).mark(kCallBegin).mark("tool_call_name").mark(kCallSeparator);
  out.mark("tool_call_arguments").mark(kCallEnd).mark("{additional_tool_calls}").mark(kCallsEnd);
  out.mark(
      "\n\nWhere:\n- `tool_call_name` must be an exact match to one of the available tools\n"
      "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters "
      "Schema\n- For multiple tool calls, chain them directly without separators or spaces");
}

std::string system_text(const Conversation& conversation, bool last_only) {
  if (!last_only) return joined_system(conversation);
  for (size_t i = conversation.messages.size(); i > 0; --i) {
    const Message& message = conversation.messages[i - 1];
    if (message.role == "system") return message.content;
  }
  return {};
}

/// Writes turns one after the other; knows what came before.
class FencedTurns {
 public:
  FencedTurns(const TurnStyle& style, PromptWriter& out) : style_(style), out_(out) {}

  void add(const Message& message, bool continued) {
    if (message.role == "user") {
      close_results();
      out_.mark(kUser).text(message.content);
    } else if (message.role == "tool") {
      out_.mark(in_results_ ? "\n" : kOutputsBegin);
      out_.mark(kOutputBegin).text(message.content).mark(kOutputEnd);
      in_results_ = true;
    } else if (message.role == "assistant") {
      assistant(message, continued);
    }
  }

  /// True when tool results were open.
  bool close_results() {
    if (in_results_) out_.mark(kOutputsEnd);
    return std::exchange(in_results_, false);
  }

 private:
  void assistant(const Message& message, bool continued) {
    std::string_view content = message.content;
    if (!close_results()) {
      out_.mark(kAssistant);
      if (style_.cut == TurnStyle::Cut::kBehindLastThink && !continued) {
        content = behind_think(content, true);
      }
    }
    if (message.sampled) {
      out_.add(message.sampled->rest);
    } else {
      out_.text(content);
      if (!message.tool_calls.empty()) calls(message.tool_calls);
    }
    if (!continued) out_.mark(kEos);
  }

  void calls(const std::vector<ToolCall>& calls) {
    out_.mark(kCallsBegin);
    bool first = true;
    for (const ToolCall& call : calls) {
      if (!std::exchange(first, false)) out_.mark("\n");
      out_.mark(kCallBegin)
          .mark("function")
          .mark(kCallSeparator)
          .text(call.name)
          .mark("\n```json\n");
      out_.text(call.arguments).mark("\n```").mark(kCallEnd);
    }
    out_.mark(kCallsEnd);
  }

  const TurnStyle& style_;
  PromptWriter& out_;
  bool in_results_ = false;
};

}  // namespace

RenderedPrompt render_lines(const Conversation& conversation, std::string_view bos) {
  PromptWriter out;
  out.mark(bos);
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    const Message& message = conversation.messages[i];
    if (message.role == "user") {
      out.mark("User: ").text(message.content).mark("\n\n");
    } else if (message.role == "assistant") {
      out.mark("Assistant: ").text(message.content);
      if (!is_continued(conversation, i)) out.mark(kEos);
    } else if (message.role == "system") {
      out.text(message.content).mark("\n\n");
    }
  }
  if (conversation.add_generation_prompt) out.mark("Assistant:");
  return {.text = out.take(),
          .start = conversation.continue_final_message ? OutputStart::kAnswerGoesOn
                                                       : OutputStart::kAnswer};
}

RenderedPrompt render_fenced(const Conversation& conversation, std::string_view bos,
                             const TurnStyle& style) {
  PromptWriter out;
  out.mark(bos);
  const std::string system = system_text(conversation, style.last_system_only);
  out.text(system);
  if (!conversation.tools.empty()) {
    if (!system.empty()) out.mark("\n\n");
    describe_fenced(conversation.tools, out);
  }
  FencedTurns turns(style, out);
  const size_t count = conversation.messages.size();
  for (size_t i = 0; i < count; ++i) {
    turns.add(conversation.messages[i], is_continued(conversation, i));
  }
  const bool results = turns.close_results();
  if (conversation.continue_final_message) {
    return {.text = out.take(), .start = OutputStart::kAnswerGoesOn};
  }
  if (!conversation.add_generation_prompt || results) return {.text = out.take()};
  out.mark(kAssistant).mark(style.generation);
  return {.text = out.take(),
          .start = style.generation.empty() ? OutputStart::kAnswer : OutputStart::kReasoning};
}

RenderedPrompt render_v31(const Conversation& conversation, std::string_view bos) {
  const bool thinking = conversation.wants_thinking(false);
  PromptWriter out;
  out.mark(bos);
  const std::string system = joined_system(conversation);
  out.text(system);
  if (!conversation.tools.empty()) {
    out.mark("\n\n");
    describe_v31(conversation.tools, out);
  }
  bool after_user = false;
  bool after_result = false;
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    const Message& message = conversation.messages[i];
    if (message.role == "user") {
      out.mark(kUser).text(message.content);
      after_user = true;
      after_result = false;
    } else if (message.role == "tool") {
      out.mark(kOutputBegin).text(message.content).mark(kOutputEnd);
      after_user = false;
      after_result = true;
    } else if (message.role == "assistant") {
      const bool continued = is_continued(conversation, i);
      if (after_user) out.mark(kAssistant).mark(continued && thinking ? kThinkBegin : kThinkEnd);
      const bool whole = after_result || continued || !message.tool_calls.empty();
      if (message.sampled) {
        out.add(message.sampled->rest);
      } else {
        out.text(whole ? message.content : behind_think(message.content, false));
        if (!message.tool_calls.empty()) out.mark(kCallsBegin);
        for (const ToolCall& call : message.tool_calls) {
          out.mark(kCallBegin).text(call.name).mark(kCallSeparator);
          out.text(settled_arguments(call.arguments)).mark(kCallEnd);
        }
        if (!message.tool_calls.empty()) out.mark(kCallsEnd);
      }
      if (!continued) out.mark(kEos);
      after_user = after_result = false;
    }
  }
  if (conversation.continue_final_message) {
    return {.text = out.take(),
            .start = thinking ? OutputStart::kReasoningGoesOn : OutputStart::kAnswerGoesOn};
  }
  if (!conversation.add_generation_prompt || !after_user) return {.text = out.take()};
  out.mark(kAssistant).mark(thinking ? kThinkBegin : kThinkEnd);
  return {.text = out.take(),
          .start = thinking ? OutputStart::kReasoning : OutputStart::kAfterReasoning};
}

}  // namespace hadal
