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
  if (a == b || b == json::value(true)) return a;
  if (b == json::value(false)) return b;
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

/// The spelling of drafts before 2020-12, `items` as an array, in the new one.
void modernise_tuple(json::object& schema) {
  const auto items = schema.find("items");
  if (items == schema.end() || !items->value().is_array()) return;
  json::value prefix = std::move(items->value());
  schema.erase("items");
  schema["prefixItems"] = std::move(prefix);
  const auto others = schema.find("additionalItems");
  if (others == schema.end()) return;
  json::value rest = std::move(others->value());
  schema.erase("additionalItems");
  schema["items"] = std::move(rest);
}

/// Elements that `other` has no tuple for must satisfy its items too.
void spread_items(json::object& schema, const json::object& other) {
  const json::value* items = member(other, "items");
  const auto own = schema.find("prefixItems");
  if (items == nullptr || own == schema.end() || !own->value().is_array()) return;
  const json::value* known = member(other, "prefixItems");
  json::array& prefix = own->value().get_array();
  for (size_t i = known != nullptr && known->is_array() ? known->get_array().size() : 0;
       i < prefix.size(); ++i) {
    prefix[i] = both(prefix[i], *items);
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

/// unevaluatedProperties and unevaluatedItems of a schema without lists of schemas: the same as
/// additionalProperties and items, unless these are there.
void settle_unevaluated(json::object& schema) {
  constexpr std::pair<std::string_view, std::string_view> kKeys[] = {
      {"unevaluatedProperties", "additionalProperties"}, {"unevaluatedItems", "items"}};
  for (const auto& [key, plain] : kKeys) {
    const auto it = schema.find(key);
    if (it == schema.end()) continue;
    json::value value = std::move(it->value());
    schema.erase(key);
    if (value != json::value(true) && member(schema, plain) == nullptr) {
      schema[plain] = std::move(value);
    }
  }
}

/// What `schema` says of properties that `other` lists: those that `other` does not list must
/// satisfy its additionalProperties too.
Status SchemaCompiler::close_over(json::object& schema, const json::object& other,
                                  const Place& place) {
  const json::value* others = member(other, "additionalProperties");
  if (others == nullptr || *others == json::value(true)) return {};
  const json::value* listed = member(other, "properties");
  const json::value* patterns = member(other, "patternProperties");
  const auto known = [&](const json::value* members, std::string_view name) {
    return members != nullptr && members->is_object() &&
           member(members->get_object(), name) != nullptr;
  };
  if (const auto own = schema.find("properties"); own != schema.end() && own->value().is_object()) {
    for (auto& entry : own->value().get_object()) {
      bool matching = known(listed, entry.key());
      if (patterns != nullptr && patterns->is_object()) {
        for (const auto& pattern : patterns->get_object()) {
          if (matching) break;
          TRY(matching, matches(pattern.key(), entry.key(), place));
        }
      }
      if (!matching) entry.value() = both(entry.value(), *others);
    }
  }
  // A key that two patterns match is never written, so only equal patterns are known.
  if (const auto own = schema.find("patternProperties");
      own != schema.end() && own->value().is_object()) {
    for (auto& entry : own->value().get_object()) {
      if (!known(patterns, entry.key())) entry.value() = both(entry.value(), *others);
    }
  }
  return {};
}

/// unevaluated... of a part does not see what stands beside the part.
Status SchemaCompiler::close_unevaluated(json::object& part, const Place& place) const {
  for (const std::string_view key : {"unevaluatedProperties", "unevaluatedItems"}) {
    const json::value* value = member(part, key);
    if (value == nullptr || *value == json::value(true)) continue;
    for (const std::string_view other : {"allOf", "anyOf", "oneOf", "$ref"}) {
      if (member(part, other) == nullptr) continue;
      return error(Code::kUnsupported, place,
                   fmt::format("{} beside {} inside of another schema", key, other));
    }
  }
  settle_unevaluated(part);
  return {};
}

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
  TRY_STATUS(close_unevaluated(right, place));
  for (json::object* side : {&a, &right}) modernise_tuple(*side);
  const json::object left = a;
  TRY_STATUS(close_over(a, right, place));
  TRY_STATUS(close_over(right, left, place));
  spread_items(a, right);
  spread_items(right, left);
  // Without a word about others, an object that lists properties is closed; merging keeps that.
  for (const auto& entry : right) {
    TRY_STATUS(merge_keyword(a, entry.key(), entry.value(), place));
  }
  return a;
}

/// Two lists of alternatives as one: of pairs. A oneOf whose options exclude each other is an
/// anyOf.
Status SchemaCompiler::merge_options(json::object& a, std::string_view key,
                                     const json::value& value, const Place& place) {
  const char* other_name = member(a, "anyOf") != nullptr ? "anyOf" : "oneOf";
  const json::value* other = member(a, other_name);
  const auto options_of = [&](const json::value& list, bool one) -> Result<json::array> {
    json::array options = as_array(list);
    if (!one) return options;
    if (auto made = exclusive_required(options)) return std::move(*made);
    TRY_STATUS(check_one_of(options, place));
    return options;
  };
  TRY(const json::array left, options_of(*other, std::string_view(other_name) == "oneOf"));
  TRY(const json::array right, options_of(value, key == "oneOf"));
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

Status SchemaCompiler::merge_keyword(json::object& a, std::string_view key,
                                     const json::value& value, const Place& place) {
  if (is_one_of(key, {"anyOf", "oneOf"})) {
    const json::value* any = member(a, "anyOf");
    const json::value* other = any != nullptr ? any : member(a, "oneOf");
    if (other != nullptr && *other != value) return merge_options(a, key, value, place);
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
  } else if (is_one_of(key, {"items", "additionalProperties", "propertyNames"})) {
    mine = mine == json::value(true) ? value : both(mine, value);
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
