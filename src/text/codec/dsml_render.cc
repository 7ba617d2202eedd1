/// V3.2 and V4: calls of tools written in DSML. DeepSeek publishes encoders for them instead of
/// templates; V3.2 is written from its encoding_dsv32, V4 is equal to the package deepseek-recipe.
#include <algorithm>
#include <map>

#include "text/codec/markers.h"
#include "text/codec/writer.h"

namespace hadal {
namespace {

constexpr std::string_view kDsml = "｜DSML｜";
constexpr std::string_view kReminder = "<｜latest_reminder｜>";

constexpr std::string_view kEffortThorough =
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\n"
    "You MUST be very thorough in your thinking and comprehensively decompose the problem to "
    "resolve the root cause, rigorously stress-testing your logic against all potential paths, "
    "edge cases, and adversarial scenarios.\n"
    "Explicitly write out your entire deliberation process, documenting every intermediate step, "
    "considered alternative, and rejected hypothesis to ensure absolutely no assumption is left "
    "unchecked.\n\n";
constexpr std::string_view kEffortBeyond =
    "Reasoning Effort: Beyond maximum — exhaustive, relentless, and uncompromising.\n"
    "You MUST reason with the utmost depth and rigor, leaving absolutely nothing to chance: "
    "exhaustively decompose the problem into its most fundamental components, trace every causal "
    "chain to its root, and resolve the underlying cause rather than any surface symptom.\n"
    "Do not stop reasoning until you have independently verified the solution from multiple "
    "angles and are certain that no assumption remains unchecked and no error remains "
    "undiscovered.\n\n";

/// "<" names a tag of DSML: $ stands for the token.
void mark_dsml(PromptWriter& out, std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t token = std::min(text.find('$', at), text.size());
    out.mark(text.substr(at, token - at));
    const bool name = text.substr(token).starts_with("$TOOL_NAME") ||
                      text.substr(token).starts_with("$PARAMETER_") ||
                      text.substr(token).starts_with("$FUNCTION_NAME");
    if (token < text.size()) out.mark(name ? "$" : kDsml);
    at = token + 1;
  }
}

constexpr std::string_view kToolsV32 =
    "## Tools\n\nYou have access to a set of tools you can use to answer the user's question.\n"
    "You can invoke functions by writing a \"<$function_calls>\" block like the following as part "
    "of your reply to the user:\n<$function_calls>\n<$invoke name=\"$FUNCTION_NAME\">\n"
    "<$parameter name=\"$PARAMETER_NAME\" string=\"true|false\">$PARAMETER_VALUE</$parameter>\n"
    "...\n</$invoke>\n<$invoke name=\"$FUNCTION_NAME2\">\n...\n</$invoke>\n</$function_calls>\n\n"
    "String and scalar parameters should be specified as is without any escaping or quotes, while "
    "lists and objects should use JSON format. The \"string\" attribute should be set to \"true\" "
    "for string type parameters and \"false\" for other types (numbers, booleans, arrays, "
    "objects).\n\nIf the thinking_mode is enabled, then after function results you should strongly "
    "consider outputting a thinking block. Here is an example:\n\n<$function_calls>\n...\n"
    "</$function_calls>\n\n<function_results>\n...\n</function_results>\n\n<think>...thinking "
    "about results</think>\n\nHere are the functions available in JSONSchema format:\n"
    "<functions>\n";

constexpr std::string_view kToolsV4 =
    "## Tools\n\nYou have access to a set of tools to help answer the user's question. You can "
    "invoke tools by writing a \"<$tool_calls>\" block like the following:\n\n<$tool_calls>\n"
    "<$invoke name=\"$TOOL_NAME\">\n<$parameter name=\"$PARAMETER_NAME\" string=\"true|false\">"
    "$PARAMETER_VALUE</$parameter>\n...\n</$invoke>\n<$invoke name=\"$TOOL_NAME2\">\n...\n"
    "</$invoke>\n</$tool_calls>\n\nString parameters should be specified as is and set "
    "`string=\"true\"`. For all other types (numbers, booleans, arrays, objects), pass the value "
    "in JSON format and set `string=\"false\"`.\n\nIf thinking_mode is enabled (triggered by "
    "<think>), you MUST output your complete reasoning inside <think>...</think> BEFORE any tool "
    "calls or final response.\n\nOtherwise, output directly after </think> with tool calls or "
    "final response.\n\n### Available Tool Schemas\n\n";

/// Where V3.2 and V4 differ in what an assistant says.
struct DsmlStyle {
  std::string_view block;                   ///< name of the tag around all calls
  std::string_view empty;                   ///< stands for the parameters of a call without any
  bool sorted;                              ///< calls are in the order of their ids
  std::string (*json)(const json::value&);  ///< how values are written
};
constexpr DsmlStyle kStyleV32 = {"function_calls", "\n", false, python_json};
constexpr DsmlStyle kStyleV4 = {"tool_calls", "", true, recipe_json};

void add_call(PromptWriter& out, const ToolCall& call, const DsmlStyle& style) {
  mark_dsml(out, "<$invoke name=\"");
  out.text(call.name).mark("\">\n");
  const auto parsed = parse_json(call.arguments);
  json::object parameters;
  if (parsed.ok() && parsed.value().is_object()) {
    parameters = parsed.value().get_object();
  } else {
    parameters["arguments"] = call.arguments;
  }
  for (const auto& [name, value] : parameters) {
    mark_dsml(out, "<$parameter name=\"");
    out.text(name).mark("\" string=\"").mark(value.is_string() ? "true" : "false").mark("\">");
    out.text(value.is_string() ? std::string(value.get_string()) : style.json(value));
    mark_dsml(out, "</$parameter>\n");
  }
  if (parameters.empty()) out.mark(style.empty);
  mark_dsml(out, "</$invoke>\n");
}

/// The calls of a turn in the order in which V4 writes them.
std::vector<const ToolCall*> sorted_calls(const Message& message, bool by_id) {
  std::vector<const ToolCall*> out;
  for (const ToolCall& call : message.tool_calls) out.push_back(&call);
  if (by_id) std::ranges::stable_sort(out, {}, [](const ToolCall* call) { return call->id; });
  return out;
}

/// Answer and calls of a turn.
void add_answer(PromptWriter& out, const Message& message, std::string_view content,
                const DsmlStyle& style) {
  if (message.sampled) {
    out.add(message.sampled->rest);
    return;
  }
  out.text(content);
  if (message.tool_calls.empty()) return;
  mark_dsml(out, "\n\n<$");
  out.mark(style.block).mark(">\n");
  for (const ToolCall* call : sorted_calls(message, style.sorted)) add_call(out, *call, style);
  mark_dsml(out, "</$");
  out.mark(style.block).mark(">");
}

/// Reasoning with its end, behind an open <think>.
void add_reasoning(PromptWriter& out, const Message& message) {
  if (message.sampled && !message.sampled->reasoning.bytes.empty()) {
    out.add(message.sampled->reasoning);
  } else {
    out.text(message.reasoning).mark(kThinkEnd);
  }
}

// ---- V3.2 ------------------------------------------------------------------------------------

void add_tools_v32(PromptWriter& out, const json::array& tools) {
  if (tools.empty()) return;
  out.mark("\n\n");
  mark_dsml(out, kToolsV32);
  for (const json::value& tool : tools) {
    const json::object* function = function_of(tool);
    if (function != nullptr) out.text(python_json(*function)).mark("\n");
  }
  out.mark("</functions>\n");
}

class TurnsV32 {
 public:
  TurnsV32(const Conversation& conversation, bool thinking, PromptWriter& out)
      : conversation_(conversation),
        thinking_(thinking),
        out_(out),
        behind_user_(behind_last_user(conversation)) {}

