#include "app/generate.h"

#include <algorithm>
#include <deque>
#include <optional>

#include <fmt/format.h>

#include "base/env.h"
#include "base/mutex.h"
#include "serve/conversation.h"

namespace hadal {
namespace {

/// Positions a conversation gets when nobody asks for more.
constexpr int64_t kDefaultContext = 8192;
constexpr auto kStopPoll = std::chrono::milliseconds(50);

/// What the engine's thread hands to the waiting one.
class Inbox {
 public:
  void add(TokenId id) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    ids_.push_back(id);
    arrived_.notify_one();
  }
  void finish(const FinishEvent& event) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    finished_ = event;
    arrived_.notify_one();
  }
  /// The ids since the last call, possibly none when `kStopPoll` passed; true at the end.
  bool take(std::deque<TokenId>& ids, FinishEvent& event) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    if (ids_.empty() && !finished_.has_value()) arrived_.wait_for(mu_, kStopPoll);
    ids.swap(ids_);
    if (!finished_.has_value()) return false;
    event = *finished_;
    return true;
  }

 private:
  Mutex mu_;
  CondVar arrived_;
  std::deque<TokenId> ids_ GUARDED_BY(mu_);
  std::optional<FinishEvent> finished_ GUARDED_BY(mu_);
};

class InboxSink final : public TokenSink {
 public:
  explicit InboxSink(Inbox& inbox) : inbox_(inbox) {}
  void on_token(const TokenEvent& event) override { inbox_.add(event.id); }
  void on_finish(const FinishEvent& event) override { inbox_.finish(event); }

 private:
  Inbox& inbox_;
};

}  // namespace

bool continues_text(const Tokenizer& tokenizer, std::span<const TokenId> prompt) {
  return !prompt.empty() && tokenizer.kind(prompt.back()) != TokenKind::kControl;
}

Result<Generated> generate(Engine& engine, const Tokenizer& tokenizer, GenerateRequest request,
                           const std::function<void(std::string_view)>& on_text,
                           const std::atomic<bool>* stopped, bool continuation) {
  const auto ends = tokenizer.end_of_generation();
  request.stop_ids.insert(request.stop_ids.end(), ends.begin(), ends.end());
  Inbox inbox;  // outlives the sink's use: nothing comes after on_finish
  TRY(const RequestId id, engine.submit(std::move(request), std::make_unique<InboxSink>(inbox)));

  Generated out;
  Detokenizer characters(tokenizer, false, continuation);
  const auto hand_on = [&](const std::string& text) {
    out.text += text;
    if (on_text && !text.empty()) on_text(text);
  };
  bool cancelled = false;
  bool done = false;
  while (!done) {
    std::deque<TokenId> ids;
    done = inbox.take(ids, out.finish);
    for (const TokenId token : ids) {
      out.ids.push_back(token);
      hand_on(characters.push(token));
    }
    if (!done && !cancelled && stopped != nullptr && stopped->load()) {
      engine.cancel(id);
      cancelled = true;
    }
  }
  hand_on(characters.finish());
  if (out.finish.reason == FinishReason::kError) return Error{Code::kInternal, out.finish.error};
  return out;
}

Result<Codec> codec_of(const LoadedText& text, const std::string& name) {
  TRY(const auto architecture, text.file->string("general.architecture"));
  const CodecModel model{.architecture = architecture.value_or(""),
                         .chat_template = text.chat_template.get(),
                         .tokenizer = text.tokenizer.get()};
  if (name.empty()) return Codec::choose(model);
  return Codec::named(name, model);
}

Result<RenderedPrompt> render_body(const LoadedText& text, const Codec& codec,
                                   const json::object& body) {
  if (codec.kind() == CodecKind::kTemplate && text.chat_template == nullptr) {
    return Error{Code::kUnsupported, text.template_problem, "use --raw to continue plain text"};
  }
  Conversation conversation;
  if (const Checked problem = read_conversation(body, conversation)) {
    return Error{Code::kInvalidArgument, problem->param.empty()
                                             ? problem->message
                                             : problem->param + ": " + problem->message};
  }
  const Tokenizer& tokenizer = *text.tokenizer;
  TemplateOptions options;
  if (tokenizer.bos().has_value()) options.bos_token = tokenizer.piece(*tokenizer.bos(), true);
  if (tokenizer.eos().has_value()) options.eos_token = tokenizer.piece(*tokenizer.eos(), true);
  options.unix_seconds = Env::real().unix_micros() / 1'000'000;
  return codec.render(conversation, options);
}

Result<ConversationPrompt> conversation_prompt(const LoadedText& text,
                                               const json::array& messages) {
  TRY(const Codec codec, codec_of(text, ""));
  TRY(const RenderedPrompt prompt, render_body(text, codec, {{"messages", messages}}));
  ConversationPrompt out;
  out.ids = text.tokenizer->with_bos(text.tokenizer->encode(prompt.text));
  out.parser = {.syntax = codec.call_syntax(), .start = prompt.start, .tools_offered = false};
  return out;
}

double tokens_per_second(int64_t tokens, int64_t micros) {
  return tokens > 0 && micros > 0 ? static_cast<double>(tokens) * 1e6 / static_cast<double>(micros)
                                  : 0;
}

double prefill_speed(const FinishEvent& finish) {
  return tokens_per_second(finish.prompt_tokens - finish.cached_tokens, finish.prefill_micros);
}

double decode_speed(const FinishEvent& finish) {
  return tokens_per_second(finish.completion_tokens - 1, finish.decode_micros);
}

Result<int64_t> context_for(int64_t prompt_tokens, int64_t max_tokens, int64_t asked,
                            int64_t n_ctx_train) {
  const int64_t limit = n_ctx_train > 0 ? n_ctx_train : kDefaultContext;
  if (asked > limit) {
    return Error{
        Code::kInvalidArgument,
        fmt::format("a context of {} is more than the {} positions the model was trained for",
                    asked, limit),
        fmt::format("use --ctx {} or less", limit)};
  }
  const int64_t wanted = std::max(kDefaultContext, prompt_tokens + max_tokens);
  const int64_t context = asked > 0 ? asked : std::min(limit, wanted);
  if (prompt_tokens >= context) {
    return Error{
        Code::kInvalidArgument,
        fmt::format("the prompt has {} tokens, the context holds {}", prompt_tokens, context),
        "shorten the prompt: there must be room for at least one token of answer"};
  }
  return context;
}

}  // namespace hadal
