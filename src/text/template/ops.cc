#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "text/template/run.h"
#include "text/template/text_ops.h"

namespace hadal::jinja {
namespace {

char joint_mark(const Value& a, const Value& b) {
  return a.mark() == MarkedText::kCaller || b.mark() == MarkedText::kCaller ? MarkedText::kCaller
                                                                            : MarkedText::kTemplate;
}

std::string_view symbol(Operator op) {
  static constexpr std::string_view kSymbols[] = {
      "+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in"};
  return kSymbols[static_cast<size_t>(op)];
}

std::nullopt_t type_failure(Run& run, Operator op, const Value& a, const Value& b) {
  if (a.undefined_value()) return run.fail_undefined(a);
  if (b.undefined_value()) return run.fail_undefined(b);
  return run.fail("unsupported operand types for " + std::string(symbol(op)) + ": '" +
                  std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "'");
}

int64_t floor_divide(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? quotient - 1 : quotient;
}

Maybe integer_power(Run& run, int64_t base, int64_t exponent, char mark) {
  if (exponent < 0) {
    if (base == 0) return run.fail("0 cannot be raised to a negative power");
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)), mark);
  }
  int64_t result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) {
      return run.fail("an integer grows too large", Code::kExhausted);
    }
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) {
      return run.fail("an integer grows too large", Code::kExhausted);
    }
  }
  return Value::integer(result, mark);
}

Maybe integers(Run& run, Operator op, int64_t a, int64_t b, char mark) {
  std::optional<int64_t> result;
  switch (op) {
    case Operator::kAdd:
      result = checked_add(a, b);
      break;
    case Operator::kSubtract: {
      int64_t out = 0;
      if (!__builtin_sub_overflow(a, b, &out)) result = out;
      break;
    }
    case Operator::kMultiply:
      result = checked_mul(a, b);
      break;
    case Operator::kPower:
      return integer_power(run, a, b, mark);
    default:
      if (b == 0) return run.fail("division by zero");
      if (op == Operator::kDivide) {
        return Value::real(static_cast<double>(a) / static_cast<double>(b), mark);
      }
      if (b == -1) {
        if (op == Operator::kModulo) return Value::integer(0, mark);
        return a == INT64_MIN ? run.fail("an integer grows too large", Code::kExhausted)
                              : Maybe(Value::integer(-a, mark));
      }
      result = op == Operator::kFloorDivide ? floor_divide(a, b) : a - floor_divide(a, b) * b;
  }
  if (!result) return run.fail("an integer grows too large", Code::kExhausted);
  return Value::integer(*result, mark);
}

Maybe reals(Run& run, Operator op, double a, double b, char mark) {
  switch (op) {
    case Operator::kAdd:
      return Value::real(a + b, mark);
    case Operator::kSubtract:
      return Value::real(a - b, mark);
    case Operator::kMultiply:
      return Value::real(a * b, mark);
    case Operator::kPower: {
      if (a == 0 && b < 0) return run.fail("0.0 cannot be raised to a negative power");
      const double result = std::pow(a, b);
      if (std::isnan(result) && !std::isnan(a) && !std::isnan(b)) {
        return run.fail("the power is not a real number");
      }
      if (std::isinf(result) && !std::isinf(a) && !std::isinf(b)) {
        return run.fail("the power is too large");
      }
      return Value::real(result, mark);
    }
    default:
      break;
  }
  if (b == 0) return run.fail("division by zero");
  if (op == Operator::kDivide) return Value::real(a / b, mark);
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  if (remainder == 0) remainder = std::copysign(0.0, b);
  if (op == Operator::kModulo) return Value::real(remainder, mark);
  const double quotient = (a - remainder) / b;
  double floored = std::floor(quotient);
  if (quotient - floored > 0.5) floored += 1;
  return Value::real(quotient == 0 ? std::copysign(0.0, a / b) : floored, mark);
}

/// & < > ' " as jinja2's Markup escapes them.
Text escaped(const Text& text) {
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text.bytes[i];
    const char* entity = c == '&'    ? "&amp;"
                         : c == '<'  ? "&lt;"
                         : c == '>'  ? "&gt;"
                         : c == '\'' ? "&#39;"
                         : c == '"'  ? "&#34;"
                                     : nullptr;
    if (entity != nullptr) {
      out.append(entity, text.mark_at(i));
    } else {
      out.append(text, i, 1);
    }
  }
  return out;
}

