#include <algorithm>
#include <array>

#include "base/limits.h"
#include "text/template/parser_impl.h"

namespace hadal::jinja {
namespace {

struct OperatorName {
  std::string_view text;
  Operator op;
};

constexpr std::array<OperatorName, 13> kOperators = {{{"+", Operator::kAdd},
                                                      {"-", Operator::kSubtract},
                                                      {"*", Operator::kMultiply},
                                                      {"/", Operator::kDivide},
                                                      {"//", Operator::kFloorDivide},
                                                      {"%", Operator::kModulo},
                                                      {"**", Operator::kPower},
                                                      {"==", Operator::kEqual},
                                                      {"!=", Operator::kNotEqual},
                                                      {"<", Operator::kLess},
                                                      {"<=", Operator::kLessEqual},
                                                      {">", Operator::kGreater},
                                                      {">=", Operator::kGreaterEqual}}};

Operator operator_of(std::string_view text) {
  return std::ranges::find(kOperators, text, &OperatorName::text)->op;
}

int height(const Expr& expr) {
  int most = 0;
  for (const ExprPtr& kid : expr.kids) most = std::max(most, kid ? kid->depth : 0);
  if (!expr.arguments) return most + 1;
  for (const ExprPtr& kid : expr.arguments->positional) most = std::max(most, kid->depth);
  for (const Keyword& kid : expr.arguments->keywords) most = std::max(most, kid.value->depth);
  if (expr.arguments->star) most = std::max(most, expr.arguments->star->depth);
  if (expr.arguments->double_star) most = std::max(most, expr.arguments->double_star->depth);
  return most + 1;
}

}  // namespace

ExprPtr Parser::make(ExprKind kind) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = now().line;
  return expr;
}

ExprPtr Parser::finish(ExprPtr expr) {
  expr->depth = height(*expr);
  if (expr->depth > limits::kTemplateExpressionHeight) {
    return fail("an expression is nested or chained too deep");
  }
  return expr;
}

ExprPtr Parser::unary(ExprKind kind, ExprPtr kid) {
  if (!kid) return nullptr;
  ExprPtr expr = make(kind);
  expr->kids.push_back(std::move(kid));
  return finish(std::move(expr));
}

ExprPtr Parser::expression(bool with_condition) {
  const Nested nested(*this);
  if (failed()) return nullptr;
  ExprPtr value = either();
  if (!with_condition) return value;
  while (value && take_name("if")) {
    ExprPtr expr = make(ExprKind::kIf);
    ExprPtr test = either();
    ExprPtr otherwise;
    if (test && take_name("else")) {
      otherwise = expression();
      if (!otherwise) return nullptr;
    }
    if (!test) return nullptr;
    expr->kids.push_back(std::move(test));
    expr->kids.push_back(std::move(value));
    expr->kids.push_back(std::move(otherwise));
    value = finish(std::move(expr));
  }
  return value;
}

ExprPtr Parser::either() {
  ExprPtr first = both();
  if (!first || !is_name("or")) return first;
  ExprPtr expr = make(ExprKind::kOr);
  expr->kids.push_back(std::move(first));
  while (take_name("or")) {
    expr->kids.push_back(both());
    if (!expr->kids.back()) return nullptr;
  }
  return finish(std::move(expr));
}

ExprPtr Parser::both() {
  ExprPtr first = negation();
  if (!first || !is_name("and")) return first;
  ExprPtr expr = make(ExprKind::kAnd);
  expr->kids.push_back(std::move(first));
  while (take_name("and")) {
    expr->kids.push_back(negation());
    if (!expr->kids.back()) return nullptr;
  }
  return finish(std::move(expr));
}

ExprPtr Parser::negation() {
  if (!is_name("not")) return comparison();
  const Nested nested(*this);
  if (failed()) return nullptr;
  skip();
  return unary(ExprKind::kNot, negation());
}

