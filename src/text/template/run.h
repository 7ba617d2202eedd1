#pragma once
/// One render: evaluates a tree over variables, within the limits of base/limits.h.
///
/// Failure: functions return Maybe (std::optional) or bool; the empty value means that Run::error()
/// was set, and every caller hands it up at once. GET(x, f()) is that in one line.
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "text/chat_template.h"
#include "text/template/ast.h"
#include "text/template/value.h"

namespace hadal::jinja {

using Maybe = std::optional<Value>;
using MaybeItems = std::optional<std::vector<Value>>;

#define HADAL_JINJA_GET_(tmp, decl, expr) \
  auto tmp = (expr);                      \
  if (!tmp) return {};                    \
  decl = std::move(*tmp)
/// GET(Value x, f()): x = what f() gives, or return the empty value when it failed.
#define GET(decl, expr) HADAL_JINJA_GET_(HADAL_CONCAT(get_, __LINE__), decl, expr)

/// Evaluated arguments of a call, a filter or a test.
struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keywords;
};

class Run {
 public:
  Run(const Tree& tree, const json::object& variables, const TemplateOptions& options);
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  Result<MarkedText> render();

  // For operations, filters, tests and methods.
  std::nullopt_t fail(std::string message, Code code = Code::kInvalidArgument);
  std::nullopt_t fail_undefined(const Value& value);
  bool charge(size_t bytes);       ///< counts a step and the copying of `bytes`; false: exhausted
  bool charge_walk(size_t bytes);  ///< the same for work on every single character
  bool fits(size_t bytes);         ///< whether a string of that size may be made
  /// Python's == and a dict look-up. When the steps are spent they say no and the error is set;
  /// whatever comes next fails on it.
  bool equals(const Value& a, const Value& b);
  const Value* find(const Dict& entries, const Value& key);
  const TemplateOptions& options() const { return options_; }
  Maybe string(Text text, bool markup = false);
  Maybe string(std::string_view text) { return string(Text(text, MarkedText::kTemplate)); }
  Maybe sequence(std::vector<Value> items, Flavour flavour = Flavour::kList,
                 char mark = MarkedText::kTemplate);
  Maybe dict(std::vector<std::pair<Value, Value>> entries, char mark = MarkedText::kTemplate);
  Maybe make_namespace(std::vector<std::pair<std::string, Value>> entries);
  Maybe from_json(const json::value& value, char mark);
  Maybe call(const Value& callee, Args args);
  Maybe call_method(const MethodEntry& method, const Value& self, Args args);
  Maybe call_filter(std::string_view name, Args args);
  Maybe call_test(std::string_view name, Args args);

  /// Live evaluator frames; every recursion over the tree or over values holds one.
  class Frame {
   public:
    explicit Frame(Run& run) : run_(run), ok_(run.enter()) {}
    ~Frame() { --run_.frames_; }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;
    bool ok() const { return ok_; }

   private:
    Run& run_;
    bool ok_;
  };

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue, kFailed };

  bool enter();
  Status error_status() const { return error_; }

  // Expressions (eval.cc).
  Maybe eval(const Expr& expr);
  Maybe eval_string(const Expr& expr);
  Maybe eval_items(const Expr& expr);
  Maybe eval_dict(const Expr& expr);
  Maybe eval_subscript(const Expr& expr);
  Maybe eval_logic(const Expr& expr);
  Maybe eval_concat(const Expr& expr);
  Maybe eval_arithmetic(const Expr& expr);
  Maybe eval_compare(const Expr& expr);
  Maybe eval_if(const Expr& expr);
  Maybe eval_call(const Expr& expr);
  Maybe eval_filter(const Expr& expr, Maybe input);
  Maybe eval_test(const Expr& expr);
  bool eval_arguments(const Arguments* from, Args& to);
  Maybe lookup(uint32_t name);
  Maybe resolve(uint32_t name);

  // Statements (exec.cc).
  Flow exec(const Body& body);
  Flow exec(const Node& node);
  Flow exec_if(const Node& node);
  Flow exec_for(const Node& node);
  Flow run_loop(const Node& node, const Value& iterable, int level);
  bool loop_items(const Node& node, const Value& iterable, std::vector<Value>& items);
  Flow exec_set(const Node& node);
  Flow exec_set_block(const Node& node);
  Flow exec_call(const Node& node);
  Flow exec_with(const Node& node);
  Flow exec_scoped(const Body& body);
  Flow capture(const Body& body, Text& out);
  bool assign(const Expr& target, const Value& value);
  bool emit(const Value& value);
  bool emit(std::string_view text);
  Maybe make_macro(const Node& node);
  Maybe call_macro(const Macro& macro, Args args);
  bool bind_macro(const Macro& macro, Args& args, Scope& scope);
  Maybe call_loop(Loop& loop, Args args);
  Maybe apply_chain(const Expr* chain, Text input);
  Ref<Scope> make_scope(const Ref<Scope>& parent);

  const Tree& tree_;
  const json::object& variables_;
  const TemplateOptions& options_;
  Budget budget_;
  Status error_;
  size_t steps_ = 0;
  size_t step_limit_;
  bool reading_variables_ = false;  ///< values read now are the request's and raise the limit
  int frames_ = 0;
  int calls_ = 0;
  uint32_t line_ = 0;
  uint32_t loop_name_ = UINT32_MAX;
  uint32_t caller_name_ = UINT32_MAX, varargs_name_ = UINT32_MAX, kwargs_name_ = UINT32_MAX;
  std::vector<Value> constants_;
  std::vector<Value> context_;
  Ref<Scope> scope_;
  Text* out_ = nullptr;
  // What may be part of a reference cycle; emptied at the end.
  std::vector<Ref<Scope>> captured_;
  std::vector<Ref<Namespace>> namespaces_;
};

