#pragma once
/// Splits streamed model text into reasoning ("<think> ... </think>") and answer, whatever the
/// split of the stream: a marker cut in two is held back until it is decided.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hadal {

/// Text to hand on after a push; either part may be empty.
struct OutputPiece {
  std::string reasoning;
  std::string content;
};

/// One per stream; not thread-safe.
class ReasoningSplitter {
 public:
  /// `starts_inside`: the prompt already ended with an open <think>.
  explicit ReasoningSplitter(bool starts_inside);
  OutputPiece push(std::string_view text);
  /// Gives what was held back.
  OutputPiece finish();
  bool inside() const;  ///< still reasoning

 private:
  enum class Where : unsigned char { kStart, kReasoning, kAfterReasoning, kContent };
  Where where_;
  std::string held_;
};

/// Whether a rendered prompt leaves a <think> open at its end.
bool prompt_opens_reasoning(std::string_view prompt);

/// Finds stop strings in streamed text and holds back what may become one.
class StopStringFilter {
 public:
  explicit StopStringFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {}
  /// Text that is safe to hand on. After stopped(), always empty.
  std::string push(std::string_view text);
  std::string finish();
  bool stopped() const { return stopped_; }
  /// The stop string that was found.
  const std::string& matched() const { return matched_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  std::string matched_;
  bool stopped_ = false;
};

}  // namespace hadal