Maybe add_strings(Run& run, const String& a, const String& b) {
  if (!run.fits(a.text.size() + b.text.size())) return {};
  const bool markup = a.markup || b.markup;
  if (markup && !run.charge_walk(a.text.size() + b.text.size())) return {};
  Text out = markup && !a.markup ? escaped(a.text) : a.text;
  out.append(markup && !b.markup ? escaped(b.text) : b.text);
  return run.string(std::move(out), markup);
}

Maybe repeat(Run& run, const Value& value, int64_t times) {
  times = std::max<int64_t>(times, 0);
  if (value.is(Kind::kString)) {
    const Text& text = value.text();
    const auto size = checked_mul<int64_t>(static_cast<int64_t>(text.size()), times);
    if (!run.fits(size ? static_cast<size_t>(*size) : SIZE_MAX)) return {};
    Text out;
    if (text.size() > 0) {
      for (int64_t i = 0; i < times; ++i) out.append(text);
    }
    return run.string(std::move(out), value.string().markup);
  }
  const Sequence& from = value.sequence();
  const auto size = checked_mul<int64_t>(static_cast<int64_t>(from.items.size()), times);
  if (!run.fits(size && *size < INT64_MAX / 64 ? static_cast<size_t>(*size) * sizeof(Value)
                                               : SIZE_MAX)) {
    return {};
  }
  std::vector<Value> items;
  if (!from.items.empty()) {
    for (int64_t i = 0; i < times; ++i) {
      items.insert(items.end(), from.items.begin(), from.items.end());
    }
  }
  return run.sequence(std::move(items), from.flavour, from.mark);
}

bool listlike(const Value& value) {
  return value.is(Kind::kSequence) && value.sequence().flavour <= Flavour::kTuple;
}

template <typename T>
int sign_of(T a, T b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

}  // namespace

Maybe escape_filter(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "escape", args, {"s"}, 1));
  if (v[0].is(Kind::kString) && v[0].string().markup) return v[0];
  GET(const Text text, str(run, v[0]));
  if (!run.fits(text.size()) || !run.charge_walk(text.size())) return {};
  return run.string(escaped(text), true);
}

Maybe arithmetic(Run& run, Operator op, const Value& a, const Value& b) {
  if (a.number() && b.number()) {
    const char mark = joint_mark(a, b);
    if (a.integral() && b.integral()) return integers(run, op, a.integer(), b.integer(), mark);
    return reals(run, op, a.real(), b.real(), mark);
  }
  const bool strings = a.is(Kind::kString) && b.is(Kind::kString);
  if (op == Operator::kAdd && strings) return add_strings(run, a.string(), b.string());
  if (op == Operator::kModulo && a.is(Kind::kString)) return percent_format(run, a.text(), b);
  if (op == Operator::kAdd && listlike(a) && listlike(b) &&
      a.sequence().flavour == b.sequence().flavour) {
    std::vector<Value> items = a.sequence().items;
    if (!run.charge(items.size() * sizeof(Value))) return {};
    items.insert(items.end(), b.sequence().items.begin(), b.sequence().items.end());
    return run.sequence(std::move(items), a.sequence().flavour,
                        std::min(a.sequence().mark, b.sequence().mark));
  }
  if (op == Operator::kMultiply) {
    if ((a.is(Kind::kString) || listlike(a)) && b.integral()) return repeat(run, a, b.integer());
    if ((b.is(Kind::kString) || listlike(b)) && a.integral()) return repeat(run, b, a.integer());
  }
  return type_failure(run, op, a, b);
}

Maybe negate(Run& run, const Value& value, bool negative) {
  if (value.integral()) {
    if (!negative) return Value::integer(value.integer(), value.mark());
    if (value.integer() == INT64_MIN) {
      return run.fail("an integer grows too large", Code::kExhausted);
    }
    return Value::integer(-value.integer(), value.mark());
  }
  if (value.is(Kind::kFloat)) {
    return Value::real(negative ? -value.real() : value.real(), value.mark());
  }
  if (value.undefined_value()) return run.fail_undefined(value);
  return run.fail("bad operand type for unary " + std::string(negative ? "-" : "+") + ": '" +
                  std::string(type_name(value)) + "'");
}

