#pragma once
/// One request through the engine, from a thread that waits for it: run and chat.
#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "app/app.h"
#include "base/json.h"
#include "engine/engine.h"
#include "text/codec.h"

namespace hadal {

/// What came out, and how long it took.
struct Generated {
  std::vector<TokenId> ids;  ///< without the token that ended generation
  std::string text;
  FinishEvent finish;
};

/// Whether an answer to `prompt` goes on with its text: the last token is a piece of text. After a
/// control token, or nothing, a new text begins.
bool continues_text(const Tokenizer& tokenizer, std::span<const TokenId> prompt);

/// Submits `request` and waits for its end, handing on whole characters as they come. When
/// `stopped` (may be null) becomes true the request is cancelled and what is there is returned.
/// `continuation`: see Detokenizer.
Result<Generated> generate(Engine& engine, const Tokenizer& tokenizer, GenerateRequest request,
                           const std::function<void(std::string_view)>& on_text,
                           const std::atomic<bool>* stopped, bool continuation = false);

/// A prompt as ids, BOS included, and how the answer to it is read.
struct ConversationPrompt {
  std::vector<TokenId> ids;
  OutputParserOptions parser;
};

/// What `messages` (role and content each) make the model answer, by its codec.
Result<ConversationPrompt> conversation_prompt(const LoadedText& text, const json::array& messages);

/// The codec of a model; `name` (may be empty) overrides the choice.
Result<Codec> codec_of(const LoadedText& text, const std::string& name);

/// The prompt of a body as the chat endpoint takes it.
Result<RenderedPrompt> render_body(const LoadedText& text, const Codec& codec,
                                   const json::object& body);

/// Tokens per second; 0 when there is nothing to divide.
double tokens_per_second(int64_t tokens, int64_t micros);
double prefill_speed(const FinishEvent& finish);
double decode_speed(const FinishEvent& finish);

/// The context to run `prompt_tokens` and `max_tokens` (0: open end) in, within what the model was
/// trained for; `asked` (0: none) overrides. kInvalidArgument when the prompt does not fit.
Result<int64_t> context_for(int64_t prompt_tokens, int64_t max_tokens, int64_t asked,
                            int64_t n_ctx_train);

}  // namespace hadal
