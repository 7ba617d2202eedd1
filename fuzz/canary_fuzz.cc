/// The alarm's test: this target must crash on "HADAL!". A fuzz run that does not report it proves
/// that the machinery (coverage, sanitizers, exit code) is broken, not that our code is clean.
#include <cstddef>
#include <cstdint>

#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // One branch per byte, so that coverage leads the fuzzer to the word.
  if (size < 6 || data[0] != 'H') return 0;
  if (data[1] != 'A') return 0;
  if (data[2] != 'D') return 0;
  if (data[3] != 'A') return 0;
  if (data[4] != 'L') return 0;
  CHECK(data[5] != '!');
  return 0;
}
