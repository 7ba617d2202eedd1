#pragma once
/// Request parameters: one table of names, kinds and closed ranges for all dialects. Unknown fields
/// are ignored, null counts as absent, a wrong type or a value out of range is a 400 that names the
/// field.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "engine/engine.h"
#include "serve/answer_format.h"
#include "serve/errors.h"

namespace hadal {

/// What a generation endpoint was asked for, besides the prompt.
struct RequestParams {
  SamplingParams sampling;
  int64_t max_tokens = 0;  ///< 0: as many as fit
  int64_t min_tokens = 0;
  bool ignore_eos = false;
  std::vector<TokenId> stop_token_ids = {};
  std::vector<std::string> stop = {};
  std::string cache_salt = {};  ///< shares cached prefixes with requests of the same salt only
  int64_t n = 1;
  int64_t best_of = 0;  ///< completions: answers made per prompt, of which n are given; 0: n
  Priority priority = Priority::kNormal;
  int64_t max_queue_micros = 0;  ///< 0: as the server is configured
  bool stream = false;
  bool include_usage = false;
  bool logprobs = false;  ///< chat: the switch; completions: a number was given
  int64_t top_logprobs = 0;
  bool echo = false;
  bool prompt_only = false;    ///< max_tokens 0: the echo and its logprobs, nothing new
  bool show_special = false;   ///< skip_special_tokens: false
  bool return_tokens = false;  ///< the answer's ids are wanted, too
  AnswerFormat format = {};

  /// Answers to make for each prompt.
  int64_t made() const { return std::max(n, best_of); }
};

enum class ParamKind : uint8_t { kNumber, kInteger, kBoolean };

/// A value of the right kind within its range.
struct ParamValue {
  double number = 0;
  int64_t integer = 0;
  bool boolean = false;
};

struct ParamRow {
  std::string_view name;
  ParamKind kind;
  double min;  ///< both ends are allowed
  double max;
  void (*set)(RequestParams& params, const ParamValue& value);
};

/// Rows that every generation endpoint reads.
std::span<const ParamRow> common_params();
/// Rows where the dialects differ: logprobs is a boolean in chat, a number in completions.
std::span<const ParamRow> chat_params();
std::span<const ParamRow> completion_params();

/// Reads `rows` from `body`.
Checked read_params(const json::object& body, std::span<const ParamRow> rows, RequestParams& out);
/// Reads stop, stop_token_ids, logit_bias, cache_salt, user_id, service_tier, stream_options and
/// the fields of answer_format.h.
Checked read_structured_params(const json::object& body, int64_t n_vocab, RequestParams& out);

/// A string or a list of them, as `param`.
Checked read_stop(const json::value& value, std::string_view param, RequestParams& out);
/// cache_salt and DeepSeek's user_id.
Checked read_isolation(const json::object& body, RequestParams& out);
/// Adds a user to the salt.
void isolate_user(std::string_view user_id, RequestParams& out);

/// Optional members of one kind; 400 naming the member when it is of another.
Checked read_string(const json::object& body, std::string_view name, std::string& out);
Checked read_flag(const json::object& body, std::string_view name, bool& out);
/// A member that must be a text; 400 naming `param`.`name` when it is not.
Checked needed_string(const json::object& object, std::string_view name, std::string_view param,
                      std::string& out);

/// An array of token ids within the vocabulary.
Checked read_token_ids(const json::value& value, std::string_view param, int64_t n_vocab,
                       std::vector<TokenId>& out);

/// The member, or null when it is absent or JSON null.
const json::value* find_member(const json::object& body, std::string_view name);

}  // namespace hadal