ExprPtr Parser::comparison() {
  static constexpr std::array<std::string_view, 6> kOps = {"==", "!=", "<", "<=", ">", ">="};
  ExprPtr first = sum();
  if (!first) return nullptr;
  ExprPtr expr = make(ExprKind::kCompare);
  expr->kids.push_back(std::move(first));
  while (true) {
    if (now().type == TokenType::kOperator && std::ranges::count(kOps, now().text) > 0) {
      expr->operators.push_back(operator_of(now().text));
      skip();
    } else if (take_name("in")) {
      expr->operators.push_back(Operator::kIn);
    } else if (is_name("not") && next_token().type == TokenType::kName &&
               next_token().text == "in") {
      skip();
      skip();
      expr->operators.push_back(Operator::kNotIn);
    } else {
      break;
    }
    expr->kids.push_back(sum());
    if (!expr->kids.back()) return nullptr;
  }
  if (expr->operators.empty()) return std::move(expr->kids.front());
  return finish(std::move(expr));
}

ExprPtr Parser::arithmetic(ExprPtr (Parser::*operand)(),
                           std::initializer_list<std::string_view> ops) {
  const auto matches = [&] {
    return now().type == TokenType::kOperator && std::ranges::count(ops, now().text) > 0;
  };
  ExprPtr first = (this->*operand)();
  if (!first || !matches()) return first;
  ExprPtr expr = make(ExprKind::kArithmetic);
  expr->kids.push_back(std::move(first));
  while (matches()) {
    expr->operators.push_back(operator_of(now().text));
    skip();
    expr->kids.push_back((this->*operand)());
    if (!expr->kids.back()) return nullptr;
  }
  return finish(std::move(expr));
}

ExprPtr Parser::sum() {
  return arithmetic(&Parser::concatenation, {"+", "-"});
}

ExprPtr Parser::concatenation() {
  ExprPtr first = product();
  if (!first || !is_op("~")) return first;
  ExprPtr expr = make(ExprKind::kConcat);
  expr->kids.push_back(std::move(first));
  while (take_op("~")) {
    expr->kids.push_back(product());
    if (!expr->kids.back()) return nullptr;
  }
  return finish(std::move(expr));
}

ExprPtr Parser::product() {
  return arithmetic(&Parser::power, {"*", "/", "//", "%"});
}
ExprPtr Parser::power() {
  return arithmetic(&Parser::power_operand, {"**"});
}

ExprPtr Parser::signed_value(bool with_filter) {
  const Nested nested(*this);
  if (failed()) return nullptr;
  ExprPtr expr;
  if (take_op("-")) {
    expr = unary(ExprKind::kNegative, signed_value(false));
  } else if (take_op("+")) {
    expr = unary(ExprKind::kPositive, signed_value(false));
  } else {
    expr = primary();
  }
  expr = postfix(std::move(expr));
  return with_filter ? filters(std::move(expr)) : std::move(expr);
}

ExprPtr Parser::primary(bool with_namespace) {
  const Token token = now();
  ExprPtr expr = make(ExprKind::kNone);
  switch (token.type) {
    case TokenType::kName:
      skip();
      if (token.text == "true" || token.text == "True" || token.text == "false" ||
          token.text == "False") {
        expr->kind = ExprKind::kBool;
        expr->integer = token.text[0] == 't' || token.text[0] == 'T';
        return expr;
      }
      if (token.text == "none" || token.text == "None") return expr;
      expr->kind = ExprKind::kName;
      expr->name = name_id(token.text);
      if (with_namespace && take_op(".")) {
        expr->kind = ExprKind::kNamespaceTarget;
        expr->text = now().text;
        if (!expect(TokenType::kName, "a name")) return nullptr;
      }
      return expr;
    case TokenType::kString:
      expr->kind = ExprKind::kString;
      while (now().type == TokenType::kString) {
        expr->text += now().text;
        skip();
      }
      expr->constant = tree_->constants++;
      return expr;
    case TokenType::kInt:
    case TokenType::kFloat:
      skip();
      expr->kind = token.type == TokenType::kInt ? ExprKind::kInt : ExprKind::kFloat;
      expr->integer = token.integer;
      expr->real = token.real;
      return expr;
    default:
      break;
  }
  if (take_op("(")) {
    expr = tuple(false, true, true, false, {});
    return expr && expect_op(")") ? std::move(expr) : nullptr;
  }
  if (is_op("[")) return list();
  if (is_op("{")) return dict();
  return fail("unexpected " + shown());
}

