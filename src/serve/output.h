#pragma once
/// ChoiceOutput: the tokens of one answer turned into text that may be handed on: whole characters,
/// reasoning apart from content, nothing of a stop string.
#include <string>
#include <vector>

#include "serve/params.h"
#include "text/reasoning.h"
#include "text/tokenizer.h"

namespace hadal {

struct OutputOptions {
  bool split_reasoning = false;  ///< off: everything is content
  bool starts_inside = false;    ///< the prompt left a <think> open
  bool show_special = false;
  bool continues_text = false;  ///< the prompt ends in text that the answer goes on with
};

/// Not thread-safe. Borrows the tokenizer.
class ChoiceOutput {
 public:
  ChoiceOutput(const Tokenizer& tokenizer, const OutputOptions& options,
               std::vector<std::string> stops)
      : detokenizer_(tokenizer, options.show_special, options.continues_text),
        splitter_(options.starts_inside),
        filter_(std::move(stops)),
        split_(options.split_reasoning) {}

  OutputPiece push(TokenId id);
  /// What was held back. Call once, at the end.
  OutputPiece finish();
  /// A stop string was found in the content: the answer ends here.
  bool stopped() const { return filter_.stopped(); }
  int64_t reasoning_tokens() const { return reasoning_tokens_; }

 private:
  OutputPiece route(std::string text);

  Detokenizer detokenizer_;
  ReasoningSplitter splitter_;
  StopStringFilter filter_;
  bool split_;
  int64_t reasoning_tokens_ = 0;
};

}  // namespace hadal
