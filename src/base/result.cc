#include "base/result.h"

#include <cstdlib>

#include "base/log.h"

namespace hadal {

void check_failed(const char* file, int line, const char* condition) {
  log_before_abort("hadal: " + std::string(file) + ":" + std::to_string(line) +
                   ": a promise of our own code is broken: " + condition + "\n");
  std::abort();
}

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return "invalid_argument";
    case Code::kNotFound:
      return "not_found";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kExhausted:
      return "exhausted";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kCancelled:
      return "cancelled";
    case Code::kDenied:
      return "denied";
    case Code::kDeadline:
      return "deadline";
    case Code::kIo:
      return "io";
    case Code::kInternal:
      return "internal";
  }
  return "internal";
}

std::string Error::text() const {
  return hint.empty() ? message : message + " (" + hint + ")";
}

}  // namespace hadal
