#pragma once
/// From an OpenAI-style body to the one canonical Conversation.
#include "base/json.h"
#include "serve/errors.h"
#include "text/conversation.h"

namespace hadal {

/// Reads messages, tools, tool_choice, parallel_tool_calls, thinking, reasoning_effort,
/// chat_template_kwargs, add_generation_prompt and continue_final_message. A final assistant
/// message with "prefix": true is continued, too.
Checked read_conversation(const json::object& body, Conversation& out);

// Parts that other dialects use.

/// The member `name` of `body` as the effort; errors call it `param`.
Checked read_effort(const json::object& body, std::string_view name, std::string_view param,
                    Conversation& out);
/// Only the tool of that name is offered from now on, and must be called.
Checked offer_one_tool(std::string_view name, Conversation& out);

/// tool_choice as a word; false for one that is none of "auto", "none" and "required".
bool take_tool_choice(std::string_view word, Conversation& out);

}  // namespace hadal
