#pragma once
/// Tokens to tree, with jinja2's grammar (and the loop-control and generation tags that Hugging
/// Face adds).
#include <memory>
#include <vector>

#include "base/result.h"
#include "text/template/ast.h"
#include "text/template/lexer.h"

namespace hadal::jinja {

/// Errors name line and construct. Nesting is bounded by limits::kTemplateDepth, the height of an
/// expression by limits::kTemplateExpressionHeight.
Result<std::unique_ptr<const Tree>> parse(std::vector<Token> tokens);

}  // namespace hadal::jinja
