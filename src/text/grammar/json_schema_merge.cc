#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "text/grammar/json_schema.h"

// Two schemas at once, as one schema: allOf, keywords beside $ref or anyOf.

namespace hadal {
namespace {

constexpr size_t kOptionsMax = 256;  // alternatives that two lists of alternatives make

size_t size_of(const json::value& value) {
  size_t sum = 1;
  if (value.is_array()) {
    for (const json::value& element : value.get_array()) sum += size_of(element);
  } else if (value.is_object()) {
    for (const auto& entry : value.get_object()) sum += size_of(entry.value());
  }
  return sum;
}

json::value both(const json::value& a, const json::value& b) {
  if (a == b) return a;
  json::object out;
  out["allOf"] = json::array{a, b};
  return out;
}

json::array as_array(const json::value& value) {
  return value.is_array() ? value.get_array() : json::array{value};
}

bool holds(const json::array& list, const json::value& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

json::array intersection(const json::array& a, const json::array& b) {
  json::array out;
  for (const json::value& value : a) {
    if (holds(b, value)) out.push_back(value);
  }
  return out;
}

json::array common_types(const json::value& a, const json::value& b) {
  json::array out;
  for (const json::value& x : as_array(a)) {
    for (const json::value& y : as_array(b)) {
      const bool narrower = x == json::value("number") && y == json::value("integer");
      const bool wider = x == json::value("integer") && y == json::value("number");
      if ((x == y || wider) && !holds(out, x)) out.push_back(x);
      if (narrower && !holds(out, y)) out.push_back(y);
    }
  }
  return out;
}

/// Properties that `other` does not list must satisfy its additionalProperties too.
void close_over(json::object& schema, const json::object& other) {
  const json::value* others = member(other, "additionalProperties");
  const auto own = schema.find("properties");
  if (others == nullptr || own == schema.end() || !own->value().is_object()) return;
  const json::value* listed = member(other, "properties");
  const bool patterns = member(other, "patternProperties") != nullptr;
  for (auto& entry : own->value().get_object()) {
    const bool known = listed != nullptr && listed->is_object() &&
                       member(listed->get_object(), entry.key()) != nullptr;
    if (known || patterns || *others == json::value(true)) continue;
    entry.value() = others->is_bool() ? json::value(false) : both(entry.value(), *others);
  }
}

json::value merged_members(const json::value& a, const json::value& b) {
  json::object out = a.get_object();
  for (const auto& entry : b.get_object()) {
    const auto it = out.find(entry.key());
    if (it == out.end()) {
      out[entry.key()] = entry.value();
    } else {
      it->value() = both(it->value(), entry.value());
    }
  }
  return out;
}

json::value merged_tuples(const json::array& a, const json::array& b) {
  json::array out;
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    out.push_back(i >= a.size() ? b[i] : i >= b.size() ? a[i] : both(a[i], b[i]));
  }
  return out;
}

bool is_one_of(std::string_view key, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), key) != list.end();
}

}  // namespace

/// `schema` with its $ref replaced by what it refers to.
Result<json::object> SchemaCompiler::without_references(const json::object& schema,
                                                        const Place& place) {
  const json::value* pointer = member(schema, "$ref");
  if (pointer == nullptr) return schema;
  if (!pointer->is_string()) return error(Code::kInvalidArgument, place, "$ref is not a string");
  if (place.depth > 64) {
    return error(Code::kInvalidArgument, place, "$ref refers to itself where it must be merged");
  }
  TRY(const json::value* target, resolve(pointer->get_string(), place));
  json::object rest = schema;
  rest.erase("$ref");
  TRY(json::value sum, merged(rest, *target, {place.pointer, place.depth + 1}));
  if (sum.is_bool()) {
    json::object out;
    if (!sum.get_bool()) out["enum"] = json::array();
    return out;
  }
  return std::move(sum.get_object());
}

Result<json::value> SchemaCompiler::merged(const json::value& a, const json::value& b,
                                           const Place& place) {
  for (const json::value* schema : {&a, &b}) {
    if (!schema->is_bool() && !schema->is_object()) {
      return error(Code::kInvalidArgument, place, "a schema is an object, true or false");
    }
    if (schema->is_bool() && !schema->get_bool()) return json::value(false);
  }
  if (a.is_bool()) return b;
  if (b.is_bool()) return a;
  TRY_STATUS(spend(size_of(a) + size_of(b), place));
  TRY(json::object left, without_references(a.get_object(), place));
  TRY(json::object right, without_references(b.get_object(), place));
  TRY(json::object out, merged_objects(std::move(left), right, place));
  return json::value(std::move(out));
}

