#include "serve/prompt.h"

#include "serve/dialects/common.h"
#include "serve/sampled_turns.h"

namespace hadal {
namespace {

std::string token_text(const Tokenizer& tokenizer, std::optional<TokenId> id) {
  return id ? std::string(tokenizer.piece(*id, true)) : std::string();
}

}  // namespace

Checked render_conversation(const ServedModel& model, Conversation conversation,
                            const std::string& tenant, Env& env, RenderedPrompt& out) {
  const TemplateOptions options{.bos_token = token_text(*model.tokenizer, model.tokenizer->bos()),
                                .eos_token = token_text(*model.tokenizer, model.tokenizer->eos()),
                                .unix_seconds = env.unix_micros() / 1'000'000};
  for (Message& message : conversation.messages) {
    message.sampled = model.sampled_turns->find(tenant, message);
  }
  auto rendered = model.codec().render(conversation, options);
  if (!rendered.ok()) {
    return ApiError{
        .status = 400,
        .code = "template_error",
        .message = rendered.error().message,
        .param = conversation.continue_final_message ? "continue_final_message" : "messages"};
  }
  out = std::move(rendered).value();
  return std::nullopt;
}

Checked render_chat(const ServedModel& model, Conversation conversation, const std::string& tenant,
                    Env& env, Prompt& out) {
  CallRules calls = {.tools = conversation.tools,
                     .required = conversation.tool_required,
                     .parallel = !conversation.one_call};
  std::string last = conversation.messages.empty() ? "" : conversation.messages.back().content;
  RenderedPrompt prompt;
  if (Checked error = render_conversation(model, std::move(conversation), tenant, env, prompt)) {
    return error;
  }
  const Codec codec = model.codec();
  out.stops = std::move(prompt.stops);
  out.output.parse = true;
  out.output.parser = {.syntax = codec.call_syntax(),
                       .start = prompt.start,
                       .tools_offered = !calls.tools.empty(),
                       .call_id = new_id(env, "call_")};
  out.output.shown_tokens = codec.marker_ids(*model.tokenizer);
  out.output.one_call = !calls.parallel;
  out.output.calls = std::move(calls);
  if (prompt.start == OutputStart::kAnswerGoesOn) out.output.answer_begun = std::move(last);
  out.ids = model.tokenizer->with_bos(model.tokenizer->encode(prompt.text));
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
                  .message = "This model's maximum context length is " +
                             std::to_string(model.n_ctx) + " tokens, but the prompt has " +
                             std::to_string(prompt_tokens) +
                             " tokens. Shorten it, or start the server with a larger --ctx.",
                  .param = "messages"};
}

}  // namespace hadal
