#include "serve/output.h"

namespace hadal {

ChoiceOutput::ChoiceOutput(const Tokenizer& tokenizer, const OutputOptions& options,
                           std::vector<std::string> stops)
    : tokenizer_(tokenizer),
      detokenizer_(tokenizer, options.show_special, options.continues_text),
      filter_(std::move(stops)) {
  if (!options.parse) return;
  parser_.emplace(options.parser);
  one_call_ = options.one_call;
  detokenizer_.show(options.shown_tokens);
  const OutputStart start = options.parser.start;
  in_reasoning_ = start == OutputStart::kReasoning;
  records_ =
      options.parser.tools_offered && options.parser.syntax != CallSyntax::kNone &&
      (in_reasoning_ || start == OutputStart::kAfterReasoning || start == OutputStart::kAnswer);
  turn_.role = "assistant";
}

bool ChoiceOutput::stopped() const {
  return filter_.stopped() || (parser_ && parser_->ended()) || (one_call_ && has_calls());
}

OutputPiece ChoiceOutput::route(std::string_view text) {
  OutputPiece piece;
  if (!parser_) {
    piece.content = filter_.push(text);
    return piece;
  }
  parser_->push(text, events_);
  piece.add(std::move(events_));
  if (!piece.content.empty()) piece.content = filter_.push(piece.content);
  return piece;
}

OutputPiece ChoiceOutput::push(TokenId id) {
  if (records_) record(id);
  OutputPiece piece = route(detokenizer_.push(id));
  if (!piece.reasoning.empty() || inside_reasoning()) ++reasoning_tokens_;
  if (records_) {
    note(piece);
    in_reasoning_ = in_reasoning_ && parser_->inside_reasoning();
  }
  return piece;
}

OutputPiece ChoiceOutput::finish() {
  if (filter_.stopped()) return {};
  OutputPiece piece = route(detokenizer_.finish());
  if (parser_) {
    parser_->finish(events_);
    OutputPiece rest;
    rest.add(std::move(events_));
    piece.reasoning += rest.reasoning;
    piece.content += filter_.push(rest.content);
    piece.calls.insert(piece.calls.end(), rest.calls.begin(), rest.calls.end());
    piece.warnings.insert(piece.warnings.end(), rest.warnings.begin(), rest.warnings.end());
  }
  piece.content += filter_.finish();
  if (records_) note(piece);
  return piece;
}

/// Tokens that are strings of control stay what they are in a later prompt, text stays text.
void ChoiceOutput::record(TokenId id) {
  if (tokenizer_.is_end_of_generation(id)) return;
  const TokenKind kind = tokenizer_.kind(id);
  const bool special = kind == TokenKind::kControl || kind == TokenKind::kUserDefined;
  MarkedText& part = in_reasoning_ ? sampled_.reasoning : sampled_.rest;
  part.append(tokenizer_.piece(id, true), special ? MarkedText::kTemplate : MarkedText::kCaller);
}

void ChoiceOutput::note(const OutputPiece& piece) {
  turn_.reasoning += piece.reasoning;
  turn_.content += piece.content;
  for (const OutputEvent& event : piece.calls) {
    if (event.kind == OutputEvent::Kind::kCallBegin) {
      turn_.tool_calls.push_back({.id = event.id, .name = event.name, .arguments = ""});
    } else {
      turn_.tool_calls.back().arguments += event.text;
    }
  }
  // What became text again would be text in a later prompt, too.
  if (!piece.warnings.empty()) records_ = false;
}

std::optional<Message> ChoiceOutput::sampled_turn() {
  if (!records_ || turn_.tool_calls.empty() || filter_.stopped()) return std::nullopt;
  if (one_call_ && !parser_->ended()) return std::nullopt;  // cut off inside its block
  constexpr std::string_view kEnd = "</think>";
  const std::string& reasoning = sampled_.reasoning.bytes;
  if (!reasoning.empty() && !reasoning.ends_with(kEnd)) return std::nullopt;
  // A model that opened its reasoning itself wrote more than what stands behind a prompt's <think>.
  if (reasoning.empty() && !turn_.reasoning.empty()) return std::nullopt;
  turn_.sampled = std::move(sampled_);
  records_ = false;
  return std::move(turn_);
}

}  // namespace hadal
