#pragma once
/// Lines from the user: edited, with history, on a terminal; as they are from a pipe.
#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

namespace hadal {

/// One per process: it decides what Ctrl-C means while it lives (interrupted() instead of the end
/// of the program).
class LineEditor {
 public:
  /// `history`: a file that is read now and written by the destructor; may be empty.
  explicit LineEditor(const std::filesystem::path& history);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  enum class Event { kLine, kInterrupted, kEnd };
  /// Reads one line without its end. A line that ends in a backslash goes on in the next one.
  Event read(const std::string& prompt, std::string& line);

  /// True since the last Ctrl-C; cleared by read().
  static std::atomic<bool>& interrupted();

 private:
  struct State;
  Event read_piece(std::string& line);
  std::unique_ptr<State> state_;
};

}  // namespace hadal