  void add(size_t index) {
    const Message& message = conversation_.messages[index];
    if (message.role == "user") {
      close_results();
      out_.mark(kUser).text(message.content);
      before_ = Before::kUser;
    } else if (message.role == "tool") {
      if (before_ != Before::kResults) out_.mark("\n\n<function_results>");
      out_.mark("\n<result>").text(message.content).mark("</result>");
      before_ = Before::kResults;
    } else if (message.role == "assistant") {
      assistant(message, index);
    }
  }

  /// What the model answers behind; nothing when no turn of its own is due.
  OutputStart generation() {
    close_results();
    if (before_ == Before::kNothing) return OutputStart::kAnswer;
    out_.mark(before_ == Before::kUser ? kAssistant : "\n\n");
    out_.mark(thinking_ ? kThinkBegin : kThinkEnd);
    return thinking_ ? OutputStart::kReasoning : OutputStart::kAfterReasoning;
  }

  void close_results() {
    if (before_ != Before::kResults) return;
    out_.mark("\n</function_results>");
    before_ = Before::kClosedResults;
  }

 private:
  enum class Before : uint8_t { kNothing, kUser, kResults, kClosedResults };

  void assistant(const Message& message, size_t index) {
    close_results();
    if (before_ != Before::kNothing) {
      out_.mark(before_ == Before::kUser ? kAssistant : "\n\n");
      if (thinking_ && index >= behind_user_) {
        out_.mark(kThinkBegin);
        add_reasoning(out_, message);
      } else {
        out_.mark(kThinkEnd);
      }
    }
    before_ = Before::kNothing;
    add_answer(out_, message, message.content, kStyleV32);
    if (!is_continued(conversation_, index)) out_.mark(kEos);
  }

