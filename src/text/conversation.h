#pragma once
/// Conversation: what every chat dialect is turned into before anything else happens. Same
/// conversation, same prompt bytes, whatever the dialect.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/text.h"

namespace hadal {

/// A call of a tool, as the model made it or as a client sends it back.
struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  ///< JSON text
};

/// The bytes a model sampled for one turn, to be put into later prompts as they were, so that the
/// prompt begins with the very tokens whose keys and values are still known.
struct SampledTurn {
  MarkedText reasoning;  ///< from the prompt's end up to and with </think>; empty: there was none
  MarkedText rest;       ///< answer and calls, without the mark that ended the turn
};

struct Message {
  std::string role = {};    ///< system, user, assistant, tool, latest_reminder
  bool has_content = true;  ///< false: the field was null or absent (an assistant's tool call)
  std::string content = {};
  std::vector<std::string> parts = {};  ///< of a content that came in several; empty: one
  std::string reasoning = {};
  std::vector<ToolCall> tool_calls = {};
  std::string tool_call_id = {};
  std::string name = {};
  std::optional<SampledTurn> sampled = {};  ///< set by who knows that the turn is exactly this
};

struct Conversation {
  std::vector<Message> messages;
  json::array tools;                ///< as the client described them; empty: none offered
  json::object template_variables;  ///< chat_template_kwargs and the like
  bool add_generation_prompt = true;
  bool continue_final_message = false;  ///< the answer goes on where the last message ends
  std::optional<bool> thinking;         ///< empty: as template_variables say, else the codec
  std::string reasoning_effort;         ///< low, high, max and their neighbours; empty: as above
  bool tool_required = false;           ///< the answer should begin with a call
  bool one_call = false;                ///< the answer ends with its first call

  /// The variables a chat template reads. `parse_arguments`: the template wants tool-call
  /// arguments as values instead of text.
  json::object variables(bool parse_arguments) const;

  /// Whether the model is to reason first; `fallback` when nobody said.
  bool wants_thinking(bool fallback) const;
  /// The effort asked for, here or among the template's variables; empty: none.
  std::string effort() const;
  /// Whether tools play a part: offered, called or answered.
  bool uses_tools() const;
};

/// Text of a JSON value as Python's json.dumps(ensure_ascii=False) writes it: the form that
/// prompts of all families hold.
std::string python_json(const json::value& value);
/// The same over several lines, as indent=`width` makes it.
std::string python_json_indented(const json::value& value, int width);

}  // namespace hadal
