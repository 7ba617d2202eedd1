/// Models that keep their file's Jinja template, and those that have none.
#include "base/json.h"
#include "text/codec/markers.h"
#include "text/codec/writer.h"

namespace hadal {
namespace {

/// Some templates print tool-call arguments as text, others hand them to tojson and need values.
bool wants_argument_values(const std::string& source) {
  const auto has = [&](const char* text) { return source.find(text) != std::string::npos; };
  const bool prints_json = has("arguments | tojson") || has("arguments|tojson") ||
                           has("['arguments'] | tojson") || has("['arguments']|tojson");
  return prints_json && !has("arguments is string");
}

MarkedText render_chatml(const Conversation& conversation) {
  PromptWriter out;
  for (const Message& message : conversation.messages) {
    out.mark("<|im_start|>").text(message.role + "\n" + message.content).mark("<|im_end|>\n");
  }
  if (conversation.add_generation_prompt) out.mark("<|im_start|>assistant\n");
  return out.take();
}

MarkedText render_plain_lines(const Conversation& conversation) {
  PromptWriter out;
  for (const Message& message : conversation.messages) {
    if (message.role == "user") out.mark("User: ");
    if (message.role == "assistant") out.mark("Assistant: ");
    out.text(message.content).mark("\n");
  }
  if (conversation.add_generation_prompt) out.mark("Assistant:");
  return out.take();
}

/// Null contents become empty ones. False when there was none.
bool fill_missing_content(json::object& variables) {
  bool found = false;
  for (json::value& message : variables["messages"].get_array()) {
    json::value& content = message.get_object()["content"];
    if (!content.is_null()) continue;
    content = "";
    found = true;
  }
  return found;
}

Result<MarkedText> run(const ChatTemplate& chat_template, const Conversation& conversation,
                       const TemplateOptions& options) {
  json::object variables = conversation.variables(wants_argument_values(chat_template.source()));
  auto rendered = chat_template.render(variables, options);
  // Some templates add up texts without asking whether there are any: a call of a tool has none.
  if (!rendered.ok() && fill_missing_content(variables)) {
    rendered = chat_template.render(variables, options);
  }
  if (!rendered.ok()) {
    return Error{Code::kInvalidArgument, "The model's chat template refuses this conversation: " +
                                             rendered.error().message};
  }
  return rendered;
}

/// Cuts what the template wrote after the last message, so that the model goes on with it.
Status cut_after_final_message(const Conversation& conversation, MarkedText& text) {
  const std::string& content = conversation.messages.back().content;
  const size_t last = content.find_last_not_of(" \n\t\r");
  const std::string_view wanted = std::string_view(content).substr(0, last + 1);
  const size_t at = text.bytes.rfind(wanted);
  if (wanted.empty() || at == std::string::npos) {
    return Error{Code::kInvalidArgument,
                 "The final message does not appear in the rendered prompt."};
  }
  text.bytes.resize(at + wanted.size());
  text.origin.resize(at + wanted.size());
  return {};
}

/// What the last bytes that the template wrote say about reasoning.
OutputStart start_behind(const MarkedText& text) {
  size_t end = text.bytes.find_last_not_of(" \n\t\r");
  if (end == std::string::npos) return OutputStart::kAnswer;
  const std::string_view shown = std::string_view(text.bytes).substr(0, ++end);
  if (shown.ends_with(kThinkBegin)) return OutputStart::kReasoning;
  return shown.ends_with(kThinkEnd) ? OutputStart::kAfterReasoning : OutputStart::kAnswer;
}

/// Whether a final message that is continued stops inside its reasoning.
OutputStart start_inside(const std::string& content) {
  const size_t open = content.rfind(kThinkBegin);
  const size_t close = content.rfind(kThinkEnd);
  const bool inside = open != std::string::npos && (close == std::string::npos || close < open);
  return inside ? OutputStart::kReasoningGoesOn : OutputStart::kAnswerGoesOn;
}

}  // namespace

Result<RenderedPrompt> render_template(const CodecModel& model, const Conversation& conversation,
                                       const TemplateOptions& options) {
  RenderedPrompt out;
  if (model.chat_template != nullptr) {
    TRY(out.text, run(*model.chat_template, conversation, options));
  } else if (model.tokenizer != nullptr && model.tokenizer->find("<|im_start|>")) {
    out.text = render_chatml(conversation);
  } else {
    out.text = render_plain_lines(conversation);
    out.stops.emplace_back("\nUser:");
  }
  if (!conversation.continue_final_message) {
    out.start = start_behind(out.text);
    return out;
  }
  TRY_STATUS(cut_after_final_message(conversation, out.text));
  out.start = start_inside(conversation.messages.back().content);
  return out;
}

}  // namespace hadal