  const Conversation& conversation_;
  bool thinking_;
  PromptWriter& out_;
  size_t behind_user_;
  Before before_ = Before::kNothing;
};

// ---- V4 --------------------------------------------------------------------------------------

/// Names as the hosted service maps them.
std::string_view effort_text(std::string effort, bool late) {
  if (effort == "minimal" || effort == "low") return {};
  const bool most = effort == "max" || effort == "ultra";
  if (!late) return most ? kEffortThorough : std::string_view();
  return most ? kEffortBeyond : kEffortThorough;
}

void add_tools_v4(PromptWriter& out, const json::array& tools) {
  if (tools.empty()) return;
  out.mark("\n\n");
  mark_dsml(out, kToolsV4);
  for (const json::value& tool : tools) {
    const json::object* function = function_of(tool);
    if (function == nullptr) continue;
    json::object shown;
    shown["name"] = string_member(*function, "name");
    shown["description"] = string_member(*function, "description");
    const json::value* parameters = function->if_contains("parameters");
    shown["parameters"] =
        parameters == nullptr || parameters->is_null() ? json::object() : *parameters;
    out.text(recipe_json(shown)).mark("\n");
  }
  out.mark(
      "\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool "
      "calls.\n");
}

/// Text parts of one message are paragraphs here.
std::string paragraphs(const Message& message) {
  if (message.parts.size() < 2) return message.content;
  std::string out = message.parts.front();
  for (size_t i = 1; i < message.parts.size(); ++i) out += "\n\n" + message.parts[i];
  return out;
}

class TurnsV4 {
 public:
  TurnsV4(const Conversation& conversation, bool thinking, PromptWriter& out)
      : conversation_(conversation), thinking_(thinking), out_(out) {
    const json::value* drop = conversation.template_variables.if_contains("drop_thinking");
    keeps_reasoning_ =
        !conversation.tools.empty() || (drop != nullptr && drop->is_bool() && !drop->get_bool());
  }

  OutputStart add_all() {
    const std::vector<Message>& messages = conversation_.messages;
    OutputStart start = OutputStart::kAnswer;
    for (size_t i = 0; i < messages.size(); ++i) {
      if (messages[i].role == "tool") {
        i = results(i);
      } else if (messages[i].role == "user") {
        out_.mark(in_user_ ? "\n\n" : kUser).text(paragraphs(messages[i]));
        in_user_ = true;
      } else if (messages[i].role == "latest_reminder") {
        out_.mark(kReminder).text(paragraphs(messages[i]));
        in_user_ = false;
      } else if (messages[i].role == "assistant") {
        start = assistant(messages[i], is_continued(conversation_, i));
        in_user_ = false;
      }
    }
    return start;
  }

