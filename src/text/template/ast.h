#pragma once
/// Syntax tree of a template. Immutable after parsing and shared by renders on any thread.
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace hadal::jinja {

enum class ExprKind : uint8_t {
  kString,  ///< text; constant = slot in the render's constant cache
  kInt,     ///< integer
  kFloat,   ///< real
  kBool,    ///< integer
  kNone,
  kName,       ///< name = id
  kList,       ///< kids
  kTuple,      ///< kids
  kDict,       ///< kids: key, value, key, value, ...
  kAttribute,  ///< kids[0] . text
  kItem,       ///< kids[0] [ kids[1] ]
  kSlice,      ///< kids[0] [ kids[1] : kids[2] : kids[3] ], absent parts are null
  kCall,       ///< kids[0] ( arguments )
  kFilter,     ///< kids[0] | text ( arguments ); kids[0] null in filter blocks
  kTest,       ///< kids[0] is text ( arguments )
  kNot,
  kNegative,
  kPositive,
  kAnd,  ///< kids, two or more
  kOr,
  kConcat,           ///< kids joined by ~
  kArithmetic,       ///< kids[0] operators[0] kids[1] operators[1] kids[2] ..., left to right
  kCompare,          ///< the same, each pair must hold
  kIf,               ///< kids[1] if kids[0] else kids[2] (may be null)
  kNamespaceTarget,  ///< name . text, as the target of a set
};

enum class Operator : uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Keyword {
  std::string name;
  ExprPtr value;
};

struct Arguments {
  std::vector<ExprPtr> positional;
  std::vector<Keyword> keywords;
  ExprPtr star;         ///< *expression
  ExprPtr double_star;  ///< **expression
};

struct Expr {
  ExprKind kind = ExprKind::kNone;
  uint32_t line = 0;
  int depth = 1;  ///< height of the tree, bounded
  uint32_t name = 0;
  uint32_t constant = 0;
  int64_t integer = 0;
  double real = 0;
  std::string text;
  std::vector<ExprPtr> kids;
  std::vector<Operator> operators;
  std::unique_ptr<Arguments> arguments;
};

enum class NodeKind : uint8_t {
  kText,         ///< text
  kOutput,       ///< expr
  kIf,           ///< branches: test (null for else) and body
  kFor,          ///< target, expr, test, body, otherwise, flag = recursive
  kSet,          ///< target, expr
  kSetBlock,     ///< target, expr = filter chain on null (may be null), body
  kMacro,        ///< name, parameters, body
  kCallBlock,    ///< expr = call, parameters, body
  kFilterBlock,  ///< expr = filter chain, body
  kScope,        ///< body in a scope of its own: generation and autoescape blocks
  kWith,         ///< parameters with values, body
  kBreak,
  kContinue,
};

struct Node;
using Body = std::vector<std::unique_ptr<Node>>;

struct Branch {
  ExprPtr test;
  Body body;
};

struct Parameter {
  uint32_t name = 0;
  std::string text;
  ExprPtr value;  ///< default, or null
};

struct Node {
  NodeKind kind = NodeKind::kText;
  uint32_t line = 0;
  uint32_t name = 0;
  uint32_t constant = 0;
  bool flag = false;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;  ///< of a macro's body
  std::string text;
  ExprPtr target, expr, test;
  Body body, otherwise;
  std::vector<Branch> branches;
  std::vector<Parameter> parameters;
};

/// A parsed template: the body and the names it uses, by id.
struct Tree {
  Body body;
  std::vector<std::string> names;
  std::unordered_map<std::string, uint32_t> name_ids;
  uint32_t constants = 0;
};

}  // namespace hadal::jinja
