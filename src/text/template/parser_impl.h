#pragma once
/// The parser's inside, shared by parser.cc (statements) and parser_expr.cc (expressions).
/// A null ExprPtr or false means: failed, error_ says why.
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "text/template/parser.h"

namespace hadal::jinja {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  Result<std::unique_ptr<const Tree>> run();

 private:
  // Tokens.
  const Token& now() const { return tokens_[position_]; }
  const Token& next_token() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  void skip() {
    if (position_ + 1 < tokens_.size()) ++position_;
  }
  bool is_op(std::string_view op) const {
    return now().type == TokenType::kOperator && now().text == op;
  }
  bool is_name(std::string_view name) const {
    return now().type == TokenType::kName && now().text == name;
  }
  bool take_op(std::string_view op);
  bool take_name(std::string_view name);
  bool expect_op(std::string_view op);
  bool expect_name(std::string_view name);
  bool expect(TokenType type, std::string_view what);
  std::string shown() const;

  // Errors and bounds.
  std::nullptr_t fail(const std::string& message);
  bool failed() const { return !error_.ok(); }
  class Nested;

  // Nodes.
  ExprPtr make(ExprKind kind);
  ExprPtr unary(ExprKind kind, ExprPtr kid);
  ExprPtr finish(ExprPtr expr);  ///< sets the height and checks it
  uint32_t name_id(const std::string& name);
  std::unique_ptr<Node> make_node(NodeKind kind);

  // Expressions (parser_expr.cc), by precedence.
  ExprPtr expression(bool with_condition = true);
  ExprPtr either();
  ExprPtr both();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr signed_value(bool with_filter = true);
  ExprPtr primary(bool with_namespace = false);
  ExprPtr arithmetic(ExprPtr (Parser::*operand)(), std::initializer_list<std::string_view> ops);
  ExprPtr power_operand() { return signed_value(); }
  ExprPtr tuple(bool simple, bool with_condition, bool parenthesised, bool with_namespace,
                std::string_view end_name);
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr expr);
  ExprPtr filters(ExprPtr expr);
  ExprPtr subscript(ExprPtr expr);
  ExprPtr subscripted(ExprPtr object);
  ExprPtr call(ExprPtr callee);
  ExprPtr filter_chain(ExprPtr expr, bool starts_inline);
  ExprPtr test(ExprPtr expr);
  std::unique_ptr<Arguments> arguments();
  bool argument(Arguments& all);
  ExprPtr target(bool with_namespace, std::string_view end_name);
  bool assignable(const Expr& expr);

  // Statements (parser.cc).
  bool statements(Body& body, std::initializer_list<std::string_view> ends);
  bool block(Body& body, std::initializer_list<std::string_view> ends, bool drop_end);
  std::unique_ptr<Node> statement();
  std::unique_ptr<Node> if_statement();
  std::unique_ptr<Node> for_statement();
  std::unique_ptr<Node> set_statement();
  std::unique_ptr<Node> macro_statement();
  std::unique_ptr<Node> call_statement();
  std::unique_ptr<Node> filter_statement();
  std::unique_ptr<Node> with_statement();
  std::unique_ptr<Node> scope_statement(const std::string& name);
  std::unique_ptr<Node> loop_control(NodeKind kind);
  bool parameters(Node& node);
  bool macro_body(Node& node, std::string_view end);

  std::vector<Token> tokens_;
  size_t position_ = 0;
  int nesting_ = 0;
  int loops_ = 0;  ///< enclosing loops that break and continue may leave
  Status error_;
  std::unique_ptr<Tree> tree_ = std::make_unique<Tree>();
  bool saw_caller_ = false, saw_varargs_ = false, saw_kwargs_ = false;
};

/// Counts one level of nesting while it lives.
class Parser::Nested {
 public:
  explicit Nested(Parser& parser);
  ~Nested() { --parser_.nesting_; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  Parser& parser_;
};

}  // namespace hadal::jinja
