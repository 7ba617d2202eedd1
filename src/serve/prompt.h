#pragma once
/// From a conversation or plain text to the ids of a prompt.
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "serve/backend.h"
#include "serve/conversation.h"
#include "serve/output.h"

namespace hadal {

struct Prompt {
  std::vector<TokenId> ids = {};
  OutputOptions output = {};            ///< how the answer is to be read
  std::vector<std::string> stops = {};  ///< further stop strings that the rendering needs
};

/// The text of a chat as the model's codec writes it. Turns that this server sampled itself go in
/// as they were, see sampled_turns.h.
Checked render_conversation(const ServedModel& model, Conversation conversation,
                            const std::string& tenant, Env& env, RenderedPrompt& out);
/// The same as ids, within the context.
Checked render_chat(const ServedModel& model, Conversation conversation, const std::string& tenant,
                    Env& env, Prompt& out);

/// Text as it is. `parse_specials`: control-token strings in it are control tokens.
std::vector<TokenId> encode_text(const ServedModel& model, std::string_view text,
                                 bool parse_specials, bool add_bos);

/// 400 context_length_exceeded when no room for one token is left.
Checked check_context(const ServedModel& model, size_t prompt_tokens);

}  // namespace hadal
