#include <algorithm>
#include <array>
#include <cmath>

#include "base/utf8.h"
#include "text/template/run.h"
#include "text/template/unicode.h"

namespace hadal::jinja {
namespace {

template <Operator Op>
Maybe comparison_test(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "test", args, {"value", "other"}, 2));
  GET(const bool holds, compare(run, Op, v[0], v[1]));
  return Value::boolean(holds);
}

template <typename Predicate>
Maybe simple(Run& run, const Args& args, Predicate predicate) {
  GET(const std::vector<Value> v, bind(run, "test", args, {"value"}, 1));
  return Value::boolean(predicate(v[0]));
}

Maybe remainder_is(Run& run, const Value& value, const Value& by, int64_t wanted) {
  GET(const Value rest, arithmetic(run, Operator::kModulo, value, by));
  return Value::boolean(run.equals(rest, Value::integer(wanted)));
}

Maybe test_odd(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "odd", args, {"value"}, 1));
  return remainder_is(run, v[0], Value::integer(2), 1);
}
Maybe test_even(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "even", args, {"value"}, 1));
  return remainder_is(run, v[0], Value::integer(2), 0);
}
Maybe test_divisibleby(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "divisibleby", args, {"value", "num"}, 2));
  return remainder_is(run, v[0], v[1], 0);
}

Maybe test_defined(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) { return !v.undefined_value(); });
}
Maybe test_undefined(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) { return v.undefined_value(); });
}
Maybe test_none(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) { return v.is(Kind::kNone); });
}
Maybe test_boolean(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) { return v.is(Kind::kBool); });
}
Maybe test_true(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) { return v.is(Kind::kBool) && v.truth(); });
}
Maybe test_false(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) { return v.is(Kind::kBool) && !v.truth(); });
}
Maybe test_integer(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) { return v.is(Kind::kInt); });
}
Maybe test_float(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) { return v.is(Kind::kFloat); });
}
Maybe test_number(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) { return v.number(); });
}
Maybe test_string(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) { return v.is(Kind::kString); });
}
Maybe test_mapping(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) { return v.is(Kind::kDict); });
}
Maybe test_callable(Run& run, Args& args) {
  // An Undefined has __call__, so Python finds it callable.
  return simple(run, args,
                [](const Value& v) { return v.undefined_value() || (v.kind() >= Kind::kMacro); });
}
Maybe test_sequence(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) {
    return v.undefined_value() || v.is(Kind::kString) || v.is(Kind::kDict) ||
           (v.is(Kind::kSequence) && v.sequence().indexed());
  });
}
Maybe test_iterable(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) {
    return v.undefined_value() || v.is(Kind::kString) || v.is(Kind::kDict) ||
           v.is(Kind::kSequence) || v.is(Kind::kLoop);
  });
}
Maybe test_escaped(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) { return v.is(Kind::kString) && v.string().markup; });
}

Maybe test_sameas(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "sameas", args, {"value", "other"}, 2));
  const bool scalar = v[0].number() || v[0].is(Kind::kNone) || v[0].is(Kind::kString);
  if (v[0].kind() != v[1].kind()) return Value::boolean(false);
  return Value::boolean(scalar ? run.equals(v[0], v[1]) : v[0].object() == v[1].object());
}

/// Whether a string has cased characters, all of them the wanted way.
Maybe case_test(Run& run, const Args& args, bool upper) {
  GET(const std::vector<Value> v, bind(run, upper ? "upper" : "lower", args, {"value"}, 1));
  GET(const Text text, str(run, v[0]));
  if (!run.charge_walk(text.size())) return {};
  bool cased = false;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_decode(text.bytes, i);
    const bool is_upper = to_lower(step.code_point) != step.code_point;
    const bool is_lower = to_upper(step.code_point) != step.code_point;
    if (upper ? is_lower : is_upper) return Value::boolean(false);
    cased |= is_upper || is_lower;
    i += step.size;
  }
  return Value::boolean(cased);
}
Maybe test_lower(Run& run, Args& args) {
  return case_test(run, args, false);
}
Maybe test_upper(Run& run, Args& args) {
  return case_test(run, args, true);
}

Maybe test_filter(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) {
    return v.is(Kind::kString) && find_filter(v.text().bytes) != nullptr;
  });
}
Maybe test_test(Run& run, Args& args) {
  return simple(run, args, [](const Value& v) {
    return v.is(Kind::kString) && find_test(v.text().bytes) != nullptr;
  });
}

constexpr std::array<FunctionEntry, 39> kTests = {{
    {"odd", test_odd},
    {"even", test_even},
    {"divisibleby", test_divisibleby},
    {"defined", test_defined},
    {"undefined", test_undefined},
    {"filter", test_filter},
    {"test", test_test},
    {"none", test_none},
    {"boolean", test_boolean},
    {"false", test_false},
    {"true", test_true},
    {"integer", test_integer},
    {"float", test_float},
    {"lower", test_lower},
    {"upper", test_upper},
    {"string", test_string},
    {"mapping", test_mapping},
    {"number", test_number},
    {"sequence", test_sequence},
    {"iterable", test_iterable},
    {"callable", test_callable},
    {"sameas", test_sameas},
    {"escaped", test_escaped},
    {"in", comparison_test<Operator::kIn>},
    {"==", comparison_test<Operator::kEqual>},
    {"eq", comparison_test<Operator::kEqual>},
    {"equalto", comparison_test<Operator::kEqual>},
    {"!=", comparison_test<Operator::kNotEqual>},
    {"ne", comparison_test<Operator::kNotEqual>},
    {">", comparison_test<Operator::kGreater>},
    {"gt", comparison_test<Operator::kGreater>},
    {"greaterthan", comparison_test<Operator::kGreater>},
    {"ge", comparison_test<Operator::kGreaterEqual>},
    {">=", comparison_test<Operator::kGreaterEqual>},
    {"<", comparison_test<Operator::kLess>},
    {"lt", comparison_test<Operator::kLess>},
    {"lessthan", comparison_test<Operator::kLess>},
    {"<=", comparison_test<Operator::kLessEqual>},
    {"le", comparison_test<Operator::kLessEqual>},
}};

}  // namespace

Function find_test(std::string_view name) {
  const auto* found = std::ranges::find(kTests, name, &FunctionEntry::name);
  return found == kTests.end() ? nullptr : found->function;
}

}  // namespace hadal::jinja
