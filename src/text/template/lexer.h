#pragma once
/// Template source to tokens, with jinja2's whitespace control (trim_blocks and lstrip_blocks on).
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal::jinja {

enum class TokenType : uint8_t {
  kText,        ///< literal output
  kOutputOpen,  ///< {{
  kOutputClose,
  kBlockOpen,  ///< {%
  kBlockClose,
  kName,
  kString,
  kInt,
  kFloat,
  kOperator,  ///< text is the operator
  kEnd,
};

struct Token {
  TokenType type = TokenType::kEnd;
  uint32_t line = 0;
  std::string text;  ///< string literals are unescaped
  int64_t integer = 0;
  double real = 0;
};

/// Errors name the line. The number of tokens is bounded. The last token is kEnd.
Result<std::vector<Token>> tokenize(std::string_view source);

}  // namespace hadal::jinja
