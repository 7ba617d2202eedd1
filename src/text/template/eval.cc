#include <algorithm>

#include "text/template/run.h"

namespace hadal::jinja {

Maybe Run::eval(const Expr& expr) {
  const Frame frame(*this);
  if (!frame.ok() || !charge(0)) return {};
  line_ = expr.line;
  switch (expr.kind) {
    case ExprKind::kString:
      return eval_string(expr);
    case ExprKind::kInt:
      return Value::integer(expr.integer);
    case ExprKind::kFloat:
      return Value::real(expr.real);
    case ExprKind::kBool:
      return Value::boolean(expr.integer != 0);
    case ExprKind::kNone:
      return Value::none();
    case ExprKind::kName:
      return lookup(expr.name);
    case ExprKind::kList:
    case ExprKind::kTuple:
      return eval_items(expr);
    case ExprKind::kDict:
      return eval_dict(expr);
    case ExprKind::kAttribute:
    case ExprKind::kItem:
    case ExprKind::kSlice:
      return eval_subscript(expr);
    case ExprKind::kCall:
      return eval_call(expr);
    case ExprKind::kFilter:
      return eval_filter(expr, eval(*expr.kids[0]));
    case ExprKind::kTest:
      return eval_test(expr);
    case ExprKind::kNot: {
      GET(const Value value, eval(*expr.kids[0]));
      return Value::boolean(!truthy(value));
    }
    case ExprKind::kNegative:
    case ExprKind::kPositive: {
      GET(const Value value, eval(*expr.kids[0]));
      return negate(*this, value, expr.kind == ExprKind::kNegative);
    }
    case ExprKind::kAnd:
    case ExprKind::kOr:
      return eval_logic(expr);
    case ExprKind::kConcat:
      return eval_concat(expr);
    case ExprKind::kArithmetic:
      return eval_arithmetic(expr);
    case ExprKind::kCompare:
      return eval_compare(expr);
    case ExprKind::kIf:
      return eval_if(expr);
    case ExprKind::kNamespaceTarget:
      break;
  }
  return fail("not an expression", Code::kInternal);
}

/// String constants are made once per render: the tree is shared by threads, counts are not.
Maybe Run::eval_string(const Expr& expr) {
  Value& cached = constants_[expr.constant];
  if (cached.missing()) {
    GET(cached, string(expr.text));
  }
  return cached;
}

Maybe Run::eval_items(const Expr& expr) {
  std::vector<Value> items;
  items.reserve(expr.kids.size());
  for (const ExprPtr& kid : expr.kids) {
    GET(Value item, eval(*kid));
    items.push_back(std::move(item));
  }
  return sequence(std::move(items),
                  expr.kind == ExprKind::kTuple ? Flavour::kTuple : Flavour::kList);
}

Maybe Run::eval_dict(const Expr& expr) {
  std::vector<std::pair<Value, Value>> entries;
  for (size_t i = 0; i + 1 < expr.kids.size(); i += 2) {
    GET(Value key, eval(*expr.kids[i]));
    GET(Value value, eval(*expr.kids[i + 1]));
    if (!hashable(key)) return fail("unhashable type: '" + std::string(type_name(key)) + "'");
    if (!charge(entries.size() * sizeof(Value))) return {};
    const auto known =
        std::ranges::find_if(entries, [&](const auto& entry) { return equals(entry.first, key); });
    if (known != entries.end()) {
      known->second = std::move(value);
    } else {
      entries.emplace_back(std::move(key), std::move(value));
    }
  }
  return dict(std::move(entries));
}

Maybe Run::eval_subscript(const Expr& expr) {
  GET(const Value object, eval(*expr.kids[0]));
  if (expr.kind == ExprKind::kAttribute) return get_attribute(*this, object, expr.text);
  if (expr.kind == ExprKind::kItem) {
    GET(const Value index, eval(*expr.kids[1]));
    return get_item(*this, object, index);
  }
  Value parts[3];
  for (size_t i = 0; i < 3; ++i) {
    parts[i] = Value::none();
    if (!expr.kids[i + 1]) continue;
    GET(parts[i], eval(*expr.kids[i + 1]));
  }
  return slice(*this, object, parts[0], parts[1], parts[2]);
}

Maybe Run::eval_logic(const Expr& expr) {
  const bool stops_at = expr.kind == ExprKind::kOr;
  for (const ExprPtr& kid : expr.kids) {
    GET(Value value, eval(*kid));
    if (truthy(value) == stops_at || &kid == &expr.kids.back()) return value;
  }
  return fail("empty logic", Code::kInternal);
}

Maybe Run::eval_concat(const Expr& expr) {
  Text text;
  for (const ExprPtr& kid : expr.kids) {
    GET(const Value value, eval(*kid));
    if (!show(*this, value, text) || !fits(text.size())) return {};
  }
  return string(std::move(text));
}

Maybe Run::eval_arithmetic(const Expr& expr) {
  GET(Value value, eval(*expr.kids[0]));
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    GET(const Value right, eval(*expr.kids[i + 1]));
    GET(value, arithmetic(*this, expr.operators[i], value, right));
  }
  return value;
}

