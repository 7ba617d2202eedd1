#pragma once
/// From an OpenAI-style body to the one canonical Conversation.
#include "base/json.h"
#include "serve/errors.h"
#include "text/conversation.h"

namespace hadal {

/// Reads messages, tools, tool_choice, thinking, reasoning_effort, chat_template_kwargs,
/// add_generation_prompt and continue_final_message. A final assistant message with "prefix": true
/// is continued, too.
Checked read_conversation(const json::object& body, Conversation& out);

}  // namespace hadal
