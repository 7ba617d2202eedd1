#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "text/grammar/json_regex.h"
#include "text/grammar/json_schema.h"

// Strings, numbers and lists of values.

namespace hadal {
namespace {

constexpr uint32_t kDivisorMax = 500;  // digits times remainders must fit limits::kGrammarDfaStates

std::string_view type_name(const json::value& value) {
  switch (value.kind()) {
    case json::kind::object:
      return "object";
    case json::kind::array:
      return "array";
    case json::kind::string:
      return "string";
    case json::kind::bool_:
      return "boolean";
    case json::kind::null:
      return "null";
    default:
      return "number";
  }
}

bool is_whole(const json::value& value) {
  const std::optional<double> number = number_of(value);
  return number && std::floor(*number) == *number;
}

}  // namespace

void uncount(LexemeSpec& spec) {
  if (spec.kind != LexemeSpec::Kind::kCounted) return;
  spec.regexes = {json_regex::quoted(Regex::repeat(spec.regexes.front(), spec.min, spec.max))};
  spec.kind = LexemeSpec::Kind::kRegex;
  spec.text.clear();
  spec.suffix.clear();
}

bool is_of_type(const json::value& value, const std::vector<std::string>& types) {
  return std::any_of(types.begin(), types.end(), [&](const std::string& type) {
    return type == type_name(value) || (type == "integer" && is_whole(value));
  });
}

Result<std::optional<uint32_t>> SchemaCompiler::count(const json::object& schema,
                                                      std::string_view key,
                                                      const Place& place) const {
  const json::value* value = member(schema, key);
  if (value == nullptr) return std::optional<uint32_t>();
  if (!is_whole(*value) || *number_of(*value) < 0) {
    return error(Code::kInvalidArgument, place, fmt::format("{} is not a whole number", key));
  }
  const double number = *number_of(*value);
  if (number > limits::kGrammarRepeat) {
    // An upper bound that no answer reaches is none.
    if (key.starts_with("max")) return std::optional<uint32_t>();
    return error(Code::kExhausted, place,
                 fmt::format("{} exceeds {}", key, limits::kGrammarRepeat));
  }
  return std::optional<uint32_t>(static_cast<uint32_t>(number));
}

Result<std::optional<double>> SchemaCompiler::bound(const json::object& schema,
                                                    std::string_view key,
                                                    const Place& place) const {
  const json::value* value = member(schema, key);
  if (value == nullptr) return std::optional<double>();
  const std::optional<double> number = number_of(*value);
  if (!number || !std::isfinite(*number)) {
    return error(Code::kInvalidArgument, place, fmt::format("{} is not a number", key));
  }
  return number;
}

Result<SchemaCompiler::Id> SchemaCompiler::enumeration(const json::object& schema,
                                                       const Place& place) {
  json::array values;
  if (const json::value* one = member(schema, "const")) {
    values.push_back(*one);
  }
  if (const json::value* several = member(schema, "enum")) {
    if (!several->is_array()) return error(Code::kInvalidArgument, place, "enum is not an array");
    if (values.empty()) {
      values = several->get_array();
    } else if (std::find(several->get_array().begin(), several->get_array().end(), values[0]) ==
               several->get_array().end()) {
      return b_.nothing();
    }
  }
  if (values.size() > limits::kGrammarChoices) {
    return error(Code::kExhausted, place,
                 fmt::format("enum has more than {} values", limits::kGrammarChoices));
  }
  TRY(const std::vector<std::string> types, types_of(schema, place));
  const bool typed = member(schema, "type") != nullptr;
  size_t bytes = 0;
  std::vector<std::string> others;
  std::vector<std::string> strings;
  std::vector<std::string> numbers;
  for (const json::value& value : values) {
    if (typed && !is_of_type(value, types)) continue;
    std::string text = to_json(value);
    bytes += text.size();
    const bool composite = value.is_object() || value.is_array();
    if (composite && has_keyword_of(type_name(value), schema)) {
      return error(Code::kUnsupported, place,
                   "enum of objects or arrays beside other keywords is not supported");
    }
    (value.is_string() ? strings : number_of(value) ? numbers : others).push_back(std::move(text));
  }
  if (bytes > limits::kGrammarChoiceBytes) {
    return error(Code::kExhausted, place,
                 fmt::format("the values of enum exceed {} bytes", limits::kGrammarChoiceBytes));
  }
  std::vector<Id> ids;
  if (!others.empty()) ids.push_back(b_.choices(others, place.pointer));
  if (!strings.empty()) {
    TRY(LexemeSpec spec, string_spec(schema, place));
    const bool plain = spec.kind == LexemeSpec::Kind::kRegex && spec.regexes.size() == 1 &&
                       member(schema, "pattern") == nullptr && member(schema, "format") == nullptr;
    if (plain) {
      ids.push_back(b_.choices(strings, place.pointer));
    } else {
      std::vector<Regex> options;
      for (const std::string& text : strings) options.push_back(Regex::text(text));
      uncount(spec);
      spec.regexes.insert(spec.regexes.begin(), Regex::alt(std::move(options)));
      ids.push_back(b_.lexeme(std::move(spec)));
    }
  }
  if (!numbers.empty()) {
    LexemeSpec spec;
    spec.kind = LexemeSpec::Kind::kRegex;
    bool integer = false;
    spec.where = place.pointer;
    std::vector<Regex> options;
    for (const std::string& text : numbers) options.push_back(Regex::text(text));
    spec.regexes.push_back(Regex::alt(std::move(options)));
    TRY_STATUS(multiple(integer, schema, place, spec.regexes));
    TRY_STATUS(number_bounds(schema, place, spec.regexes));
    if (integer) spec.regexes.push_back(json_regex::integer());
    ids.push_back(b_.lexeme(std::move(spec)));
  }
  return b_.alt(std::move(ids));
}

Result<SchemaCompiler::Id> SchemaCompiler::string_value(const json::object& schema,
                                                        const Place& place) {
  TRY(LexemeSpec spec, string_spec(schema, place));
  return b_.lexeme(std::move(spec));
}

/// The lexeme of a string with pattern, format and length, quotes included.
Result<LexemeSpec> SchemaCompiler::string_spec(const json::object& schema, const Place& place) {
  TRY(const std::optional<uint32_t> least, count(schema, "minLength", place));
  TRY(const std::optional<uint32_t> most, count(schema, "maxLength", place));
  uint32_t min = least.value_or(0);
  uint32_t max = most.value_or(Regex::kUnbounded);
  LexemeSpec spec;
  spec.kind = LexemeSpec::Kind::kRegex;
  spec.where = fmt::format("schema, at {}", place.pointer.empty() ? "the root" : place.pointer);
  std::vector<Regex> inside;
  if (const json::value* pattern = member(schema, "pattern")) {
    json::array list = pattern->is_array() ? pattern->get_array() : json::array{*pattern};
    for (const json::value& one : list) {
      if (!one.is_string()) return error(Code::kInvalidArgument, place, "pattern is not a string");
      auto parsed = parse_regex(one.get_string(), true);
      if (!parsed.ok()) return error(parsed.error().code, place, parsed.error().message);
      inside.push_back(std::move(parsed).value());
    }
  }
  if (const json::value* name = member(schema, "format"); name != nullptr && name->is_string()) {
    std::optional<Regex> format = json_regex::format(name->get_string());
    if (format) inside.push_back(std::move(*format));
  }
  Regex unit = json_regex::string_character();
  const bool repeated_set = inside.size() == 1 && inside[0].kind == Regex::Kind::kRepeat &&
                            inside[0].children[0].kind == Regex::Kind::kSet;
  if (repeated_set) {  // [a-z]{1,200}: a counter instead of 200 states
    min = std::max(min, inside[0].min);
    max = std::min(max, inside[0].max);
    unit = json_escaped(inside[0].children[0]);
    inside.clear();
  }
  if (min > max) return error(Code::kInvalidArgument, place, "no length is allowed");
  for (const Regex& regex : inside) spec.regexes.push_back(json_regex::quoted(json_escaped(regex)));
  if (inside.empty() && (min > 0 || max != Regex::kUnbounded)) {
    spec.kind = LexemeSpec::Kind::kCounted;
    spec.text = "\"";
    spec.suffix = "\"";
    spec.regexes.push_back(std::move(unit));
    spec.min = min;
    spec.max = max;
    return spec;
  }
  if (inside.empty()) {
    spec.regexes.push_back(json_regex::quoted(Regex::repeat(unit, 0, Regex::kUnbounded)));
    spec.where.clear();
    return spec;
  }
  const bool implied = std::any_of(inside.begin(), inside.end(), [&](const Regex& regex) {
    const auto [shortest, longest] = regex.lengths();
    return shortest >= min && longest <= max;
  });
  if (!implied) spec.regexes.push_back(json_regex::quoted(Regex::repeat(unit, min, max)));
  return spec;
}

Status SchemaCompiler::number_bounds(const json::object& schema, const Place& place,
                                     std::vector<Regex>& regexes) const {
  const auto add = [&](std::string_view key, double value, bool lower, bool exclusive) -> Status {
    std::optional<Regex> regex =
        lower ? json_regex::at_least(value, exclusive) : json_regex::at_most(value, exclusive);
    if (!regex) {
      const bool beyond = std::fabs(value) >= 1e18 && (value < 0) == lower;
      if (beyond) return {};  // no number that is written reaches it
      return error(Code::kUnsupported, place, fmt::format("{} has too many digits", key));
    }
    regexes.push_back(std::move(*regex));
    if (exclusive) regexes.push_back(json_regex::told_apart_from(value));
    return {};
  };
  for (const bool lower : {true, false}) {
    const std::string_view key = lower ? "minimum" : "maximum";
    const std::string_view strict = lower ? "exclusiveMinimum" : "exclusiveMaximum";
    const json::value* flag = member(schema, strict);
    const bool draft4 = flag != nullptr && flag->is_bool();  // there it says how `key` is meant
    TRY(const std::optional<double> value, bound(schema, key, place));
    if (value) TRY_STATUS(add(key, *value, lower, draft4 && flag->get_bool()));
    if (draft4) continue;
    TRY(const std::optional<double> other, bound(schema, strict, place));
    if (other) TRY_STATUS(add(strict, *other, lower, true));
  }
  return {};
}

/// multipleOf, if there is one. `integer` becomes true where only whole numbers are multiples.
Status SchemaCompiler::multiple(bool& integer, const json::object& schema, const Place& place,
                                std::vector<Regex>& regexes) const {
  TRY(const std::optional<double> divisor, bound(schema, "multipleOf", place));
  if (!divisor) return {};
  if (*divisor <= 0) return error(Code::kInvalidArgument, place, "multipleOf is not positive");
  const auto sign = [] { return Regex::optional(Regex::text("-")); };
  if (std::floor(*divisor) == *divisor && *divisor <= kDivisorMax) {
    integer = true;
    if (*divisor > 1) {
      regexes.push_back(Regex::concat({sign(), Regex::modulo(static_cast<uint32_t>(*divisor))}));
    }
    return {};
  }
  for (uint32_t digits = 1; digits <= json_regex::kFractionDigits; ++digits) {
    const double power = std::pow(10.0, digits);
    if (std::fabs(*divisor * power - 1) < 1e-9 && !integer) {
      regexes.push_back(Regex::concat(
          {sign(), Regex::repeat(Regex::one_of("0-9"), 1, json_regex::kIntegerDigits),
           Regex::optional(Regex::concat(
               {Regex::text("."), Regex::repeat(Regex::one_of("0-9"), 1, digits)}))}));
      return {};
    }
    if (std::fabs(*divisor * power - 1) < 1e-9) return {};  // every whole number is a multiple
    if (*divisor == power && digits < json_regex::kIntegerDigits) {
      integer = true;
      regexes.push_back(Regex::concat(
          {sign(), Regex::alt({Regex::text("0"),
                               Regex::concat({Regex::repeat(Regex::one_of("0-9"), 1,
                                                            json_regex::kIntegerDigits - digits),
                                              Regex::text(std::string(digits, '0'))})})}));
      return {};
    }
  }
  return error(Code::kUnsupported, place,
               fmt::format("multipleOf is supported for whole numbers up to {} and powers of ten",
                           kDivisorMax));
}

Result<SchemaCompiler::Id> SchemaCompiler::number_value(bool integer, const json::object& schema,
                                                        const Place& place) {
  LexemeSpec spec;
  spec.kind = LexemeSpec::Kind::kRegex;
  std::vector<Regex> more;
  TRY_STATUS(multiple(integer, schema, place, more));
  TRY_STATUS(number_bounds(schema, place, more));
  spec.regexes.push_back(integer ? json_regex::integer() : json_regex::number());
  spec.regexes.insert(spec.regexes.end(), more.begin(), more.end());
  if (!more.empty()) {
    spec.where = fmt::format("schema, at {}", place.pointer.empty() ? "the root" : place.pointer);
  }
  return b_.lexeme(std::move(spec));
}

}  // namespace hadal
