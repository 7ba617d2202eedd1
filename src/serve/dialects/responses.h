#pragma once
/// OpenAI's Responses: POST /v1/responses and /v1/responses/input_tokens.
///
///   body --responses_read--> Conversation --render--> plan --responses_write--> items and events
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "base/env.h"
#include "serve/backend.h"
#include "serve/errors.h"
#include "serve/generation.h"
#include "serve/response_store.h"
#include "text/conversation.h"

namespace hadal {

/// Where answers are kept, and for whom.
struct ResponseShelf {
  ResponseStore* store = nullptr;
  Env* env = nullptr;
  std::string owner = {};
};

/// A checked request.
struct ResponsesRequest {
  Conversation conversation = {};
  json::array input = {};                   ///< the request's own items, normalised, with ids
  ResponseTurnRef previous = {};            ///< null: a new conversation
  std::set<std::string> custom_tools = {};  ///< whose calls are plain text for the client
  bool store = true;
  bool background = false;
  bool encrypted_reasoning = false;  ///< reasoning comes as something to send back, too
  bool logprobs = false;             ///< of the tokens of the answer's text
};

/// Reads all that is not a number. `id` is the new answer's, "resp_...".
Checked read_responses(const json::object& body, const std::string& id, const ResponseShelf& shelf,
                       ResponsesRequest& out);

/// Items of a request or of an earlier answer as messages, appended to `out`. `param` names them in
/// errors.
Checked read_response_items(const json::array& items, const std::string& param,
                            const ResponseShelf& shelf, Conversation& out);

/// The id of an item: kind_HEX_suffix, so that its answer can be found by it.
std::string response_item_id(std::string_view kind, std::string_view response_id,
                             std::string_view suffix);

/// Reasoning as `encrypted_content`: opaque to clients, readable to us.
std::string seal_reasoning(std::string_view reasoning);
/// Empty when it is not ours.
std::string unseal_reasoning(std::string_view sealed);

struct ResponsesHead {
  json::object response = {};  ///< the object with all that the request fixes; status in_progress
  ResponsesRequest request = {};  ///< without its conversation
  ResponseShelf shelf = {};
  const Tokenizer* tokenizer = nullptr;  ///< for logprobs
  EventLogRef events = {};               ///< streamed in the background: where events go
};

/// The answer's object; or its events, each with a sequence_number; nothing after the last. Of one
/// choice. What the request wants stored is put on the shelf when it is complete; in the background
/// it is updated there. Events of the background go to their log, the first of them at once.
std::unique_ptr<ReplyWriter> make_responses_writer(ResponsesHead head);

/// Whose answers these are: the caller's credential and what keeps its cached prefixes apart.
std::string response_owner(std::string_view credential, std::string_view cache_salt);

struct PlannedResponse {
  GenerationPlan plan = {};
  ResponseShelf shelf = {};
  std::string id = {};
  bool background = false;     ///< nobody waits: the writer puts the answer on the shelf
  StoredResponse queued = {};  ///< background: what to put there before it begins
};
/// Body to plan. `shelf.owner` is the caller's credential.
Checked plan_responses(const ServedModel& model, const json::object& body, ResponseShelf shelf,
                       PlannedResponse& out);

/// {"object":"response.input_tokens","input_tokens":N}
Checked count_responses_tokens(const ServedModel& model, const json::object& body,
                               ResponseShelf shelf, std::string& out);

/// The numbers and switches of a body.
std::span<const ParamRow> responses_params();

}  // namespace hadal
