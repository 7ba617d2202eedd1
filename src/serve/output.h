#pragma once
/// ChoiceOutput: the tokens of one answer turned into text that may be handed on: whole characters,
/// reasoning apart from content, calls of tools apart from both, nothing of a stop string.
#include <optional>
#include <string>
#include <vector>

#include "serve/params.h"
#include "text/call_grammar.h"
#include "text/output_parser.h"
#include "text/stop_strings.h"
#include "text/tokenizer.h"

namespace hadal {

struct OutputOptions {
  bool parse = false;  ///< off: everything is content
  OutputParserOptions parser = {};
  std::vector<TokenId> shown_tokens = {};  ///< control tokens that the parser must see
  bool show_special = false;
  bool continues_text = false;    ///< the prompt ends in text that the answer goes on with
  bool one_call = false;          ///< the answer ends with its first call
  CallRules calls = {};           ///< what the conversation offers
  std::string answer_begun = {};  ///< of an answer that the prompt holds the beginning of

  /// Whether calls have to be kept to their tools' schemas.
  bool constrains_calls() const {
    return !calls.tools.empty() && (calls.required || parser.syntax != CallSyntax::kNone);
  }
};

/// Not thread-safe. Borrows the tokenizer.
class ChoiceOutput {
 public:
  ChoiceOutput(const Tokenizer& tokenizer, const OutputOptions& options,
               std::vector<std::string> stops);

  OutputPiece push(TokenId id);
  /// What was held back. Call once, at the end.
  OutputPiece finish();
  /// The answer ends here: a stop string was found in the content, or its calls are complete.
  bool stopped() const;
  /// The stop string that ended the answer; empty: none did.
  const std::string& matched_stop() const { return filter_.matched(); }
  /// Calls of tools in the answer so far.
  bool has_calls() const { return parser_ && parser_->calls() > 0; }
  bool inside_reasoning() const { return parser_ && parser_->inside_reasoning(); }
  int64_t reasoning_tokens() const { return reasoning_tokens_; }
  /// The turn with its calls and the bytes it was sampled as, once finished. Empty when it has no
  /// calls, or when its bytes would not stand in a later prompt as they stood here.
  std::optional<Message> sampled_turn();

 private:
  OutputPiece route(std::string_view text);
  void record(TokenId id);
  void note(const OutputPiece& piece);

  const Tokenizer& tokenizer_;
  Detokenizer detokenizer_;
  std::optional<OutputParser> parser_;
  std::vector<OutputEvent> events_;  ///< of one push; empty in between, its memory is used again
  StopStringFilter filter_;
  int64_t reasoning_tokens_ = 0;
  bool one_call_ = false;
  bool records_ = false;
  bool in_reasoning_ = false;  ///< of the record
  SampledTurn sampled_;
  Message turn_;
};

}  // namespace hadal