Maybe Run::eval_compare(const Expr& expr) {
  GET(Value left, eval(*expr.kids[0]));
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    GET(Value right, eval(*expr.kids[i + 1]));
    GET(const bool holds, compare(*this, expr.operators[i], left, right));
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Maybe Run::eval_if(const Expr& expr) {
  GET(const Value test, eval(*expr.kids[0]));
  if (truthy(test)) return eval(*expr.kids[1]);
  return expr.kids[2] ? eval(*expr.kids[2]) : Value::undefined();
}

bool Run::eval_arguments(const Arguments* from, Args& to) {
  if (from == nullptr) return true;
  for (const ExprPtr& argument : from->positional) {
    GET(Value value, eval(*argument));
    to.positional.push_back(std::move(value));
  }
  for (const Keyword& keyword : from->keywords) {
    GET(Value value, eval(*keyword.value));
    to.keywords.emplace_back(keyword.name, std::move(value));
  }
  if (from->star) {
    GET(const Value value, eval(*from->star));
    GET(const std::vector<Value> items, items_of(*this, value));
    to.positional.insert(to.positional.end(), items.begin(), items.end());
  }
  if (from->double_star) {
    GET(const Value value, eval(*from->double_star));
    if (!value.is(Kind::kDict)) return fail("argument after ** must be a mapping"), false;
    for (const auto& [key, item] : value.dict().entries) {
      if (!key.is(Kind::kString)) return fail("keywords must be strings"), false;
      to.keywords.emplace_back(key.text().bytes, item);
    }
  }
  return true;
}

Maybe Run::eval_call(const Expr& expr) {
  const Expr& callee = *expr.kids[0];
  Args args;
  if (callee.kind == ExprKind::kAttribute) {
    // The usual object.method(...): no need for a bound method in between.
    GET(const Value self, eval(*callee.kids[0]));
    if (const MethodEntry* method = find_method(self, callee.text)) {
      if (!eval_arguments(expr.arguments.get(), args)) return {};
      line_ = expr.line;
      return call_method(*method, self, std::move(args));
    }
    GET(const Value function, get_attribute(*this, self, callee.text));
    if (!eval_arguments(expr.arguments.get(), args)) return {};
    return call(function, std::move(args));
  }
  GET(const Value function, eval(callee));
  if (!eval_arguments(expr.arguments.get(), args)) return {};
  line_ = expr.line;
  return call(function, std::move(args));
}

Maybe Run::call(const Value& callee, Args args) {
  const Frame frame(*this);
  if (!frame.ok() || !charge(0)) return {};
  switch (callee.kind()) {
    case Kind::kMacro:
      return call_macro(callee.as<Macro>(), std::move(args));
    case Kind::kLoop:
      return call_loop(callee.as<Loop>(), std::move(args));
    case Kind::kFunction:
      return global_functions()[static_cast<size_t>(callee.integer())].function(*this, args);
    case Kind::kMethod: {
      const Method& method = callee.as<Method>();
      return call_method(*method.entry, method.self, std::move(args));
    }
    case Kind::kUndefined:
      return fail_undefined(callee);
    default:
      return fail("'" + std::string(type_name(callee)) + "' object is not callable");
  }
}

Maybe Run::call_method(const MethodEntry& method, const Value& self, Args args) {
  if (!method.keywords && !args.keywords.empty()) {
    return fail(std::string(method.name) + "() takes no keyword arguments");
  }
  return method.function(*this, self, args);
}

Maybe Run::call_filter(std::string_view name, Args args) {
  const Frame frame(*this);
  if (!frame.ok() || !charge(0)) return {};
  const Function filter = find_filter(name);
  if (filter == nullptr) return fail("no filter named '" + std::string(name) + "'");
  return filter(*this, args);
}

Maybe Run::call_test(std::string_view name, Args args) {
  const Frame frame(*this);
  if (!frame.ok() || !charge(0)) return {};
  const Function test = find_test(name);
  if (test == nullptr) return fail("no test named '" + std::string(name) + "'");
  return test(*this, args);
}

Maybe Run::eval_filter(const Expr& expr, Maybe input) {
  if (!input) return {};
  Args args;
  args.positional.push_back(std::move(*input));
  if (!eval_arguments(expr.arguments.get(), args)) return {};
  line_ = expr.line;
  return call_filter(expr.text, std::move(args));
}

Maybe Run::eval_test(const Expr& expr) {
  Args args;
  GET(Value value, eval(*expr.kids[0]));
  args.positional.push_back(std::move(value));
  if (!eval_arguments(expr.arguments.get(), args)) return {};
  line_ = expr.line;
  return call_test(expr.text, std::move(args));
}

}  // namespace hadal::jinja
