#pragma once
/// CHECK: a condition that only our own bug can break. Always on; prints file and line and stops.
/// DCHECK: the same for hot loops, on in the dev, asan and tsan builds.
/// Bytes from outside must never reach either: they get an Error.

namespace hadal {
[[noreturn]] void check_failed(const char* file, int line, const char* condition);
}  // namespace hadal

#define CHECK(condition)                                     \
  (__builtin_expect(!!(condition), 1) ? static_cast<void>(0) \
                                      : ::hadal::check_failed(__FILE__, __LINE__, #condition))
#ifdef HADAL_DCHECK
#define DCHECK(condition) CHECK(condition)
#else
#define DCHECK(condition) static_cast<void>(sizeof(condition))
#endif
