#include "base/log.h"

#include <memory>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace hadal {
namespace {

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kNothing:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

spdlog::logger& sink() {
  static spdlog::logger* const logger = [] {
    // Leaked on purpose: threads may log while the program ends.
    auto* created = new spdlog::logger(
        "hadal", std::make_shared<spdlog::sinks::stderr_sink_mt>());  // tidy: allow
    created->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    return created;
  }();
  return *logger;
}

void append_field(std::string& line, const LogField& field) {
  line.push_back(' ');
  line.append(field.key);
  line.push_back('=');
  if (field.value.find_first_of(" \"\n\r\t=") == std::string::npos && !field.value.empty()) {
    line.append(field.value);
    return;
  }
  line.push_back('"');
  for (char c : field.value) {
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
    if (c == '"' || c == '\\') line.push_back('\\');
    line.push_back(c);
  }
  line.push_back('"');
}

}  // namespace

void set_log_level(LogLevel level) {
  sink().set_level(spdlog_level(level));
}

void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  if (!sink().should_log(spdlog_level(level))) return;
  std::string line(event);
  for (const LogField& field : fields) append_field(line, field);
  sink().log(spdlog_level(level), line);
}

}  // namespace hadal
