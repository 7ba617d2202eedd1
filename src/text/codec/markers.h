#pragma once
/// The strings that structure a model's output, per syntax of calls. Private to room text.
#include <string>
#include <string_view>
#include <vector>

#include "text/output_parser.h"

namespace hadal {

inline constexpr std::string_view kThinkBegin = "<think>";
inline constexpr std::string_view kThinkEnd = "</think>";

/// What a marker does. Markers begin with '<' or with the first byte of U+FF5C, which occurs at
/// the start of a marker's bars only.
enum class MarkerRole : uint8_t {
  kThinkOpen,
  kThinkClose,
  kBlockOpen,
  kBlockClose,
  kCallOpen,
  kCallClose,
  kSeparator,
  kParameterOpen,
  kParameterClose,
  kStray,  ///< belongs to the format, means nothing here
};

struct OutputParser::Marker {
  std::string text;
  MarkerRole role;
  std::string shown;  ///< what stands for it when a broken call is shown as text
};

/// Immutable; lives as long as the program.
const std::vector<OutputParser::Marker>& markers_of(CallSyntax syntax);

}  // namespace hadal
