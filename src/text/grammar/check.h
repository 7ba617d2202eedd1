#pragma once
/// Properties of a grammar that decide whether it can be run.
#include <vector>

#include "base/result.h"
#include "text/grammar/ir.h"

namespace hadal {

/// Per node: whether it matches some text at all. `empty_lexemes`: those that match none.
std::vector<bool> productive_nodes(const GrammarIr& ir, const std::vector<bool>& empty_lexemes);
/// Per node: whether it matches the empty text.
std::vector<bool> nullable_nodes(const GrammarIr& ir, const std::vector<bool>& nullable_lexemes);
/// kInvalidArgument when a node may begin with itself.
Status check_left_recursion(const GrammarIr& ir, const std::vector<bool>& nullable);

}  // namespace hadal
