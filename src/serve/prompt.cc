#include "serve/prompt.h"

#include "text/reasoning.h"

namespace hadal {
namespace {

/// Some templates print tool-call arguments as text, others hand them to tojson and need values.
bool wants_argument_values(const std::string& source) {
  const bool prints_json = source.find("arguments | tojson") != std::string::npos ||
                           source.find("arguments|tojson") != std::string::npos;
  return prints_json && source.find("arguments is string") == std::string::npos;
}

MarkedText render_chatml(const Conversation& conversation) {
  MarkedText out;
  for (const Message& message : conversation.messages) {
    out.append("<|im_start|>", MarkedText::kTemplate);
    out.append(message.role + "\n" + message.content, MarkedText::kCaller);
    out.append("<|im_end|>\n", MarkedText::kTemplate);
  }
  if (conversation.add_generation_prompt) {
    out.append("<|im_start|>assistant\n", MarkedText::kTemplate);
  }
  return out;
}

MarkedText render_lines(const Conversation& conversation) {
  MarkedText out;
  for (const Message& message : conversation.messages) {
    if (message.role == "user") out.append("User: ", MarkedText::kTemplate);
    if (message.role == "assistant") out.append("Assistant: ", MarkedText::kTemplate);
    out.append(message.content, MarkedText::kCaller);
    out.append("\n", MarkedText::kTemplate);
  }
  if (conversation.add_generation_prompt) out.append("Assistant:", MarkedText::kTemplate);
  return out;
}

std::string token_text(const Tokenizer& tokenizer, std::optional<TokenId> id) {
  return id ? std::string(tokenizer.piece(*id, true)) : std::string();
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

Checked render_template(const ServedModel& model, const Conversation& conversation, Env& env,
                        MarkedText& out) {
  const TemplateOptions options{.bos_token = token_text(*model.tokenizer, model.tokenizer->bos()),
                                .eos_token = token_text(*model.tokenizer, model.tokenizer->eos()),
                                .unix_seconds = env.unix_micros() / 1'000'000};
  const json::object variables =
      conversation.variables(wants_argument_values(model.chat_template->source()));
  auto rendered = model.chat_template->render(variables, options);
  if (!rendered.ok()) {
    // Some templates add up texts without asking whether there are any: a call of a tool has none.
    json::object filled = variables;
    if (fill_missing_content(filled)) rendered = model.chat_template->render(filled, options);
  }
  if (!rendered.ok()) {
    return ApiError{.status = 400,
                    .code = "template_error",
                    .message = "The model's chat template refuses this conversation: " +
                               rendered.error().message,
                    .param = "messages"};
  }
  out = std::move(rendered).value();
  return std::nullopt;
}

/// Cuts what the template wrote after the last message, so that the model goes on with it.
Checked cut_after_final_message(const Conversation& conversation, MarkedText& text) {
  const std::string& content = conversation.messages.back().content;
  const size_t last = content.find_last_not_of(" \n\t\r");
  const std::string_view wanted = std::string_view(content).substr(0, last + 1);
  const size_t at = text.bytes.rfind(wanted);
  if (wanted.empty() || at == std::string::npos) {
    return invalid_param("continue_final_message",
                         "The final message does not appear in the rendered prompt.");
  }
  text.bytes.resize(at + wanted.size());
  text.origin.resize(at + wanted.size());
  return std::nullopt;
}

}  // namespace

Checked render_chat(const ServedModel& model, const Conversation& conversation, Env& env,
                    Prompt& out) {
  MarkedText text;
  if (model.chat_template != nullptr) {
    if (Checked error = render_template(model, conversation, env, text)) return error;
  } else if (model.tokenizer->find("<|im_start|>")) {
    text = render_chatml(conversation);
  } else {
    text = render_lines(conversation);
    out.stops.push_back("\nUser:");
  }
  if (conversation.continue_final_message) {
    if (Checked error = cut_after_final_message(conversation, text)) return error;
  }
  out.opens_reasoning = prompt_opens_reasoning(text.bytes);
  out.ids = model.tokenizer->with_bos(model.tokenizer->encode(text));
  return check_context(model, out.ids.size());
}

std::vector<TokenId> encode_text(const ServedModel& model, std::string_view text,
                                 bool parse_specials, bool add_bos) {
  auto ids = model.tokenizer->encode(text, parse_specials ? Specials::kParse : Specials::kText);
  return add_bos ? model.tokenizer->with_bos(std::move(ids)) : ids;
}

Checked check_context(const ServedModel& model, size_t prompt_tokens) {
  if (prompt_tokens == 0) return invalid_param("prompt", "The prompt is empty.");
  if (static_cast<int64_t>(prompt_tokens) < model.n_ctx) return std::nullopt;
  return ApiError{.status = 400,
                  .code = "context_length_exceeded",
                  .message = "This model's context length is " + std::to_string(model.n_ctx) +
                             " tokens, but the prompt has " + std::to_string(prompt_tokens) +
                             " tokens. Shorten it, or start the server with a larger --ctx.",
                  .param = "messages"};
}

}  // namespace hadal
