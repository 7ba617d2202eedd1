#include "text/grammar.h"

#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/limits.h"
#include "text/grammar/ir.h"

namespace hadal {

Grammar::Grammar(std::shared_ptr<const GrammarIr> ir)  // tidy: allow (immutable)
    : ir_(std::move(ir)) {}

Grammar Grammar::literal(std::string_view text) {
  IrBuilder builder;
  const IrBuilder::Id root = builder.literal(text);
  return builder.finish(root);
}

Grammar Grammar::token(TokenId id) {
  IrBuilder builder;
  const IrBuilder::Id root = builder.token(id);
  return builder.finish(root);
}

Grammar Grammar::sequence(std::vector<Grammar> parts) {
  IrBuilder builder;
  std::vector<IrBuilder::Id> ids;
  for (const Grammar& part : parts) ids.push_back(builder.include(part.ir()));
  const IrBuilder::Id root = builder.seq(std::move(ids));
  return builder.finish(root);
}

Grammar Grammar::choice(std::vector<Grammar> options) {
  CHECK(!options.empty());
  IrBuilder builder;
  std::vector<IrBuilder::Id> ids;
  for (const Grammar& option : options) ids.push_back(builder.include(option.ir()));
  const IrBuilder::Id root = builder.alt(std::move(ids));
  return builder.finish(root);
}

Result<Grammar> Grammar::repeat(Grammar part, uint32_t min, std::optional<uint32_t> max) {
  if (max && *max < min) {
    return Error{Code::kInvalidArgument,
                 fmt::format("a repetition of {} to {} times is none", min, *max)};
  }
  if (min > limits::kGrammarRepeat || max.value_or(0) > limits::kGrammarRepeat) {
    return Error{Code::kExhausted, fmt::format("a repetition exceeds {}", limits::kGrammarRepeat)};
  }
  IrBuilder builder;
  const IrBuilder::Id child = builder.include(part.ir());
  const IrBuilder::Id root = builder.repeat(child, min, max.value_or(Regex::kUnbounded));
  return builder.finish(root);
}

Grammar Grammar::optional(Grammar part) {
  IrBuilder builder;
  const IrBuilder::Id root = builder.optional(builder.include(part.ir()));
  return builder.finish(root);
}

Result<Grammar> Grammar::free_text(const FreeTextSpec& spec) {
  if (spec.branches.size() > limits::kGrammarMarkers) {
    return Error{Code::kExhausted, fmt::format("more than {} markers", limits::kGrammarMarkers)};
  }
  IrBuilder builder;
  const IrBuilder::Id self = builder.declare();
  GrammarIr::Free free{{}, spec.may_end, spec.only_listed_tokens};
  std::vector<IrBuilder::Id> branches;
  for (const FreeTextBranch& branch : spec.branches) {
    const TextMarker& marker = branch.marker;
    if (marker.text.empty() && marker.token == kNoToken) {
      return Error{Code::kInvalidArgument, "a marker in free text is empty"};
    }
    if (marker.text.size() > limits::kGrammarMarkerBytes) {
      return Error{Code::kExhausted,
                   fmt::format("a marker exceeds {} bytes", limits::kGrammarMarkerBytes)};
    }
    free.markers.push_back(marker);
    IrBuilder::Id then = builder.include(branch.then.ir());
    if (branch.resumes) then = builder.seq({then, self});
    branches.push_back(then);
  }
  builder.define(self, builder.free(std::move(free), std::move(branches)));
  return builder.finish(self);
}

Result<Grammar> Grammar::from_choices(std::span<const std::string> choices) {
  if (choices.empty()) return Error{Code::kInvalidArgument, "the list of choices is empty"};
  if (choices.size() > limits::kGrammarChoices) {
    return Error{Code::kExhausted, fmt::format("more than {} choices", limits::kGrammarChoices)};
  }
  size_t bytes = 0;
  for (const std::string& choice : choices) bytes += choice.size();
  if (bytes > limits::kGrammarChoiceBytes) {
    return Error{Code::kExhausted,
                 fmt::format("the choices exceed {} bytes", limits::kGrammarChoiceBytes)};
  }
  IrBuilder builder;
  const IrBuilder::Id root = builder.choices(choices, "choices");
  return builder.finish(root);
}

Result<Grammar> Grammar::from_regex(std::string_view pattern) {
  TRY(Regex regex, parse_regex(pattern, false));
  IrBuilder builder;
  const IrBuilder::Id root = builder.regex(std::move(regex), "pattern");
  return builder.finish(root);
}

}  // namespace hadal
