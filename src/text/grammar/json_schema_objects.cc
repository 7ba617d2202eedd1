#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "text/grammar/json_regex.h"
#include "text/grammar/json_schema.h"

// Objects and arrays.

namespace hadal {
namespace {

constexpr size_t kCountedStatesMax = 20'000;  // properties times counts of minProperties

std::string json_text(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

bool accepts(const Dfa& dfa, std::string_view text) {
  uint32_t state = dfa.start;
  for (const char c : text) state = dfa.step(state, static_cast<uint8_t>(c));
  return dfa.accepts[state] != 0;
}

bool is_false(const json::value& schema) {
  return schema.is_bool() && !schema.get_bool();
}

}  // namespace

Result<SchemaCompiler::Id> SchemaCompiler::object_value(const json::object& schema,
                                                        const Place& place) {
  ObjectShape shape;
  TRY(const std::optional<uint32_t> min, count(schema, "minProperties", place));
  TRY(const std::optional<uint32_t> max, count(schema, "maxProperties", place));
  shape.min = min.value_or(0);
  shape.max = max.value_or(Regex::kUnbounded);
  const json::value* names = member(schema, "propertyNames");
  TRY(shape.keys, key_spec(names, place.in("propertyNames")));
  shape.any_key = names == nullptr || *names == json::value(true);
  if (names != nullptr && is_false(*names)) shape.max = 0;
  TRY_STATUS(shape_properties(schema, place, shape));
  TRY_STATUS(shape_others(schema, place, shape));
  return write_object(shape, place);
}

Result<Regex> SchemaCompiler::pattern_of(std::string_view pattern, const Place& place) const {
  auto regex = parse_regex(pattern, true);
  if (!regex.ok()) return error(regex.error().code, place, regex.error().message);
  return regex;
}

Result<bool> SchemaCompiler::matches(std::string_view pattern, std::string_view name,
                                     const Place& place) {
  TRY(const Regex regex, pattern_of(pattern, place));
  size_t work = limits::kGrammarDfaWork / 16;
  const auto dfa = build_dfa(regex, work);
  if (!dfa.ok()) return error(dfa.error().code, place, dfa.error().message);
  return accepts(dfa.value(), name);
}

/// What a property's value must be by properties, patternProperties and additionalProperties.
Result<SchemaCompiler::Id> SchemaCompiler::property_value(const json::object& schema,
                                                          std::string_view name,
                                                          const Place& place) {
  json::array all;
  Place inside = place;
  if (const json::value* properties = member(schema, "properties")) {
    if (const json::value* own = member(properties->get_object(), name)) {
      all.push_back(*own);
      inside = place.in("properties").in(name);
    }
  }
  if (const json::value* patterns = member(schema, "patternProperties")) {
    for (const auto& entry : patterns->get_object()) {
      TRY(const bool matching, matches(entry.key(), name, place.in("patternProperties")));
      if (matching) all.push_back(entry.value());
    }
  }
  if (all.empty()) {
    const json::value* others = member(schema, "additionalProperties");
    if (others == nullptr) return parts_.any_value();
    if (is_false(*others)) {
      return error(Code::kInvalidArgument, place,
                   fmt::format("the required property \"{:.80}\" is not allowed by "
                               "additionalProperties",
                               name));
    }
    all.push_back(*others);
  }
  if (all.size() == 1) return value(all.front(), inside);
  json::object both;
  both["allOf"] = std::move(all);
  return object_schema(both, inside);
}

Status SchemaCompiler::shape_properties(const json::object& schema, const Place& place,
                                        ObjectShape& shape) {
  std::vector<std::string> required;
  if (const json::value* list = member(schema, "required"); list != nullptr && !list->is_bool()) {
    const bool strings =
        list->is_array() && std::all_of(list->get_array().begin(), list->get_array().end(),
                                        [](const json::value& name) { return name.is_string(); });
    if (!strings) {
      return error(Code::kInvalidArgument, place, "required is not an array of names");
    }
    for (const json::value& name : list->get_array()) required.emplace_back(name.get_string());
    std::sort(required.begin(), required.end());
    required.erase(std::unique(required.begin(), required.end()), required.end());
  }
  for (const std::string_view key : {"properties", "patternProperties"}) {
    const json::value* members = member(schema, key);
    if (members != nullptr && !members->is_object()) {
      return error(Code::kInvalidArgument, place, fmt::format("{} is not an object", key));
    }
  }
  std::vector<std::string> names;
  if (const json::value* properties = member(schema, "properties")) {
    for (const auto& entry : properties->get_object()) names.emplace_back(entry.key());
  }
  const auto listed = names.size();
  for (const std::string& name : required) {
    if (std::find(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(listed), name) ==
        names.begin() + static_cast<std::ptrdiff_t>(listed)) {
      names.push_back(name);
    }
  }
  LexemeSpec allowed = shape.keys;
  uncount(allowed);
  std::vector<Dfa> keys;
  for (const Regex& regex : allowed.regexes) {
    if (shape.any_key) break;
    size_t work = limits::kGrammarDfaWork / 16;
    auto dfa = build_dfa(regex, work);
    if (!dfa.ok()) return error(dfa.error().code, place, dfa.error().message);
    keys.push_back(std::move(dfa).value());
  }
  for (const std::string& name : names) {
    const bool fits = shape.max > 0 && std::all_of(keys.begin(), keys.end(), [&](const Dfa& dfa) {
                        return accepts(dfa, json_text(name));
                      });
    if (!fits && std::binary_search(required.begin(), required.end(), name)) {
      return error(
          Code::kInvalidArgument, place,
          fmt::format("the required property \"{:.80}\" is not allowed by propertyNames", name));
    }
    if (!fits) continue;
    TRY(const Id inner, property_value(schema, name, place));
    const Id key = b_.literal(json_text(name) + ":");
    shape.properties.push_back({name, std::binary_search(required.begin(), required.end(), name),
                                b_.seq({key, parts_.blanks(), inner})});
  }
  return {};
}

/// The lexeme of keys that propertyNames allows; null: keys without escapes.
Result<LexemeSpec> SchemaCompiler::key_spec(const json::value* names, const Place& place) {
  LexemeSpec keys;
  keys.kind = LexemeSpec::Kind::kRegex;
  keys.where = fmt::format("schema, at {}", place.pointer);
  if (names == nullptr || !names->is_object()) {
    keys.regexes.push_back(
        json_regex::quoted(Regex::repeat(json_regex::key_character(), 0, Regex::kUnbounded)));
    return keys;
  }
  const json::object& rules = names->get_object();
  const json::value* one = member(rules, "const");
  const json::value* several = member(rules, "enum");
  const json::array list = one != nullptr                              ? json::array{*one}
                           : several != nullptr && several->is_array() ? several->get_array()
                                                                       : json::array();
  const bool listed = one != nullptr || several != nullptr;
  const bool simple = std::all_of(rules.begin(), rules.end(), [&](const auto& entry) {
    constexpr std::string_view kText[] = {"minLength", "maxLength", "pattern", "format"};
    if (entry.key() == "type") return entry.value() == json::value("string");
    if (entry.key() == "const" || entry.key() == "enum")
      return one == nullptr || several == nullptr;
    if (std::find(std::begin(kText), std::end(kText), entry.key()) != std::end(kText)) {
      return !listed;
    }
    return has_no_effect(entry.key());
  });
  if (!simple) {
    return error(Code::kUnsupported, place,
                 "only a list of names, or pattern, format and lengths, are supported for names");
  }
  if (!listed) return string_spec(rules, place);
  std::vector<Regex> texts;
  for (const json::value& name : list) {
    if (name.is_string()) texts.push_back(Regex::text(json_text(name.get_string())));
  }
  keys.regexes.push_back(texts.empty() ? Regex::one_of(CharSet()) : Regex::alt(std::move(texts)));
  return keys;
}

/// Entries that no property names: patterns, then additional ones. Where nobody says whether there
/// may be additional ones, an object that lists properties has none.
Status SchemaCompiler::shape_others(const json::object& schema, const Place& place,
                                    ObjectShape& shape) {
  const json::value* patterns = member(schema, "patternProperties");
  const json::value* others = member(schema, "additionalProperties");
  LexemeSpec free = shape.keys;  // a key that no property or pattern names
  if (!shape.any_key && patterns != nullptr) {
    return error(Code::kUnsupported, place.in("propertyNames"),
                 "patternProperties beside it are not supported");
  }
  std::vector<Regex> taken;  // keys that are not free
  std::vector<Regex> literals;
  for (const ObjectShape::Property& property : shape.properties) {
    literals.push_back(Regex::text(json_text(property.name)));
  }
  if (!literals.empty()) taken.push_back(Regex::alt(std::move(literals)));
  if (patterns != nullptr) {
    std::vector<Regex> keys;
    for (const auto& entry : patterns->get_object()) {
      TRY(Regex regex, pattern_of(entry.key(), place.in("patternProperties")));
      keys.push_back(json_regex::quoted(json_escaped(regex)));
    }
    size_t index = 0;
    for (const auto& entry : patterns->get_object()) {
      TRY(const Id inner, value(entry.value(), place.in("patternProperties").in(entry.key())));
      LexemeSpec spec = free;  // a key of two patterns would need both their schemas: left out
      spec.regexes.push_back(keys[index]);
      spec.excluded = taken;
      for (size_t other = 0; other < keys.size(); ++other) {
        if (other != index) spec.excluded.push_back(keys[other]);
      }
      shape.others.push_back(entry_of(b_.lexeme(std::move(spec)), inner));
      ++index;
    }
    taken.insert(taken.end(), keys.begin(), keys.end());
  }
  const bool lists =
      member(schema, "properties") != nullptr || patterns != nullptr || !shape.properties.empty();
  if (others == nullptr ? lists : is_false(*others)) return {};
  Id inner = parts_.any_value();
  if (others != nullptr) {
    TRY(inner, value(*others, place.in("additionalProperties")));
  }
  const bool any_key = taken.empty() && shape.any_key;
  if (!taken.empty()) uncount(free);
  free.excluded = std::move(taken);
  shape.others.push_back(entry_of(any_key ? parts_.string() : b_.lexeme(std::move(free)), inner));
  return {};
}

/// Properties in their order, optional ones left out or not, then the others. States are
/// (properties passed, entries written); the count is only told apart as far as the bounds need it.
Result<SchemaCompiler::Id> SchemaCompiler::write_object(const ObjectShape& shape,
                                                        const Place& place) {
  const size_t n = shape.properties.size();
  size_t required = 0;
  for (const auto& property : shape.properties) required += property.required ? 1 : 0;
  if (n > limits::kGrammarProperties) {
    return error(Code::kExhausted, place,
                 fmt::format("more than {} properties", limits::kGrammarProperties));
  }
  const bool open = !shape.others.empty();
  const bool upper = shape.max != Regex::kUnbounded && (open || shape.max < n);
  const bool lower = shape.min > required;
  if (shape.max < required || shape.max < shape.min || (!open && shape.min > n)) {
    return error(Code::kInvalidArgument, place, "no number of properties is allowed");
  }
  if (shape.min > n + 1) {
    return error(Code::kUnsupported, place,
                 "minProperties that needs several entries without a name: that their keys differ "
                 "is not enforced");
  }
  const size_t most = upper ? n : lower ? std::min<size_t>(shape.min, n) : 1;
  const size_t counts = std::max<size_t>(most, 1) + 1;
  if ((n + 1) * counts > std::max(kCountedStatesMax, 4 * (n + 1))) {
    return error(Code::kExhausted, place,
                 "minProperties or maxProperties with too many properties");
  }
  const auto bump = [&](size_t c) { return std::min(c + 1, counts - 1); };
  const auto may_end = [&](size_t c) { return !lower || c >= shape.min; };
  const auto may_add = [&](size_t c) { return !upper || c < shape.max; };
  const Id close = b_.seq({parts_.blanks(), b_.literal("}")});

  // entry[c]: one more entry must come; after[c]: one came. Filled from the last property back.
  std::vector<std::optional<Id>> entry(counts);
  std::vector<Id> after(counts, 0);
  bool tail_optional = true;  // no property from here on is required
  const auto fill_after = [&] {
    for (size_t c = 0; c < counts; ++c) {
      std::vector<Id> options;
      if (entry[c]) options.push_back(b_.seq({parts_.comma(), *entry[c]}));
      // Entries beyond the properties are counted by their list.
      if (tail_optional && may_end(c)) options.push_back(close);
      after[c] = b_.alt(std::move(options));
    }
  };
  if (open) {
    const Id other = b_.alt(shape.others);
    for (size_t c = 0; c < counts; ++c) {
      if (!may_add(c)) continue;
      const auto done = static_cast<uint32_t>(c);
      if (lower && shape.min > done + 1) continue;  // a key that comes twice would count once
      const uint32_t max = upper ? shape.max - done : Regex::kUnbounded;
      entry[c] = b_.seq({parts_.list(other, 1, max), close});
    }
  }
  fill_after();
  for (size_t i = n; i-- > 0;) {
    const ObjectShape::Property& property = shape.properties[i];
    std::vector<std::optional<Id>> before(counts);
    for (size_t c = 0; c < counts; ++c) {
      std::vector<Id> options;
      if (may_add(c)) options.push_back(b_.seq({property.value, after[bump(c)]}));
      if (!property.required && entry[c]) options.push_back(*entry[c]);
      if (!options.empty()) before[c] = b_.alt(std::move(options));
    }
    entry = std::move(before);
    tail_optional = tail_optional && !property.required;
    fill_after();
  }
  std::vector<Id> options;
  if (entry[0]) options.push_back(b_.seq({b_.literal("{"), parts_.blanks(), *entry[0]}));
  if (tail_optional && shape.min == 0) options.push_back(b_.literal("{}"));
  return b_.alt(std::move(options));
}

Result<SchemaCompiler::Id> SchemaCompiler::array_value(const json::object& schema,
                                                       const Place& place) {
  const json::value* items = member(schema, "items");
  const json::value* prefix = member(schema, "prefixItems");
  if (items != nullptr && items->is_array()) {  // before 2020-12
    prefix = items;
    items = member(schema, "additionalItems");
  }
  if (prefix != nullptr && !prefix->is_array()) {
    return error(Code::kInvalidArgument, place, "prefixItems is not an array");
  }
  TRY(const std::optional<uint32_t> least, count(schema, "minItems", place));
  TRY(const std::optional<uint32_t> most, count(schema, "maxItems", place));
  const uint32_t min = least.value_or(0);
  uint32_t max = most.value_or(Regex::kUnbounded);
  std::vector<Id> first;
  if (prefix != nullptr) {
    for (size_t i = 0; i < prefix->get_array().size(); ++i) {
      TRY(const Id id, value(prefix->get_array()[i], place.in("prefixItems").in(i)));
      first.push_back(id);
    }
  }
  const bool open = items == nullptr ? first.empty() : !is_false(*items);
  const auto given = static_cast<uint32_t>(first.size());
  if (!open) max = std::min(max, given);
  if (max < min) return error(Code::kInvalidArgument, place, "no number of items is allowed");

  const Id close = b_.seq({parts_.blanks(), b_.literal("]")});
  std::optional<Id> more;  // one more element must come, then the rest
  if (open && max > given) {
    Id item = parts_.any_value();
    if (items != nullptr) {
      TRY(item, value(*items, place.in("items")));
    }
    const uint32_t from = min > given ? min - given : 1;
    const uint32_t to = max == Regex::kUnbounded ? max : max - given;
    more = b_.seq({parts_.list(item, from, to), close});
  }
  for (uint32_t i = std::min(given, max); i-- > 0;) {
    std::vector<Id> after;
    if (more) after.push_back(b_.seq({parts_.comma(), *more}));
    if (i + 1 >= min) after.push_back(close);
    more = b_.seq({first[i], b_.alt(std::move(after))});
  }
  std::vector<Id> options;
  if (more) options.push_back(b_.seq({b_.literal("["), parts_.blanks(), *more}));
  if (min == 0) options.push_back(b_.literal("[]"));
  return b_.alt(std::move(options));
}

}  // namespace hadal
