#include "serve/output.h"

namespace hadal {

OutputPiece ChoiceOutput::route(std::string text) {
  if (!split_) return {.reasoning = "", .content = filter_.push(text)};
  OutputPiece piece = splitter_.push(text);
  piece.content = filter_.push(piece.content);
  return piece;
}

OutputPiece ChoiceOutput::push(TokenId id) {
  OutputPiece piece = route(detokenizer_.push(id));
  if (split_ && (splitter_.inside() || !piece.reasoning.empty())) ++reasoning_tokens_;
  return piece;
}

OutputPiece ChoiceOutput::finish() {
  if (filter_.stopped()) return {};
  OutputPiece piece = route(detokenizer_.finish());
  if (split_) {
    OutputPiece rest = splitter_.finish();
    piece.reasoning += rest.reasoning;
    piece.content += filter_.push(rest.content);
  }
  piece.content += filter_.finish();
  return piece;
}

}  // namespace hadal