// ops.cc ------------------------------------------------------------------------------------------
Maybe arithmetic(Run& run, Operator op, const Value& a, const Value& b);
Maybe negate(Run& run, const Value& value, bool negative);
/// a op b for comparisons, `in` and `not in`.
std::optional<bool> compare(Run& run, Operator op, const Value& a, const Value& b);
Maybe escape_filter(Run& run, Args& args);
/// -1, 0 or 1 as Python orders two values; fails for types without order.
std::optional<int> order(Run& run, const Value& a, const Value& b);
/// The values an iteration gives.
MaybeItems items_of(Run& run, const Value& value);
/// object.name and object[index] with jinja2's rules; what is not there is undefined.
Maybe get_attribute(Run& run, const Value& object, const std::string& name);
Maybe get_item(Run& run, const Value& object, const Value& index);
/// object[from:to:step]; kNone where a part is absent.
Maybe slice(Run& run, const Value& object, const Value& from, const Value& to, const Value& step);
/// Python's len(); -1 for what has none.
int64_t length_of(const Value& value);

// show.cc -----------------------------------------------------------------------------------------
/// Appends Python's str() or repr() of a value.
bool show(Run& run, const Value& value, Text& out);
bool show_repr(Run& run, const Value& value, Text& out);
std::optional<Text> str(Run& run, const Value& value);

// arguments.cc ------------------------------------------------------------------------------------
/// Python's parameter passing: the values in the order of `names`, kMissing where not given.
/// The first `required` must be given. `what` names the callee in messages.
MaybeItems bind(Run& run, std::string_view what, const Args& args,
                std::initializer_list<std::string_view> names, size_t required);
std::optional<int64_t> want_int(Run& run, const Value& value, std::string_view what);

// Tables ------------------------------------------------------------------------------------------
using Function = Maybe (*)(Run& run, Args& args);
struct FunctionEntry {
  std::string_view name;
  Function function;
};
struct MethodEntry {
  std::string_view name;
  Maybe (*function)(Run& run, const Value& self, Args& args);
  bool keywords = false;  ///< whether Python lets arguments be named
};
/// Filters and tests take the value as first positional argument.
Function find_filter(std::string_view name);
Function find_test(std::string_view name);
std::span<const FunctionEntry> global_functions();
/// A method by its receiver's type, or null.
const MethodEntry* find_method(const Value& self, std::string_view name);
/// Names that Python has on the type but the sandbox hides (they change their object).
bool hidden_method(const Value& self, std::string_view name);
std::span<const FunctionEntry> text_filters();
std::span<const FunctionEntry> list_filters();

// format.cc, json_text.cc
// ---------------------------------------------------------------------------
/// Python's "format" % values.
Maybe percent_format(Run& run, const Text& format, const Value& values);
/// Python's "format".format(...).
Maybe brace_format(Run& run, const Text& format, const Args& args);
Maybe to_json_filter(Run& run, Args& args);
Maybe from_json_filter(Run& run, Args& args);

}  // namespace hadal::jinja
