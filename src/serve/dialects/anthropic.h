#pragma once
/// Anthropic's Messages: POST /v1/messages and /v1/messages/count_tokens.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "serve/answer_format.h"
#include "serve/backend.h"
#include "serve/errors.h"
#include "serve/generation.h"
#include "text/conversation.h"

namespace hadal {

/// system, messages, tools, tool_choice, thinking and output_config. Tools of types that run at
/// the provider are skipped; so are the blocks they leave in a history, and reasoning that somebody
/// else encrypted. A last message of the assistant is continued.
Checked read_anthropic(const json::object& body, Conversation& out);
/// The format that output_format or output_config.format asks for.
Checked read_anthropic_format(const json::object& body, AnswerFormat& out);

/// A Planner (service.h).
Checked plan_anthropic(const ServedModel& model, json::object& body, Env& env, GenerationPlan& out);

/// {"input_tokens": N}: what the same body would cost, also when it does not fit the context.
Checked count_anthropic_tokens(const ServedModel& model, const json::object& body, Env& env,
                               std::string& out);

/// What a block of reasoning is signed with: a digest, so that a client's log can tell whether the
/// text is the one we sent. Nothing depends on it, and blocks come back with or without it.
class ThinkingSignature {
 public:
  void add(std::string_view text);
  std::string text() const;

 private:
  uint64_t hash_ = 0xcbf29ce484222325;  ///< FNV-1a
  uint64_t bytes_ = 0;
};

struct AnthropicHead {
  std::string id;
  std::string model;
  std::string request_id;
  int64_t prompt_tokens = 0;
  std::vector<std::string> stop_sequences = {};
};

/// message_start, ping, content_block_start / delta / stop, message_delta, message_stop. Of one
/// choice.
std::unique_ptr<ReplyWriter> make_anthropic_writer(AnthropicHead head);

/// The numbers and switches of a body.
std::span<const ParamRow> anthropic_params();

}  // namespace hadal
