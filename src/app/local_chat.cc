#include <fmt/format.h>

#include "app/chat_backend.h"
#include "app/generate.h"
#include "base/env.h"

namespace hadal {
namespace {

class LocalChat final : public ChatBackend {
 public:
  LocalChat(LoadedModel model, Speculation speculation, const ChatBackendOptions& options,
            int64_t context)
      : model_(std::move(model)),
        speculation_(std::move(speculation)),
        options_(options),
        context_(context),
        engine_(*model_.model, {.n_ctx = context, .max_batch = 1}, Env::real(),
                std::move(speculation_.drafter)) {}

  std::string description() const override {
    return fmt::format("{} on {} threads, {} positions", model_.name, model_.pool->size(),
                       context_);
  }

  Result<ChatAnswer> answer(const json::array& messages,
                            const std::function<void(const OutputPiece&)>& on_piece,
                            const std::atomic<bool>& stopped) override {
    TRY(ConversationPrompt prompt, conversation_prompt(model_, messages));
    std::vector<TokenId>& ids = prompt.ids;
    if (static_cast<int64_t>(ids.size()) >= context_) {
      return Error{
          Code::kExhausted,
          fmt::format("the conversation has {} tokens, the context holds {}", ids.size(), context_),
          "start anew with /clear, or restart with a larger --ctx"};
    }
    GenerateRequest request;
    request.prompt = std::move(ids);
    request.sampling = options_.sampling.params();
    request.max_tokens = options_.max_tokens;
    OutputParser parser(std::move(prompt.parser));
    ChatAnswer out;
    const auto hand_on = [&](std::vector<OutputEvent> events) {
      OutputPiece piece;
      piece.add(std::move(events));
      out.content += piece.content;
      if (!piece.empty()) on_piece(piece);
    };
    const auto on_text = [&](std::string_view text) {
      std::vector<OutputEvent> events;
      parser.push(text, events);
      hand_on(std::move(events));
    };
    TRY(const Generated generated,
        generate(engine_, *model_.tokenizer, std::move(request), on_text, &stopped));
    std::vector<OutputEvent> rest;
    parser.finish(rest);
    hand_on(std::move(rest));
    out.cut_off = generated.finish.reason != FinishReason::kStop;
    out.prompt_tokens = generated.finish.prompt_tokens;
    out.completion_tokens = generated.finish.completion_tokens;
    out.prefill_tps = prefill_speed(generated.finish);
    out.decode_tps = decode_speed(generated.finish);
    return out;
  }

 private:
  const LoadedModel model_;
  Speculation speculation_;
  const ChatBackendOptions options_;
  const int64_t context_;
  Engine engine_;  // last: its thread uses the model
};

}  // namespace

Result<std::unique_ptr<ChatBackend>> make_local_chat(LoadedModel model,
                                                     const ChatBackendOptions& options,
                                                     const Settings& settings) {
  TRY(const Codec codec, codec_of(model, ""));
  if (codec.kind() == CodecKind::kTemplate && model.chat_template == nullptr) {
    return Error{Code::kUnsupported, model.name + ": " + model.template_problem,
                 "`hadal run --raw` continues plain text without one"};
  }
  TRY(const int64_t context,
      context_for(0, options.max_tokens, options.context, model.model->n_ctx_train()));
  TRY(Speculation speculation,
      open_speculation(options.speculation, model, KvType::kF16, context, 1, settings));
  return std::unique_ptr<ChatBackend>(
      std::make_unique<LocalChat>(std::move(model), std::move(speculation), options, context));
}

}  // namespace hadal
