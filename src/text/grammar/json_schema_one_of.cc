#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "text/grammar/json_schema.h"

// oneOf as anyOf: where no text that one option writes is valid for another.

namespace hadal {
namespace {

constexpr int kDepthMax = 6;          // of the comparison; deeper, options count as overlapping
constexpr size_t kOptionsMax = 1024;  // that lists of required names make

const json::value* child(const json::object& schema, std::string_view key, std::string_view name) {
  const json::value* members = member(schema, key);
  if (members == nullptr || !members->is_object()) return nullptr;
  return member(members->get_object(), name);
}

bool is_false(const json::value* schema) {
  return schema != nullptr && schema->is_bool() && !schema->get_bool();
}

std::vector<std::string_view> names_in(const json::object& schema, std::string_view key) {
  std::vector<std::string_view> names;
  const json::value* list = member(schema, key);
  if (list == nullptr || !list->is_array()) return names;
  for (const json::value& name : list->get_array()) {
    if (name.is_string()) names.emplace_back(name.get_string());
  }
  return names;
}

/// The values of const or enum; nothing: neither is there.
std::optional<json::array> values_of(const json::object& schema) {
  if (const json::value* one = member(schema, "const")) return json::array{*one};
  const json::value* several = member(schema, "enum");
  if (several == nullptr || !several->is_array()) return std::nullopt;
  return several->get_array();
}

bool same(const json::value& a, const json::value& b) {
  const std::optional<double> x = number_of(a);
  const std::optional<double> y = number_of(b);
  return x && y ? *x == *y : a == b;
}

/// A lower bound of one schema against an upper bound of the other. `strict`: equal ones are apart.
bool apart(const json::object& low, const json::object& high, std::string_view least,
           std::string_view most, bool strict) {
  const json::value* from = member(low, least);
  const json::value* to = member(high, most);
  if (from == nullptr || to == nullptr) return false;
  const std::optional<double> x = number_of(*from);
  const std::optional<double> y = number_of(*to);
  return x && y && (*x > *y || (strict && *x == *y));
}

bool counts_apart(const json::object& a, const json::object& b, std::string_view least,
                  std::string_view most) {
  return apart(a, b, least, most, false) || apart(b, a, least, most, false);
}

bool numbers_apart(const json::object& low, const json::object& high) {
  return apart(low, high, "minimum", "maximum", false) ||
         apart(low, high, "exclusiveMinimum", "maximum", true) ||
         apart(low, high, "minimum", "exclusiveMaximum", true) ||
         apart(low, high, "exclusiveMinimum", "exclusiveMaximum", true);
}

/// Whether an object that the grammar of `schema` writes may hold `name`.
bool may_write(const json::object& schema, std::string_view name) {
  if (const json::value* own = child(schema, "properties", name)) return !is_false(own);
  if (member(schema, "patternProperties") != nullptr) return true;
  const json::value* others = member(schema, "additionalProperties");
  return others == nullptr ? member(schema, "properties") == nullptr : !is_false(others);
}

/// Whether an object with `name` is never valid.
bool forbids(const json::object& schema, std::string_view name) {
  if (const json::value* own = child(schema, "properties", name)) return is_false(own);
  return member(schema, "patternProperties") == nullptr &&
         is_false(member(schema, "additionalProperties"));
}

bool only(const std::vector<std::string>& types, std::string_view one, std::string_view other) {
  return !types.empty() && std::all_of(types.begin(), types.end(), [&](const std::string& type) {
    return type == one || type == other;
  });
}

}  // namespace

/// Whether it is sure that `value` is not valid.
bool SchemaCompiler::rejects(const json::object& schema, const json::value& value) const {
  const json::value* type = member(schema, "type");
  if (type != nullptr) {
    const auto types = types_of(schema, {});
    if (types.ok() && !is_of_type(value, types.value())) return true;
  }
  const std::optional<json::array> values = values_of(schema);
  return values && std::none_of(values->begin(), values->end(),
                                [&](const json::value& one) { return same(one, value); });
}

/// Whether no text that the grammar of `a` writes is valid for `b`. False when that is not sure.
bool SchemaCompiler::misses(const json::value& a, const json::value& b, int depth) {
  if (is_false(&a) || is_false(&b)) return true;
  if (!a.is_object() || !b.is_object() || depth > kDepthMax || !spend(1, {}).ok()) return false;
  for (const json::value* side : {&a, &b}) {  // references, then lists of schemas
    const json::value& other = side == &a ? b : a;
    const auto misses_other = [&](const json::value& part) {
      return side == &a ? misses(part, other, depth + 1) : misses(other, part, depth + 1);
    };
    const json::object& schema = side->get_object();
    if (member(schema, "$ref") != nullptr) {
      const auto whole = without_references(schema, {"", depth});
      return whole.ok() && misses_other(json::value(whole.value()));
    }
    for (const std::string_view key : {"anyOf", "oneOf", "allOf"}) {
      const json::value* list = member(schema, key);
      if (list == nullptr || !list->is_array()) continue;
      const json::array& parts = list->get_array();
      const bool found = key == "allOf" ? std::any_of(parts.begin(), parts.end(), misses_other)
                                        : std::all_of(parts.begin(), parts.end(), misses_other);
      if (found) return true;
    }
  }
  return misses_plain(a.get_object(), b.get_object(), depth);
}

/// misses() of what stands beside references and lists of schemas.
bool SchemaCompiler::misses_plain(const json::object& a, const json::object& b, int depth) {
  const auto own = types_of(a, {});
  if (!own.ok()) return false;
  const std::vector<std::string>& types = own.value();
  if (const std::optional<json::array> values = values_of(a)) {
    return std::all_of(values->begin(), values->end(),
                       [&](const json::value& value) { return rejects(b, value); });
  }
  const bool combined = member(a, "anyOf") != nullptr || member(a, "oneOf") != nullptr ||
                        member(a, "allOf") != nullptr;
  if (combined && member(a, "type") == nullptr) return false;
  if (const std::optional<json::array> values = values_of(b)) {
    const bool none = std::all_of(values->begin(), values->end(), [&](const json::value& value) {
      return rejects(a, value) || (!types.empty() && !is_of_type(value, types));
    });
    if (none) return true;
  }
  if (member(b, "type") != nullptr && !types.empty()) {
    const auto allowed = types_of(b, {});
    const auto shared = [&](const std::string& type) {
      return std::any_of(allowed.value().begin(), allowed.value().end(),
                         [&](const std::string& other) {
                           return type == other || (type == "integer" && other == "number") ||
                                  (type == "number" && other == "integer");
                         });
    };
    if (allowed.ok() && std::none_of(types.begin(), types.end(), shared)) return true;
  }
  if (only(types, "integer", "number") && (numbers_apart(a, b) || numbers_apart(b, a))) return true;
  if (only(types, "string", "") && counts_apart(a, b, "minLength", "maxLength")) return true;
  if (only(types, "array", "") && counts_apart(a, b, "minItems", "maxItems")) return true;
  return only(types, "object", "") && !combined && misses_object(a, b, depth);
}

bool SchemaCompiler::misses_object(const json::object& a, const json::object& b, int depth) {
  const auto values_miss = [&](std::string_view name) {
    const json::value* mine = child(a, "properties", name);
    const json::value* theirs = child(b, "properties", name);
    return mine != nullptr && theirs != nullptr && misses(*mine, *theirs, depth + 1);
  };
  for (const std::string_view name : names_in(b, "required")) {
    const auto required = names_in(a, "required");
    const bool written = std::find(required.begin(), required.end(), name) != required.end();
    if ((!written && !may_write(a, name)) || values_miss(name)) return true;
  }
  const auto always = names_in(a, "required");
  return std::any_of(always.begin(), always.end(),
                     [&](std::string_view name) { return forbids(b, name) || values_miss(name); });
}

/// Options that differ only in the names that they require, so that one of them holds: those of the
/// others are left out.
std::optional<json::array> SchemaCompiler::exclusive_required(const json::array& options) {
  for (const json::value& option : options) {
    const bool plain = option.is_object() && option.get_object().size() == 1 &&
                       member(option.get_object(), "required") != nullptr &&
                       !names_in(option.get_object(), "required").empty();
    if (!plain) return std::nullopt;
  }
  json::array out;
  for (size_t i = 0; i < options.size(); ++i) {
    const auto mine = names_in(options[i].get_object(), "required");
    std::vector<json::object> ways(1);  // names to leave out, as properties
    for (size_t j = 0; j < options.size(); ++j) {
      if (j == i) continue;
      std::vector<json::object> more;
      for (const std::string_view name : names_in(options[j].get_object(), "required")) {
        if (std::find(mine.begin(), mine.end(), name) != mine.end()) continue;
        for (const json::object& way : ways) {
          json::object& next = more.emplace_back(way);
          next[name] = false;
        }
      }
      ways = std::move(more);
      if (ways.size() > kOptionsMax) return std::nullopt;
    }
    for (json::object& way : ways) {
      json::object option = options[i].get_object();
      option["properties"] = std::move(way);
      out.emplace_back(std::move(option));
    }
  }
  if (out.size() > kOptionsMax) return std::nullopt;
  return out;
}

/// An error unless at most one of `options` holds for whatever is written.
Status SchemaCompiler::check_one_of(const json::array& options, const Place& place) {
  if (one_of_may_overlap_) return {};
  for (size_t i = 0; i < options.size(); ++i) {
    for (size_t j = 0; j < options.size(); ++j) {
      if (i == j || misses(options[i], options[j], 0)) continue;
      return error(Code::kUnsupported, place,
                   fmt::format("a value may match option {} and option {} of oneOf at once; give "
                               "them different types or constants, or use anyOf",
                               i, j));
    }
  }
  return {};
}

}  // namespace hadal
