#include "serve/structure.h"

#include <utility>
#include <vector>

#include "serve/backend.h"
#include "serve/generation.h"
#include "text/call_grammar.h"

namespace hadal {
namespace {

/// A matcher as the engine sees it.
class GrammarFilter final : public TokenFilter {
 public:
  explicit GrammarFilter(GrammarMatcher matcher) : matcher_(std::move(matcher)) {}

  std::span<const uint64_t> allowed() override {
    const AllowedTokens tokens = matcher_.allowed();
    return tokens.everything ? std::span<const uint64_t>() : tokens.bits;
  }
  bool accept(TokenId id) override { return matcher_.accept(id); }
  void forced(int64_t most, std::vector<TokenId>& out) override {
    const auto ids = matcher_.forced(static_cast<size_t>(most));
    out.insert(out.end(), ids.begin(), ids.end());
  }
  std::unique_ptr<TokenFilter> fork() const override {
    return std::make_unique<GrammarFilter>(matcher_.fork());
  }

 private:
  GrammarMatcher matcher_;
};

constexpr std::string_view kThink = "<think>";
constexpr std::string_view kThinkEnd = "</think>";

/// Line breaks that models put between reasoning and answer.
Result<Grammar> line_breaks() {
  return Grammar::repeat(Grammar::literal("\n"), 0, 2);
}

Result<Grammar> after_reasoning(Grammar answer) {
  TRY(Grammar breaks, line_breaks());
  return Grammar::sequence({std::move(breaks), std::move(answer)});
}

Result<Grammar> format_grammar(const AnswerFormat& format, const Tokenizer& tokenizer) {
  switch (format.kind) {
    case AnswerFormat::Kind::kJsonObject:
      return Grammar::json_object();
    case AnswerFormat::Kind::kJsonSchema:
      return Grammar::from_json_schema(format.schema);
    case AnswerFormat::Kind::kRegex:
      return Grammar::from_regex(format.text);
    case AnswerFormat::Kind::kChoices:
      return Grammar::from_choices(format.choices);
    case AnswerFormat::Kind::kGbnf:
      return Grammar::from_gbnf(format.text, &tokenizer);
    case AnswerFormat::Kind::kText:
      break;
  }
  return Error{Code::kInternal, "free text has no grammar"};
}

/// Puts the grammar of a whole answer together.
class AnswerGrammar {
 public:
  AnswerGrammar(const ServedModel& model, const GenerationPlan& plan)
      : model_(model), plan_(plan), codec_(model.codec()) {}

  Result<Grammar> make() const {
    if (calls() && !plan_.params.format.free()) return format_or_calls();
    if (calls()) return plan_.output.calls.required ? must_call() : may_call();
    TRY(Grammar answer, format_grammar(plan_.params.format, *model_.tokenizer));
    return reasoned(std::move(answer));
  }

 private:
  const Tokenizer& tokenizer() const { return *model_.tokenizer; }
  bool calls() const { return plan_.output.constrains_calls(); }
  OutputStart start() const { return plan_.output.parser.start; }
  bool inside_reasoning() const {
    return start() == OutputStart::kReasoning || start() == OutputStart::kReasoningGoesOn;
  }

  /// The answer, behind the reasoning that the prompt begins or the model may begin itself. Marks
  /// of calls would end the reasoning, so control tokens stay out of it.
  Result<Grammar> reasoned(Grammar answer) const {
    if (!plan_.output.parse) return answer;
    if (!inside_reasoning() && start() != OutputStart::kAnswer) return answer;
    TRY(Grammar behind, after_reasoning(answer));
    TRY(Grammar reasoning,
        Grammar::free_text({.branches = {{text_marker(kThinkEnd, tokenizer()), behind}},
                            .only_listed_tokens = true}));
    if (inside_reasoning()) return reasoning;
    if (!tokenizer().find(kThink)) return answer;
    return Grammar::choice(
        {std::move(answer),
         Grammar::sequence({marker_grammar(kThink, tokenizer()), std::move(reasoning)})});
  }

  Result<Grammar> block() const {
    TRY(const CallBlock block, call_block(codec_, plan_.output.calls, tokenizer()));
    if (start() == OutputStart::kToolBlock) return block.rest;
    return Grammar::sequence(
        {marker_grammar(block.open, tokenizer()), Grammar::literal(block.gap), block.rest});
  }

  /// Nothing but calls, behind the reasoning if there is any.
  Result<Grammar> must_call() const {
    TRY(Grammar calls, block());
    return reasoned(std::move(calls));
  }

  /// Free until a block begins.
  Result<Grammar> may_call() const {
    TRY(const CallBlock block, call_block(codec_, plan_.output.calls, tokenizer()));
    Grammar rest = Grammar::sequence({Grammar::literal(block.gap), block.rest});
    return Grammar::free_text(
        {.branches = {{text_marker(block.open, tokenizer()), std::move(rest)}}, .may_end = true});
  }

  Result<Grammar> format_or_calls() const {
    TRY(Grammar calls, block());
    if (plan_.output.calls.required) return reasoned(std::move(calls));
    TRY(Grammar answer, format_grammar(plan_.params.format, tokenizer()));
    return reasoned(Grammar::choice({std::move(answer), std::move(calls)}));
  }

  const ServedModel& model_;
  const GenerationPlan& plan_;
  const Codec codec_;
};

/// Says all that AnswerGrammar looks at.
std::string key_of(const GenerationPlan& plan) {
  const AnswerFormat& format = plan.params.format;
  json::object key;
  key["kind"] = static_cast<int>(format.kind);
  key["schema"] = format.schema;
  key["text"] = format.text;
  json::array& choices = key["choices"].emplace_array();
  for (const std::string& choice : format.choices) choices.emplace_back(choice);
  key["parse"] = plan.output.parse;
  key["start"] = static_cast<int>(plan.output.parser.start);
  if (plan.output.constrains_calls()) {
    const CallRules& calls = plan.output.calls;
    key["tools"] = calls.tools;
    key["required"] = calls.required;
    key["parallel"] = calls.parallel;
  }
  return to_json(key);
}

}  // namespace

Checked constrain_answer(const ServedModel& model, GenerationPlan& plan) {
  const bool calls = plan.output.constrains_calls();
  if (plan.params.format.free() && !calls) return std::nullopt;
  auto grammar = model.grammars->get(*model.tokenizer, key_of(plan),
                                     [&] { return AnswerGrammar(model, plan).make(); });
  if (!grammar.ok()) {
    const bool of_tools = plan.params.format.free();
    ApiError error = invalid_param(of_tools ? "tools" : plan.params.format.param,
                                   "This structure cannot be enforced: " + grammar.error().message);
    error.code = grammar.error().code == Code::kUnsupported ? "unsupported" : "invalid_value";
    return error;
  }
  GrammarMatcher matcher(std::move(grammar).value());
  if (!plan.output.answer_begun.empty() && !matcher.accept_text(plan.output.answer_begun)) {
    return invalid_param("messages", "The text to go on with breaks the structure asked for.");
  }
  plan.filter = std::make_unique<GrammarFilter>(std::move(matcher));
  plan.output.parser.plain_content = !plan.params.format.free();
  return std::nullopt;
}

}  // namespace hadal
