#pragma once
/// One line per event on standard error: "time level event key=value ...". Never prompt or
/// completion text. Any thread may log.
#include <initializer_list>
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

}  // namespace hadal