 private:
  /// The results from `first` on, in the order of the calls they answer; gives the last one.
  size_t results(size_t first) {
    const std::vector<Message>& messages = conversation_.messages;
    std::vector<const Message*> run;
    for (size_t i = first; i < messages.size() && messages[i].role == "tool"; ++i) {
      run.push_back(&messages[i]);
    }
    std::map<std::string_view, size_t> order;
    for (size_t i = first; i > 0; --i) {
      if (messages[i - 1].role != "assistant" || messages[i - 1].tool_calls.empty()) continue;
      for (const ToolCall* call : sorted_calls(messages[i - 1], true)) {
        order.emplace(call->id, order.size());
      }
      break;
    }
    const auto place = [&](const Message* result) {
      const auto found = order.find(result->tool_call_id);
      return found == order.end() ? order.size() : found->second;
    };
    std::ranges::stable_sort(run, {}, place);
    in_user_ = false;
    for (const Message* result : run) {
      out_.mark(in_user_ ? "\n\n" : kUser);
      out_.mark("<tool_result>").text(paragraphs(*result)).mark("</tool_result>");
      in_user_ = true;
    }
    return first + run.size() - 1;
  }

  OutputStart assistant(const Message& message, bool continued) {
    const std::string content = paragraphs(message);
    out_.mark(kAssistant);
    if (!thinking_ || !(keeps_reasoning_ || continued)) {
      out_.mark(kThinkEnd);
    } else if (continued && content.empty() && message.tool_calls.empty()) {
      out_.mark(kThinkBegin).text(message.reasoning);
      return message.reasoning.empty() ? OutputStart::kReasoning : OutputStart::kReasoningGoesOn;
    } else {
      out_.mark(kThinkBegin);
      add_reasoning(out_, message);
    }
    add_answer(out_, message, content, kStyleV4);
    if (!continued) out_.mark(kEos);
    return content.empty() ? OutputStart::kAfterReasoning : OutputStart::kAnswerGoesOn;
  }

  const Conversation& conversation_;
  bool thinking_;
  bool keeps_reasoning_;
  PromptWriter& out_;
  bool in_user_ = false;  ///< more of the user's turn may follow
};

}  // namespace

RenderedPrompt render_v32(const Conversation& conversation, std::string_view bos) {
  const bool thinking = conversation.wants_thinking(false);
  PromptWriter out;
  out.mark(bos).text(joined_system(conversation));
  add_tools_v32(out, conversation.tools);
  TurnsV32 turns(conversation, thinking, out);
  for (size_t i = 0; i < conversation.messages.size(); ++i) turns.add(i);
  OutputStart start = OutputStart::kAnswer;
  if (conversation.continue_final_message) {
    start = OutputStart::kAnswerGoesOn;
  } else if (conversation.add_generation_prompt) {
    start = turns.generation();
  } else {
    turns.close_results();
  }
  return {.text = out.take(), .start = start};
}

RenderedPrompt render_v4(const Conversation& conversation, std::string_view bos, bool late_effort) {
  const bool thinking = conversation.wants_thinking(true);
  PromptWriter out;
  out.mark(bos);
  if (thinking) out.mark(effort_text(conversation.effort(), late_effort));
  bool first = true;
  for (const Message& message : conversation.messages) {
    if (message.role != "system") continue;
    if (!std::exchange(first, false)) out.mark("\n\n");
    out.text(paragraphs(message));
  }
  add_tools_v4(out, conversation.tools);
  OutputStart start = TurnsV4(conversation, thinking, out).add_all();
  if (conversation.add_generation_prompt && !conversation.continue_final_message) {
    out.mark(kAssistant).mark(thinking ? kThinkBegin : kThinkEnd);
    start = thinking ? OutputStart::kReasoning : OutputStart::kAfterReasoning;
    if (conversation.tool_required && !conversation.tools.empty() && !thinking) {
      mark_dsml(out, "\n\n<$tool_calls>\n");
      start = OutputStart::kToolBlock;
    }
  }
  return {.text = out.take(), .start = start};
}

}  // namespace hadal
