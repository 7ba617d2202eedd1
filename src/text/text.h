#pragma once
/// text: strings <-> ids <-> messages. Tokenizers, chat templates (bounded Jinja), codecs (how each
/// model generation writes prompts and answers). Knows nothing of files, models or networks.
///
/// Road of a prompt: Conversation -> Codec::render -> MarkedText -> Tokenizer::encode.
/// Road of an answer: ids -> Detokenizer -> OutputParser -> StopStringFilter.
/// MarkedText remembers which bytes came from the caller, so that special-token strings inside
/// user text stay text.
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"

namespace hadal {

/// Text with the origin of each byte. `origin` has the same length as `bytes`.
struct MarkedText {
  static constexpr char kTemplate = 't';  ///< written by the template or by the program
  static constexpr char kCaller = 'c';    ///< from messages, tools and other request data

  std::string bytes;
  std::string origin;

  void append(std::string_view text, char from) {
    bytes.append(text);
    origin.append(text.size(), from);
  }
};

}  // namespace hadal
