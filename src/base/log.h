#pragma once
/// One line per event on standard error: "time level event key=value ...". Never prompt or
/// completion text. Any thread may log.
///
/// A line is written before log_event() returns, unless a LogWriter lives: then a thread of its own
/// writes, and a reader of standard error that stands still holds nobody up.
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

namespace hadal {

enum class LogLevel : unsigned char { kDebug, kInfo, kWarn, kError, kNothing };

/// One key=value pair; values with blanks are quoted.
struct LogField {
  LogField(std::string_view key_in, std::string_view value_in) : key(key_in), value(value_in) {}
  LogField(std::string_view key_in, const char* value_in) : key(key_in), value(value_in) {}
  LogField(std::string_view key_in, const std::string& value_in) : key(key_in), value(value_in) {}
  LogField(std::string_view key_in, bool value_in)
      : key(key_in), value(value_in ? "true" : "false") {}
  template <typename T>
  LogField(std::string_view key_in, T value_in) : key(key_in), value(std::to_string(value_in)) {}

  std::string_view key;
  std::string value;
};

/// Lines below `level` are dropped from now on (default: info).
void set_log_level(LogLevel level);

void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

/// Text for people, as it is, in order with the lines of log_event().
void log_text(std::string_view text);

class LogQueue;  // private: log.cc

/// While it lives, lines wait in a queue until `fd` takes them, at most limits::kLogQueueBytes of
/// them: then the oldest are dropped and counted, and a line log_lines_dropped says so as soon as
/// there is room. One at a time; made and destroyed by the same thread.
class LogWriter {
 public:
  explicit LogWriter(int fd = 2);
  /// Waits until the lines are written, or for a second that `fd` takes none.
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

 private:
  std::unique_ptr<LogQueue> queue_;
};

/// Lines that were dropped since the program began.
uint64_t log_lines_dropped();

/// For who is about to abort(): what waits in the queue, then `text`. Gives up when standard error
/// takes nothing for a moment.
void log_before_abort(std::string_view text);

}  // namespace hadal
