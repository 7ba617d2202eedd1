#pragma once
/// Conversation: what every chat dialect is turned into before anything else happens. Same
/// conversation, same prompt bytes, whatever the dialect.
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "serve/errors.h"

namespace hadal {

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  ///< JSON text, as the model wrote it
};

struct Message {
  std::string role;         ///< system, user, assistant, tool
  bool has_content = true;  ///< false: the field was null or absent (an assistant's tool call)
  std::string content;
  std::string reasoning;
  std::vector<ToolCall> tool_calls;
  std::string tool_call_id;
  std::string name;
};

struct Conversation {
  std::vector<Message> messages;
  json::array tools;                ///< as the client described them; empty: none offered
  json::object template_variables;  ///< chat_template_kwargs and the like
  bool add_generation_prompt = true;
  bool continue_final_message = false;  ///< the answer goes on where the last message ends

  /// The variables a chat template reads. `parse_arguments`: the template wants tool-call
  /// arguments as values instead of text.
  json::object variables(bool parse_arguments) const;
};

/// Reads messages, tools, tool_choice, chat_template_kwargs, add_generation_prompt and
/// continue_final_message of an OpenAI-style body.
Checked read_conversation(const json::object& body, Conversation& out);

}  // namespace hadal
