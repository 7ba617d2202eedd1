#pragma once
/// Splits streamed model text into reasoning ("<think> ... </think>") and answer, and finds stop
/// strings. Both work byte by byte: the way a stream is cut never changes what comes out.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hadal {

/// Text to hand on after a push; either part may be empty.
struct OutputPiece {
  std::string reasoning;
  std::string content;
};

/// One per stream; not thread-safe. Rules (as DeepSeek's API shows its own models):
///  - Reasoning begins at a <think> that is the first text (blanks before it are dropped), or at
///    once when the prompt had opened it; a model that repeats <think> there is understood.
///  - Newlines right after <think>, right before </think> and right after </think> are dropped.
///  - A </think> in front of all text, or a further one after the reasoning, is dropped.
///  - A <think> in the middle of an answer is text. Without any reasoning </think> is text too.
///  - A stream that ends inside the reasoning is all reasoning, its last newlines included.
class ReasoningSplitter {
 public:
  /// `starts_inside`: the prompt already ended with an open <think>.
  explicit ReasoningSplitter(bool starts_inside);
  OutputPiece push(std::string_view text);
  /// Gives what was held back.
  OutputPiece finish();
  bool inside() const;  ///< still reasoning

 private:
  enum class Where : uint8_t { kStart, kReasoningStart, kReasoning, kAfterReasoning, kContent };

  void take(char byte, OutputPiece& out);
  void take_text(char byte, OutputPiece& out);
  void take_marker();
  bool may_be_marker(char next) const;

  Where where_;
  bool reasoned_;       ///< a reasoning part was seen, so </think> is a marker everywhere
  std::string held_;    ///< blanks that are dropped if a marker follows
  std::string marker_;  ///< the part of a marker read so far
};

/// Whether a rendered prompt leaves a <think> open at its end (blanks after it are allowed).
bool prompt_opens_reasoning(std::string_view prompt);

/// Finds stop strings in streamed text and holds back what may become one. The occurrence that
/// starts first wins; of several that start there, the one that is complete first. Time is linear
/// in the text (times the number of stops). Not thread-safe. Empty stop strings are ignored.
class StopStringFilter {
 public:
  explicit StopStringFilter(std::vector<std::string> stops);
  /// Text that is safe to hand on. After stopped(), always empty.
  std::string push(std::string_view text);
  /// The stream has ended: gives what was held back, up to a stop string if one is complete.
  std::string finish();
  bool stopped() const { return stopped_; }
  /// The stop string that was found.
  const std::string& matched() const { return matched_; }

 private:
  /// One stop string with its Knuth-Morris-Pratt failure table.
  struct Pattern {
    std::string text;
    std::vector<uint32_t> failure;  ///< failure[n]: longest proper border of the first n bytes
    uint32_t state = 0;             ///< bytes of `text` that the stream's end matches
  };
  static constexpr size_t kNone = SIZE_MAX;

  void advance(char byte);
  bool decided() const;
  size_t safe_bytes() const;
  std::string stop_here();

  std::vector<Pattern> patterns_;
  std::string held_;
  std::string matched_;
  size_t match_start_ = kNone;  ///< in held_: where the best complete stop string starts
  bool stopped_ = false;
};

}  // namespace hadal
