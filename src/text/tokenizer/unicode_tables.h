#pragma once
/// The generated tables behind unicode.h (tools/make_unicode_tables.py).
#include <cstddef>
#include <cstdint>

namespace hadal::unicode {

struct LowerRun {
  uint32_t first;
  uint16_t count;
  uint8_t stride;
  int32_t difference;
};

/// One level of canonical decomposition; `second` is 0 for a singleton.
struct Decomposition {
  uint32_t code_point;
  uint32_t first;
  uint32_t second;
  bool composes;  ///< first + second becomes code_point again under NFC
};

extern const uint32_t kClassRanges[];  ///< start << 10 | class bits, up to the next start
extern const size_t kClassRangesCount;
extern const uint32_t kCombiningRanges[];  ///< start << 8 | canonical combining class
extern const size_t kCombiningRangesCount;
extern const LowerRun kLowerRuns[];
extern const size_t kLowerRunsCount;
extern const Decomposition kDecompositions[];
extern const size_t kDecompositionsCount;

}  // namespace hadal::unicode