std::optional<int> order(Run& run, const Value& a, const Value& b) {
  if (!run.charge(0)) return {};
  if (a.integral() && b.integral()) return sign_of(a.integer(), b.integer());
  if (a.number() && b.number()) return sign_of(a.real(), b.real());
  if (a.is(Kind::kString) && b.is(Kind::kString)) {
    if (!run.charge(std::min(a.text().size(), b.text().size()))) return {};
    return sign_of(a.text().bytes.compare(b.text().bytes), 0);
  }
  if (listlike(a) && listlike(b) && a.sequence().flavour == b.sequence().flavour) {
    const Run::Frame frame(run);
    if (!frame.ok()) return {};
    const auto& left = a.sequence().items;
    const auto& right = b.sequence().items;
    for (size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
      if (!run.equals(left[i], right[i])) return order(run, left[i], right[i]);
    }
    return sign_of(left.size(), right.size());
  }
  return type_failure(run, Operator::kLess, a, b);
}

namespace {

std::optional<bool> contains(Run& run, const Value& needle, const Value& hay) {
  if (hay.is(Kind::kString)) {
    if (!needle.is(Kind::kString)) {
      return run.fail("'in <string>' requires a string, not " + std::string(type_name(needle)));
    }
    if (!run.charge(hay.text().size())) return {};
    return find_bytes(hay.text().bytes, needle.text().bytes, 0) != std::string::npos;
  }
  if (hay.is(Kind::kDict)) {
    if (!hashable(needle)) return run.fail("unhashable type");
    if (!needle.is(Kind::kString) && !run.charge(hay.dict().entries.size() * sizeof(Value))) {
      return {};
    }
    return run.find(hay.dict(), needle) != nullptr;
  }
  GET(const std::vector<Value> items, items_of(run, hay));
  return std::ranges::any_of(items, [&](const Value& item) { return run.equals(item, needle); });
}

}  // namespace

std::optional<bool> compare(Run& run, Operator op, const Value& a, const Value& b) {
  switch (op) {
    case Operator::kEqual:
    case Operator::kNotEqual:
      return run.equals(a, b) == (op == Operator::kEqual);
    case Operator::kIn:
    case Operator::kNotIn: {
      GET(const bool found, contains(run, a, b));
      return found == (op == Operator::kIn);
    }
    default:
      break;
  }
  if (a.number() && b.number() && (std::isnan(a.real()) || std::isnan(b.real()))) return false;
  GET(const int sign, order(run, a, b));
  switch (op) {
    case Operator::kLess:
      return sign < 0;
    case Operator::kLessEqual:
      return sign <= 0;
    case Operator::kGreater:
      return sign > 0;
    default:
      return sign >= 0;
  }
}

MaybeItems items_of(Run& run, const Value& value) {
  std::vector<Value> items;
  switch (value.kind()) {
    case Kind::kUndefined:
      return items;
    case Kind::kString: {
      const Text& text = value.text();
      if (!run.fits(text.size()) || !run.charge_walk(text.size() * 16)) return {};
      for (size_t i = 0; i < text.size();) {
        const size_t size = utf8_decode(text.bytes, i).size;
        GET(Value character, run.string(text.sub(i, size), value.string().markup));
        items.push_back(std::move(character));
        i += size;
      }
      return items;
    }
    case Kind::kSequence: {
      Sequence& sequence = value.sequence();
      if (!run.charge(sequence.items.size() * sizeof(Value))) return {};
      if (sequence.sized()) return sequence.items;
      if (sequence.consumed) return items;
      sequence.consumed = true;
      return sequence.items;
    }
    case Kind::kDict:
      if (!run.charge(value.dict().entries.size() * sizeof(Value))) return {};
      for (const auto& [key, item] : value.dict().entries) items.push_back(key);
      return items;
    default:
      return run.fail("'" + std::string(type_name(value)) + "' object is not iterable");
  }
}

int64_t length_of(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return static_cast<int64_t>(utf8_length(value.text().bytes));
    case Kind::kSequence:
      return value.sequence().sized() ? static_cast<int64_t>(value.sequence().items.size()) : -1;
    case Kind::kDict:
      return static_cast<int64_t>(value.dict().entries.size());
    case Kind::kLoop:
      return static_cast<int64_t>(value.as<Loop>().items.size());
    default:
      return -1;
  }
}

}  // namespace hadal::jinja
