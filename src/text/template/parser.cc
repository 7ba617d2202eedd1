#include "text/template/parser.h"

#include <algorithm>

#include "base/limits.h"
#include "text/template/parser_impl.h"

namespace hadal::jinja {

Parser::Nested::Nested(Parser& parser) : parser_(parser) {
  // An expression in parentheses takes about five levels: tuple, expression, sign and so on.
  constexpr int kLevelsPerNesting = 5;
  if (++parser_.nesting_ > limits::kTemplateDepth * kLevelsPerNesting)
    parser_.fail("nested too deep");
}

std::nullptr_t Parser::fail(const std::string& message) {
  if (!failed()) {
    error_ = Error{Code::kInvalidArgument,
                   "template line " + std::to_string(now().line) + ": " + message};
  }
  return nullptr;
}

std::string Parser::shown() const {
  switch (now().type) {
    case TokenType::kEnd:
      return "the end of the template";
    case TokenType::kBlockClose:
      return "the end of the block tag";
    case TokenType::kOutputClose:
      return "the end of the output tag";
    default:
      return "'" + now().text + "'";
  }
}

bool Parser::take_op(std::string_view op) {
  if (!is_op(op)) return false;
  skip();
  return true;
}

bool Parser::take_name(std::string_view name) {
  if (!is_name(name)) return false;
  skip();
  return true;
}

bool Parser::expect_op(std::string_view op) {
  if (take_op(op)) return true;
  fail("expected '" + std::string(op) + "', got " + shown());
  return false;
}

bool Parser::expect_name(std::string_view name) {
  if (take_name(name)) return true;
  fail("expected '" + std::string(name) + "', got " + shown());
  return false;
}

bool Parser::expect(TokenType type, std::string_view what) {
  if (now().type == type) {
    skip();
    return true;
  }
  fail("expected " + std::string(what) + ", got " + shown());
  return false;
}

uint32_t Parser::name_id(const std::string& name) {
  saw_caller_ |= name == "caller";
  saw_varargs_ |= name == "varargs";
  saw_kwargs_ |= name == "kwargs";
  const auto [at, added] =
      tree_->name_ids.emplace(name, static_cast<uint32_t>(tree_->names.size()));
  if (added) tree_->names.push_back(name);
  return at->second;
}

std::unique_ptr<Node> Parser::make_node(NodeKind kind) {
  auto node = std::make_unique<Node>();
  node->kind = kind;
  node->line = now().line;
  return node;
}

Result<std::unique_ptr<const Tree>> Parser::run() {
  statements(tree_->body, {});
  if (failed()) return error_.error();
  return std::unique_ptr<const Tree>(std::move(tree_));
}

/// Reads up to one of the end tags (whose name is then the current token) or to the end.
bool Parser::statements(Body& body, std::initializer_list<std::string_view> ends) {
  const Nested nested(*this);
  while (!failed()) {
    switch (now().type) {
      case TokenType::kText:
        body.push_back(make_node(NodeKind::kText));
        body.back()->text = now().text;
        skip();
        break;
      case TokenType::kOutputOpen:
        body.push_back(make_node(NodeKind::kOutput));
        skip();
        body.back()->expr = tuple(false, true, false, false, {});
        if (!body.back()->expr) return false;
        if (!expect(TokenType::kOutputClose, "the end of the output tag")) return false;
        break;
      case TokenType::kBlockOpen: {
        skip();
        if (now().type == TokenType::kName && std::ranges::count(ends, now().text) > 0) return true;
        auto node = statement();
        if (!node) return false;
        body.push_back(std::move(node));
        if (!expect(TokenType::kBlockClose, "the end of the block tag")) return false;
        break;
      }
      case TokenType::kEnd:
        if (ends.size() == 0) return true;
        fail("missing '" + std::string(*(ends.end() - 1)) + "'");
        return false;
      default:
        fail("unexpected " + shown());
        return false;
    }
  }
  return false;
}

/// The end of a tag, its body, and the end tag's name (taken when `drop_end`).
bool Parser::block(Body& body, std::initializer_list<std::string_view> ends, bool drop_end) {
  take_op(":");
  if (!expect(TokenType::kBlockClose, "the end of the block tag")) return false;
  if (!statements(body, ends)) return false;
  if (drop_end) skip();
  return true;
}

std::unique_ptr<Node> Parser::statement() {
  if (now().type != TokenType::kName) return fail("expected a tag name, got " + shown());
  const std::string name = now().text;
  if (name == "if") return if_statement();
  if (name == "for") return for_statement();
  if (name == "set") return set_statement();
  if (name == "macro") return macro_statement();
  if (name == "call") return call_statement();
  if (name == "filter") return filter_statement();
  if (name == "with") return with_statement();
  if (name == "generation" || name == "autoescape") return scope_statement(name);
  if (name == "break") return loop_control(NodeKind::kBreak);
  if (name == "continue") return loop_control(NodeKind::kContinue);
  static constexpr std::string_view kOthers[] = {"block",  "extends", "include",
                                                 "import", "from",    "print"};
  if (std::ranges::count(kOthers, name) > 0) {
    error_ =
        Error{Code::kUnsupported, "template line " + std::to_string(now().line) + ": the tag '" +
                                      name + "' is not supported in chat templates"};
    return nullptr;
  }
  return fail("unknown tag '" + name + "'");
}

std::unique_ptr<Node> Parser::if_statement() {
  auto node = make_node(NodeKind::kIf);
  skip();
  while (true) {
    node->branches.emplace_back();
    Branch& branch = node->branches.back();
    branch.test = tuple(false, false, false, false, {});
    if (!branch.test) return nullptr;
    if (!block(branch.body, {"elif", "else", "endif"}, false)) return nullptr;
    if (!take_name("elif")) break;
  }
  if (take_name("else")) {
    node->branches.emplace_back();
    if (!block(node->branches.back().body, {"endif"}, false)) return nullptr;
  }
  skip();
  return node;
}

std::unique_ptr<Node> Parser::for_statement() {
  auto node = make_node(NodeKind::kFor);
  skip();
  node->target = target(false, "in");
  if (!node->target || !expect_name("in")) return nullptr;
  node->expr = tuple(false, false, false, false, "recursive");
  if (!node->expr) return nullptr;
  if (take_name("if")) {
    node->test = expression();
    if (!node->test) return nullptr;
  }
  node->flag = take_name("recursive");
  ++loops_;
  const bool read = block(node->body, {"else", "endfor"}, false);
  --loops_;
  if (!read) return nullptr;
  if (take_name("else")) {
    if (!block(node->otherwise, {"endfor"}, false)) return nullptr;
  }
  skip();
  return node;
}

std::unique_ptr<Node> Parser::set_statement() {
  auto node = make_node(NodeKind::kSet);
  skip();
  node->target = target(true, {});
  if (!node->target) return nullptr;
  if (take_op("=")) {
    node->expr = tuple(false, true, false, false, {});
    return node->expr ? std::move(node) : nullptr;
  }
  node->kind = NodeKind::kSetBlock;
  if (is_op("|")) {
    node->expr = filter_chain(nullptr, false);
    if (!node->expr) return nullptr;
  }
  return block(node->body, {"endset"}, true) ? std::move(node) : nullptr;
}

bool Parser::parameters(Node& node) {
  if (!expect_op("(")) return false;
  while (!is_op(")")) {
    if (!node.parameters.empty() && !expect_op(",")) return false;
    Parameter parameter;
    parameter.text = now().text;
    if (!expect(TokenType::kName, "a parameter name")) return false;
    parameter.name = name_id(parameter.text);
    if (take_op("=")) {
      parameter.value = expression();
      if (!parameter.value) return false;
    } else if (!node.parameters.empty() && node.parameters.back().value) {
      fail("a parameter without default follows one with default");
      return false;
    }
    node.parameters.push_back(std::move(parameter));
  }
  skip();
  return true;
}

bool Parser::macro_body(Node& node, std::string_view end) {
  const int loops = std::exchange(loops_, 0);
  const bool caller = std::exchange(saw_caller_, false);
  const bool varargs = std::exchange(saw_varargs_, false);
  const bool kwargs = std::exchange(saw_kwargs_, false);
  const bool read = block(node.body, {end}, true);
  node.uses_caller = saw_caller_;
  node.uses_varargs = saw_varargs_;
  node.uses_kwargs = saw_kwargs_;
  saw_caller_ |= caller;
  saw_varargs_ |= varargs;
  saw_kwargs_ |= kwargs;
  loops_ = loops;
  return read;
}

std::unique_ptr<Node> Parser::macro_statement() {
  auto node = make_node(NodeKind::kMacro);
  skip();
  node->text = now().text;
  if (!expect(TokenType::kName, "a macro name")) return nullptr;
  node->name = name_id(node->text);
  if (!parameters(*node) || !macro_body(*node, "endmacro")) return nullptr;
  return node;
}

std::unique_ptr<Node> Parser::call_statement() {
  auto node = make_node(NodeKind::kCallBlock);
  skip();
  node->text = "caller";
  if (is_op("(") && !parameters(*node)) return nullptr;
  node->expr = expression();
  if (!node->expr) return nullptr;
  if (node->expr->kind != ExprKind::kCall) return fail("expected a call");
  if (!macro_body(*node, "endcall")) return nullptr;
  return node;
}

std::unique_ptr<Node> Parser::filter_statement() {
  auto node = make_node(NodeKind::kFilterBlock);
  skip();
  node->expr = filter_chain(nullptr, true);
  if (!node->expr || !block(node->body, {"endfilter"}, true)) return nullptr;
  return node;
}

std::unique_ptr<Node> Parser::with_statement() {
  auto node = make_node(NodeKind::kWith);
  skip();
  while (now().type != TokenType::kBlockClose) {
    if (!node->parameters.empty() && !expect_op(",")) return nullptr;
    Parameter parameter;
    parameter.text = now().text;
    if (!expect(TokenType::kName, "a name")) return nullptr;
    parameter.name = name_id(parameter.text);
    if (!expect_op("=")) return nullptr;
    parameter.value = expression();
    if (!parameter.value) return nullptr;
    node->parameters.push_back(std::move(parameter));
  }
  return block(node->body, {"endwith"}, true) ? std::move(node) : nullptr;
}

std::unique_ptr<Node> Parser::scope_statement(const std::string& name) {
  auto node = make_node(NodeKind::kScope);
  skip();
  if (name == "autoescape") {
    if (!is_name("false")) return fail("only {% autoescape false %} is supported");
    skip();
    return block(node->body, {"endautoescape"}, true) ? std::move(node) : nullptr;
  }
  const int loops = std::exchange(loops_, 0);
  const bool read = block(node->body, {"endgeneration"}, true);
  loops_ = loops;
  return read ? std::move(node) : nullptr;
}

std::unique_ptr<Node> Parser::loop_control(NodeKind kind) {
  auto node = make_node(kind);
  if (loops_ == 0) return fail("'" + now().text + "' outside a loop");
  skip();
  return node;
}

Result<std::unique_ptr<const Tree>> parse(std::vector<Token> tokens) {
  CHECK(!tokens.empty());
  return Parser(std::move(tokens)).run();
}

}  // namespace hadal::jinja