Result<json::object> SchemaCompiler::merged_objects(json::object a, const json::object& b,
                                                    const Place& place) {
  json::object right = b;
  close_over(right, a);
  close_over(a, b);
  // Without a word about others, an object that lists properties is closed; merging keeps that.
  for (const auto& entry : right) {
    TRY_STATUS(merge_keyword(a, entry.key(), entry.value(), place));
  }
  return a;
}

Status SchemaCompiler::merge_keyword(json::object& a, std::string_view key,
                                     const json::value& value, const Place& place) const {
  if (is_one_of(key, {"anyOf", "oneOf"})) {
    const char* other_name = member(a, "anyOf") != nullptr ? "anyOf" : "oneOf";
    const json::value* other = member(a, other_name);
    if (other != nullptr && *other != value) {
      const json::array left = as_array(*other);
      const json::array right = as_array(value);
      if (left.size() * right.size() > kOptionsMax) {
        return error(Code::kExhausted, place, "too many combinations of anyOf");
      }
      json::array options;
      for (const json::value& x : left) {
        for (const json::value& y : right) options.push_back(both(x, y));
      }
      a.erase(other_name);
      a["anyOf"] = std::move(options);
      return {};
    }
  }
  const auto it = a.find(key);
  if (it == a.end()) {
    a[key] = value;
    return {};
  }
  json::value& mine = it->value();
  if (mine == value) return {};
  const auto number = [&](bool larger) -> Status {
    const std::optional<double> x = number_of(mine);
    const std::optional<double> y = number_of(value);
    if (!x || !y)
      return error(Code::kInvalidArgument, place, fmt::format("{} is not a number", key));
    if (larger ? *y > *x : *y < *x) mine = value;
    return {};
  };
  if (key == "type") {
    mine = common_types(mine, value);
  } else if (is_one_of(key, {"properties", "patternProperties"}) && mine.is_object() &&
             value.is_object()) {
    mine = merged_members(mine, value);
  } else if (is_one_of(key, {"required", "allOf", "pattern"})) {
    json::array sum = as_array(mine);
    for (const json::value& one : as_array(value)) {
      if (!holds(sum, one)) sum.push_back(one);
    }
    mine = std::move(sum);
  } else if (key == "enum") {
    mine = intersection(as_array(mine), as_array(value));
  } else if (key == "const") {
    a.erase("const");
    a["enum"] = json::array();  // two different constants: nothing
  } else if (is_one_of(key,
                       {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})) {
    return number(true);
  } else if (is_one_of(key,
                       {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})) {
    return number(false);
  } else if (key == "prefixItems" && mine.is_array() && value.is_array()) {
    mine = merged_tuples(mine.get_array(), value.get_array());
  } else if (is_one_of(key, {"items", "additionalProperties", "additionalItems", "propertyNames",
                             "unevaluatedProperties"}) &&
             !mine.is_array() && !value.is_array()) {
    mine = both(mine, value);
    if (value == json::value(false)) mine = false;
  } else if (key == "nullable") {
    mine = false;
  } else if (key == "uniqueItems") {
    mine = true;
  } else if (key == "multipleOf") {
    const std::optional<double> x = number_of(mine);
    const std::optional<double> y = number_of(value);
    const bool whole = x && y && *x >= 1 && *y >= 1 && std::floor(*x) == *x &&
                       std::floor(*y) == *y && *x < 1e6 && *y < 1e6;
    if (!whole) return error(Code::kUnsupported, place, "two different values of multipleOf");
    mine = std::lcm(static_cast<int64_t>(*x), static_cast<int64_t>(*y));
  } else if (is_one_of(key, {"format", "not", "if", "then", "else", "contains"})) {
    return error(Code::kUnsupported, place,
                 fmt::format("two different values of {} cannot be merged", key));
  }
  return {};  // an annotation: the first one stays
}

}  // namespace hadal