/// One expression, or a tuple when commas follow. `simple`: only names and literals (targets).
ExprPtr Parser::tuple(bool simple, bool with_condition, bool parenthesised, bool with_namespace,
                      std::string_view end_name) {
  const Nested nested(*this);
  if (failed()) return nullptr;
  ExprPtr expr = make(ExprKind::kTuple);
  bool comma = false;
  while (true) {
    const bool at_end = now().type == TokenType::kOutputClose ||
                        now().type == TokenType::kBlockClose || is_op(")") ||
                        (!end_name.empty() && is_name(end_name));
    if (at_end) break;
    expr->kids.push_back(simple ? primary(with_namespace) : expression(with_condition));
    if (!expr->kids.back()) return nullptr;
    if (!take_op(",")) break;
    comma = true;
  }
  if (!comma && expr->kids.size() == 1) return std::move(expr->kids.front());
  if (!comma && !parenthesised) return fail("expected an expression, got " + shown());
  return finish(std::move(expr));
}

ExprPtr Parser::list() {
  ExprPtr expr = make(ExprKind::kList);
  skip();
  while (!is_op("]")) {
    if (!expr->kids.empty() && !expect_op(",")) return nullptr;
    if (is_op("]")) break;
    expr->kids.push_back(expression());
    if (!expr->kids.back()) return nullptr;
  }
  skip();
  return finish(std::move(expr));
}

ExprPtr Parser::dict() {
  ExprPtr expr = make(ExprKind::kDict);
  skip();
  while (!is_op("}")) {
    if (!expr->kids.empty() && !expect_op(",")) return nullptr;
    if (is_op("}")) break;
    expr->kids.push_back(expression());
    if (!expr->kids.back() || !expect_op(":")) return nullptr;
    expr->kids.push_back(expression());
    if (!expr->kids.back()) return nullptr;
  }
  skip();
  return finish(std::move(expr));
}

ExprPtr Parser::postfix(ExprPtr expr) {
  while (expr) {
    if (is_op(".") || is_op("[")) {
      expr = subscript(std::move(expr));
    } else if (is_op("(")) {
      expr = call(std::move(expr));
    } else {
      break;
    }
  }
  return expr;
}

ExprPtr Parser::filters(ExprPtr expr) {
  while (expr) {
    if (is_op("|")) {
      expr = filter_chain(std::move(expr), false);
    } else if (is_name("is")) {
      expr = test(std::move(expr));
    } else if (is_op("(")) {
      expr = call(std::move(expr));
    } else {
      break;
    }
  }
  return expr;
}

ExprPtr Parser::subscript(ExprPtr object) {
  if (!take_op(".")) {
    skip();
    return subscripted(std::move(object));
  }
  ExprPtr expr = make(now().type == TokenType::kName ? ExprKind::kAttribute : ExprKind::kItem);
  expr->kids.push_back(std::move(object));
  if (now().type == TokenType::kName) {
    expr->text = now().text;
  } else if (now().type == TokenType::kInt) {
    expr->kids.push_back(make(ExprKind::kInt));
    expr->kids.back()->integer = now().integer;
  } else {
    return fail("expected a name or a number after '.'");
  }
  skip();
  return finish(std::move(expr));
}

/// After "[": an index, a slice, or several indexes, which make a tuple.
ExprPtr Parser::subscripted(ExprPtr object) {
  ExprPtr expr = make(ExprKind::kItem);
  expr->kids.push_back(std::move(object));
  const auto part = [&]() {
    const bool absent = is_op(":") || is_op("]");
    expr->kids.push_back(absent ? nullptr : expression());
    return absent || expr->kids.back();
  };
  if (is_op("]")) return fail("expected a subscript");
  if (!part()) return nullptr;
  if (take_op(":")) {
    expr->kind = ExprKind::kSlice;
    if (!part()) return nullptr;
    if (!take_op(":")) {
      expr->kids.push_back(nullptr);
    } else if (!part()) {
      return nullptr;
    }
  } else if (is_op(",")) {
    ExprPtr indexes = make(ExprKind::kTuple);
    indexes->kids.push_back(std::move(expr->kids.back()));
    while (take_op(",")) {
      indexes->kids.push_back(expression());
      if (!indexes->kids.back()) return nullptr;
    }
    expr->kids.back() = finish(std::move(indexes));
    if (!expr->kids.back()) return nullptr;
  }
  if (!expect_op("]")) return nullptr;
  return finish(std::move(expr));
}

