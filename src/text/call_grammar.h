#pragma once
/// Grammars of answers that call tools: each family's syntax (output_parser.h), arguments by the
/// tools' schemas.
#include <string_view>

#include "base/json.h"
#include "text/codec.h"
#include "text/grammar.h"

namespace hadal {

/// Calls that an answer may make.
struct CallRules {
  json::array tools = {};  ///< {"type":"function","function":{"name","parameters","strict"}}
  bool required = false;   ///< the answer must call
  bool parallel = true;    ///< more than one call is allowed
};

/// A block of calls: the text that begins it, and the grammar of all behind that. A prompt that
/// opens the block for the model writes `gap`, too.
struct CallBlock {
  std::string_view open;
  std::string_view gap;
  Grammar rest;
};

/// kUnsupported when the family has no calls. A tool whose schema cannot be enforced may get any
/// JSON object, unless it says "strict": then the error names the tool and the place.
Result<CallBlock> call_block(const Codec& codec, const CallRules& rules,
                             const Tokenizer& tokenizer);

/// `text` as the end of free text: bytes, or the one token that it is in this vocabulary.
TextMarker text_marker(std::string_view text, const Tokenizer& tokenizer);
/// Exactly this text; what are strings of control in it has to come as control tokens.
Grammar marker_grammar(std::string_view text, const Tokenizer& tokenizer);

}  // namespace hadal
