#include "app/process_stats.h"

#include <string>
#include <string_view>

#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "base/parse.h"

namespace hadal {
namespace {

std::string read_proc(const char* path) {
  constexpr size_t kMost = 64 << 10;
  auto text = Env::real().read_file(path, kMost);
  return text.ok() ? std::move(text).value() : std::string();
}

/// The word number `index` of `text`, counted from 0; empty when there are fewer.
std::string_view word(std::string_view text, int index) {
  constexpr std::string_view kSpace = " \t\n";
  for (;; --index) {
    const size_t begin = text.find_first_not_of(kSpace);
    if (begin == std::string_view::npos) return {};
    text.remove_prefix(begin);
    const size_t end = text.find_first_of(kSpace);
    if (index == 0) return text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end);
  }
}

uint64_t number(std::string_view text) {
  const auto value = parse_int<uint64_t>(text);
  return value.has_value() ? *value : 0;
}

/// A line "name:   123 kB" in bytes.
uint64_t field(std::string_view status, std::string_view name) {
  const size_t at = status.find(name);
  return at == std::string_view::npos ? 0 : 1024 * number(word(status.substr(at + name.size()), 0));
}

}  // namespace

ProcessMemory process_memory() {
  const std::string status = read_proc("/proc/self/status");
  return {.peak = field(status, "\nVmHWM:"), .anonymous = field(status, "\nRssAnon:")};
}

double seconds_since_start() {
  constexpr int kStartTime = 19;  // the words after the name, which may hold spaces: field 22 of 52
  const std::string stat = read_proc("/proc/self/stat");
  const size_t name_end = stat.rfind(')');
  const long ticks = sysconf(_SC_CLK_TCK);
  timespec now{};
  if (name_end == std::string::npos || ticks <= 0 || clock_gettime(CLOCK_BOOTTIME, &now) != 0) {
    return 0;
  }
  const uint64_t start = number(word(std::string_view(stat).substr(name_end + 1), kStartTime));
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9 -
         static_cast<double>(start) / static_cast<double>(ticks);
}

}  // namespace hadal
