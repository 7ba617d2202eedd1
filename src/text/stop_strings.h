#pragma once
/// Stop strings in streamed text. Works byte by byte: the way a stream is cut never changes what
/// comes out.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hadal {

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
