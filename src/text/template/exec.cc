#include <algorithm>

#include "base/limits.h"
#include "text/template/run.h"

namespace hadal::jinja {

Run::Flow Run::exec(const Body& body) {
  for (const auto& node : body) {
    const Flow flow = exec(*node);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Run::Flow Run::exec(const Node& node) {
  const Frame frame(*this);
  if (!frame.ok() || !charge(0)) return Flow::kFailed;
  line_ = node.line;
  switch (node.kind) {
    case NodeKind::kText:
      return emit(node.text) ? Flow::kNext : Flow::kFailed;
    case NodeKind::kOutput: {
      const Maybe value = eval(*node.expr);
      return value && emit(*value) ? Flow::kNext : Flow::kFailed;
    }
    case NodeKind::kIf:
      return exec_if(node);
    case NodeKind::kFor:
      return exec_for(node);
    case NodeKind::kSet:
      return exec_set(node);
    case NodeKind::kSetBlock:
      return exec_set_block(node);
    case NodeKind::kMacro: {
      const Maybe macro = make_macro(node);
      if (!macro) return Flow::kFailed;
      scope_->set(node.name, *macro);
      return Flow::kNext;
    }
    case NodeKind::kCallBlock:
      return exec_call(node);
    case NodeKind::kFilterBlock: {
      Text text;
      const Flow flow = capture(node.body, text);
      if (flow != Flow::kNext) return flow;
      const Maybe value = apply_chain(node.expr.get(), std::move(text));
      return value && emit(*value) ? Flow::kNext : Flow::kFailed;
    }
    case NodeKind::kScope:
      return exec_scoped(node.body);
    case NodeKind::kWith:
      return exec_with(node);
    case NodeKind::kBreak:
      return Flow::kBreak;
    case NodeKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kFailed;
}

bool Run::emit(std::string_view text) {
  if (!fits(out_->size() + text.size() > limits::kTemplateOutputBytes ? SIZE_MAX : text.size())) {
    return false;
  }
  out_->append(text, MarkedText::kTemplate);
  return true;
}

bool Run::emit(const Value& value) {
  const size_t before = out_->size();
  if (!show(*this, value, *out_)) return false;
  return fits(out_->size() > limits::kTemplateOutputBytes ? SIZE_MAX : out_->size() - before);
}

Run::Flow Run::exec_if(const Node& node) {
  for (const Branch& branch : node.branches) {
    if (branch.test) {
      const Maybe test = eval(*branch.test);
      if (!test) return Flow::kFailed;
      if (!truthy(*test)) continue;
    }
    return exec(branch.body);
  }
  return Flow::kNext;
}

bool Run::assign(const Expr& target, const Value& value) {
  if (target.kind == ExprKind::kName) {
    scope_->set(target.name, value);
    return true;
  }
  if (target.kind == ExprKind::kNamespaceTarget) {
    GET(const Value space, lookup(target.name));
    if (!space.is(Kind::kNamespace)) return fail("only namespaces have attributes to set"), false;
    if (target.text.starts_with('_')) return fail("a namespace attribute starts with '_'"), false;
    auto& held = space.as<Namespace>();
    if (Value* known = held.find(target.text)) {
      *known = value;
    } else {
      if (!charge(held.entries.size() * sizeof(Value))) return false;
      held.entries.emplace_back(target.text, value);
    }
    return true;
  }
  GET(const std::vector<Value> items, items_of(*this, value));
  if (items.size() != target.kids.size()) {
    return fail("cannot unpack " + std::to_string(items.size()) + " values into " +
                std::to_string(target.kids.size()) + " names"),
           false;
  }
  for (size_t i = 0; i < items.size(); ++i) {
    if (!assign(*target.kids[i], items[i])) return false;
  }
  return true;
}

Run::Flow Run::exec_set(const Node& node) {
  const Maybe value = eval(*node.expr);
  return value && assign(*node.target, *value) ? Flow::kNext : Flow::kFailed;
}

/// Runs a body in a scope of its own with its output in `out`.
Run::Flow Run::capture(const Body& body, Text& out) {
  Text* outer = std::exchange(out_, &out);
  const Flow flow = exec_scoped(body);
  out_ = outer;
  return flow;
}

Run::Flow Run::exec_scoped(const Body& body) {
  const Ref<Scope> outer = scope_;
  scope_ = make_scope(outer);
  const Flow flow = exec(body);
  scope_ = outer;
  return flow;
}

Maybe Run::apply_chain(const Expr* chain, Text input) {
  if (chain == nullptr) return string(std::move(input));
  return eval_filter(*chain, apply_chain(chain->kids[0].get(), std::move(input)));
}

Run::Flow Run::exec_set_block(const Node& node) {
  Text text;
  const Flow flow = capture(node.body, text);
  if (flow != Flow::kNext) return flow;
  const Maybe value = apply_chain(node.expr.get(), std::move(text));
  return value && assign(*node.target, *value) ? Flow::kNext : Flow::kFailed;
}

Run::Flow Run::exec_with(const Node& node) {
  const Ref<Scope> outer = scope_;
  const Ref<Scope> inner = make_scope(outer);
  for (const Parameter& parameter : node.parameters) {
    const Maybe value = eval(*parameter.value);
    if (!value) return Flow::kFailed;
    inner->set(parameter.name, *value);
  }
  scope_ = inner;
  const Flow flow = exec(node.body);
  scope_ = outer;
  return flow;
}

// Loops -------------------------------------------------------------------------------------------

Run::Flow Run::exec_for(const Node& node) {
  const Maybe iterable = eval(*node.expr);
  if (!iterable) return Flow::kFailed;
  return run_loop(node, *iterable, 0);
}

/// The items to go through: those of `iterable` that pass the loop's `if`.
bool Run::loop_items(const Node& node, const Value& iterable, std::vector<Value>& items) {
  GET(items, items_of(*this, iterable));
  if (!node.test) return true;
  const Ref<Scope> outer = scope_;
  scope_ = make_scope(outer);
  bool good = true;
  size_t kept = 0;
  for (size_t i = 0; i < items.size() && good; ++i) {
    good = assign(*node.target, items[i]);
    const Maybe holds = good ? eval(*node.test) : std::nullopt;
    good = holds.has_value();
    if (good && truthy(*holds)) items[kept++] = items[i];
  }
  items.resize(kept);
  scope_ = outer;
  return good;
}

Run::Flow Run::run_loop(const Node& node, const Value& iterable, int level) {
  Ref<Loop> loop(new Loop);
  if (!loop_items(node, iterable, loop->items)) return Flow::kFailed;
  if (loop->items.empty()) return exec_scoped(node.otherwise);
  loop->account(budget_, sizeof(Loop) + loop->items.size() * sizeof(Value));
  for (const Value& item : loop->items) loop->depth = std::max(loop->depth, depth_of(item) + 1);
  if (loop->depth > limits::kTemplateValueDepth || !charge(loop->items.size() * sizeof(Value))) {
    fail("values are nested too deep", Code::kExhausted);
    return Flow::kFailed;
  }
  loop->level = level;
  const Ref<Scope> outer = scope_;
  if (node.flag) {
    loop->recursive = &node;
    loop->scope = outer;
    captured_.push_back(outer);
  }
  Flow flow = Flow::kNext;
  for (; loop->index < loop->items.size(); ++loop->index) {
    if (scope_.get() == outer.get() || !scope_.unique()) {
      scope_ = make_scope(outer);
    } else {
      scope_->variables.clear();
    }
    if (loop_name_ != UINT32_MAX) scope_->set(loop_name_, Value(Kind::kLoop, loop));
    if (!assign(*node.target, loop->items[loop->index])) flow = Flow::kFailed;
    if (flow == Flow::kNext) flow = exec(node.body);
    if (flow == Flow::kBreak || flow == Flow::kFailed) break;
    flow = Flow::kNext;
  }
  scope_ = outer;
  return flow == Flow::kFailed ? Flow::kFailed : Flow::kNext;
}

Maybe Run::call_loop(Loop& loop, Args args) {
  if (loop.recursive == nullptr) return fail("only a recursive loop can be called");
  if (args.positional.size() != 1 || !args.keywords.empty()) {
    return fail("a loop is called with one iterable");
  }
  if (calls_ >= limits::kTemplateCallDepth) {
    return fail("calls are nested too deep", Code::kExhausted);
  }
  ++calls_;
  const Ref<Scope> outer = std::exchange(scope_, loop.scope);
  Text text;
  Text* outer_out = std::exchange(out_, &text);
  const Flow flow = run_loop(*loop.recursive, args.positional[0], loop.level + 1);
  out_ = outer_out;
  scope_ = outer;
  --calls_;
  if (flow == Flow::kFailed) return {};
  return string(std::move(text));
}

// Macros ------------------------------------------------------------------------------------------

Maybe Run::make_macro(const Node& node) {
  if (!charge(sizeof(Macro))) return {};
  Ref<Macro> macro(new Macro);
  macro->account(budget_, sizeof(Macro));
  macro->node = &node;
  macro->scope = scope_;
  if (captured_.empty() || captured_.back().get() != scope_.get()) captured_.push_back(scope_);
  return Value(Kind::kMacro, macro);
}

Run::Flow Run::exec_call(const Node& node) {
  const Maybe macro = make_macro(node);
  if (!macro) return Flow::kFailed;
  const Maybe callee = eval(*node.expr->kids[0]);
  Args args;
  if (!callee || !eval_arguments(node.expr->arguments.get(), args)) return Flow::kFailed;
  args.keywords.emplace_back("caller", *macro);
  const Maybe value = call(*callee, std::move(args));
  return value && emit(*value) ? Flow::kNext : Flow::kFailed;
}

/// Parameter passing of jinja2's macros: positional, then by name, then defaults, else undefined.
bool Run::bind_macro(const Macro& macro, Args& args, Scope& scope) {
  const Node& node = *macro.node;
  const size_t given = std::min(args.positional.size(), node.parameters.size());
  for (size_t i = 0; i < given; ++i) scope.set(node.parameters[i].name, args.positional[i]);
  bool caller_bound = false;
  for (size_t i = 0; i < node.parameters.size(); ++i) {
    const Parameter& parameter = node.parameters[i];
    caller_bound |= parameter.text == "caller";
    if (i < given) continue;
    const auto named = std::ranges::find_if(
        args.keywords, [&](const auto& keyword) { return keyword.first == parameter.text; });
    if (named != args.keywords.end()) {
      scope.set(parameter.name, named->second);
      args.keywords.erase(named);
    } else if (parameter.value) {
      GET(Value value, eval(*parameter.value));
      scope.set(parameter.name, std::move(value));
    } else {
      scope.set(parameter.name, Value::undefined(&parameter.text));
    }
  }
  if (node.uses_caller && !caller_bound) {
    const auto named = std::ranges::find_if(
        args.keywords, [](const auto& keyword) { return keyword.first == "caller"; });
    scope.set(caller_name_, named != args.keywords.end() ? named->second : Value::undefined());
    if (named != args.keywords.end()) args.keywords.erase(named);
  }
  if (node.uses_kwargs) {
    std::vector<std::pair<Value, Value>> entries;
    for (const auto& [name, value] : args.keywords) {
      GET(Value key, string(name));
      entries.emplace_back(std::move(key), value);
    }
    GET(Value kwargs, dict(std::move(entries)));
    scope.set(kwargs_name_, std::move(kwargs));
  } else if (!args.keywords.empty()) {
    return fail("macro '" + node.text + "' takes no argument '" + args.keywords[0].first + "'"),
           false;
  }
  std::vector<Value> rest(args.positional.begin() + static_cast<ptrdiff_t>(given),
                          args.positional.end());
  if (node.uses_varargs) {
    GET(Value varargs, sequence(std::move(rest), Flavour::kTuple));
    scope.set(varargs_name_, std::move(varargs));
  } else if (!rest.empty()) {
    return fail("macro '" + node.text + "' takes at most " +
                std::to_string(node.parameters.size()) + " arguments"),
           false;
  }
  return true;
}

Maybe Run::call_macro(const Macro& macro, Args args) {
  if (calls_ >= limits::kTemplateCallDepth) {
    return fail("calls are nested too deep", Code::kExhausted);
  }
  ++calls_;
  const Ref<Scope> outer = std::exchange(scope_, make_scope(macro.scope));
  Text text;
  Text* outer_out = std::exchange(out_, &text);
  const bool good = bind_macro(macro, args, *scope_) && exec(macro.node->body) != Flow::kFailed;
  out_ = outer_out;
  scope_ = outer;
  --calls_;
  if (!good) return {};
  return string(std::move(text));
}

}  // namespace hadal::jinja