std::unique_ptr<Arguments> Parser::arguments() {
  auto all = std::make_unique<Arguments>();
  skip();
  bool first = true;
  while (!is_op(")")) {
    if (!first && !expect_op(",")) return nullptr;
    if (!first && is_op(")")) break;
    first = false;
    if (!argument(*all)) return nullptr;
  }
  skip();
  return all;
}

bool Parser::argument(Arguments& all) {
  if (take_op("*")) {
    if (all.star || all.double_star) return fail("misplaced * argument") != nullptr;
    all.star = expression();
    return all.star != nullptr;
  }
  if (take_op("**")) {
    if (all.double_star) return fail("misplaced ** argument") != nullptr;
    all.double_star = expression();
    return all.double_star != nullptr;
  }
  const bool named = now().type == TokenType::kName && next_token().type == TokenType::kOperator &&
                     next_token().text == "=";
  if (named) {
    if (all.double_star) return fail("keyword argument after ** argument") != nullptr;
    std::string name = now().text;
    if (std::ranges::count(all.keywords, name, &Keyword::name) > 0) {
      return fail("keyword argument repeated: " + name) != nullptr;
    }
    skip();
    skip();
    all.keywords.push_back({std::move(name), expression()});
    return all.keywords.back().value != nullptr;
  }
  if (all.star || all.double_star || !all.keywords.empty()) {
    return fail("positional argument after other arguments") != nullptr;
  }
  all.positional.push_back(expression());
  return all.positional.back() != nullptr;
}

ExprPtr Parser::call(ExprPtr callee) {
  ExprPtr expr = make(ExprKind::kCall);
  expr->kids.push_back(std::move(callee));
  expr->arguments = arguments();
  return expr->arguments ? finish(std::move(expr)) : nullptr;
}

/// One or more "| name(arguments)"; `starts_inline` is for filter blocks, which begin without "|".
ExprPtr Parser::filter_chain(ExprPtr expr, bool starts_inline) {
  while (starts_inline || take_op("|")) {
    starts_inline = false;
    ExprPtr filter = make(ExprKind::kFilter);
    filter->text = now().text;
    if (!expect(TokenType::kName, "a filter name")) return nullptr;
    filter->kids.push_back(std::move(expr));
    if (is_op("(")) {
      filter->arguments = arguments();
      if (!filter->arguments) return nullptr;
    }
    expr = finish(std::move(filter));
    if (!expr) return nullptr;
  }
  return expr;
}

ExprPtr Parser::test(ExprPtr value) {
  skip();
  const bool negated = take_name("not");
  ExprPtr expr = make(ExprKind::kTest);
  expr->text = now().text;
  if (!expect(TokenType::kName, "a test name")) return nullptr;
  expr->kids.push_back(std::move(value));
  const TokenType type = now().type;
  if (is_op("(")) {
    expr->arguments = arguments();
    if (!expr->arguments) return nullptr;
  } else if ((type == TokenType::kName && !is_name("else") && !is_name("or") && !is_name("and")) ||
             type == TokenType::kString || type == TokenType::kInt || type == TokenType::kFloat ||
             is_op("[") || is_op("{")) {
    if (is_name("is")) return fail("tests with 'is' cannot be chained");
    expr->arguments = std::make_unique<Arguments>();
    expr->arguments->positional.push_back(postfix(primary()));
    if (!expr->arguments->positional.back()) return nullptr;
  }
  expr = finish(std::move(expr));
  return negated ? unary(ExprKind::kNot, std::move(expr)) : std::move(expr);
}

bool Parser::assignable(const Expr& expr) {
  if (expr.kind == ExprKind::kTuple) {
    return std::ranges::all_of(expr.kids, [&](const ExprPtr& kid) { return assignable(*kid); });
  }
  return expr.kind == ExprKind::kName || expr.kind == ExprKind::kNamespaceTarget;
}

ExprPtr Parser::target(bool with_namespace, std::string_view end_name) {
  ExprPtr expr = tuple(true, true, false, with_namespace, end_name);
  if (expr && !assignable(*expr)) return fail("cannot assign to this expression");
  return expr;
}

}  // namespace hadal::jinja
