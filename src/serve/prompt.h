#pragma once
/// From a conversation or plain text to the ids of a prompt.
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "serve/backend.h"
#include "serve/conversation.h"

namespace hadal {

struct Prompt {
  std::vector<TokenId> ids = {};
  bool opens_reasoning = false;         ///< the model starts inside <think>
  std::vector<std::string> stops = {};  ///< further stop strings that the rendering needs
};

/// Renders with the model's template. A model without one gets ChatML when its vocabulary has
/// <|im_start|>, else plain "User: ... Assistant:" lines.
Checked render_chat(const ServedModel& model, const Conversation& conversation, Env& env,
                    Prompt& out);

/// Text as it is. `parse_specials`: control-token strings in it are control tokens.
std::vector<TokenId> encode_text(const ServedModel& model, std::string_view text,
                                 bool parse_specials, bool add_bos);

/// 400 context_length_exceeded when no room for one token is left.
Checked check_context(const ServedModel& model, size_t prompt_tokens);

}  // namespace hadal
