#include "text/grammar/json_schema.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "base/parse.h"
#include "text/grammar/json_regex.h"

namespace hadal {
namespace {

constexpr size_t kStepsMax = 400'000;  // values looked at or copied; a schema of 1 MiB has fewer

/// Keywords that say nothing about which values are valid, or that are handled with another.
constexpr std::string_view kNoEffect[] = {"title",
                                          "description",
                                          "default",
                                          "examples",
                                          "example",
                                          "$schema",
                                          "$id",
                                          "id",
                                          "$comment",
                                          "$defs",
                                          "definitions",
                                          "deprecated",
                                          "readOnly",
                                          "writeOnly",
                                          "contentMediaType",
                                          "$vocabulary",
                                          "contentEncoding",
                                          "contentSchema",
                                          "discriminator",
                                          "externalDocs",
                                          "xml",
                                          "$anchor",
                                          "$dynamicAnchor"};

constexpr std::string_view kUnsupported[] = {
    "not",          "if",       "dependentRequired", "dependentSchemas",
    "dependencies", "contains", "$dynamicRef",       "$recursiveRef"};

/// Keywords that apply to one type only; an untyped schema with them means this type.
constexpr std::pair<std::string_view, std::string_view> kTypeOf[] = {
    {"properties", "object"},
    {"required", "object"},
    {"additionalProperties", "object"},
    {"unevaluatedProperties", "object"},
    {"unevaluatedItems", "array"},
    {"patternProperties", "object"},
    {"propertyNames", "object"},
    {"minProperties", "object"},
    {"maxProperties", "object"},
    {"items", "array"},
    {"prefixItems", "array"},
    {"additionalItems", "array"},
    {"minItems", "array"},
    {"maxItems", "array"},
    {"minLength", "string"},
    {"maxLength", "string"},
    {"pattern", "string"},
    {"format", "string"},
    {"minimum", "number"},
    {"maximum", "number"},
    {"exclusiveMinimum", "number"},
    {"exclusiveMaximum", "number"},
    {"multipleOf", "number"}};

template <size_t N>
bool among(const std::string_view (&list)[N], std::string_view key) {
  return std::find(std::begin(list), std::end(list), key) != std::end(list);
}

/// A member name inside a JSON pointer.
std::string escaped(std::string_view key) {
  std::string out;
  for (const char c : key.substr(0, 80)) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

/// ~0, ~1 and %XX undone.
std::string unescaped(std::string_view token) {
  std::string out;
  for (size_t i = 0; i < token.size(); ++i) {
    if (token[i] == '~' && i + 1 < token.size() && (token[i + 1] == '0' || token[i + 1] == '1')) {
      out += token[++i] == '0' ? '~' : '/';
      continue;
    }
    unsigned byte = 0;
    const std::string_view hex = token.substr(i).substr(0, 3);
    if (token[i] == '%' && hex.size() == 3 &&
        std::from_chars(hex.data() + 1, hex.data() + 3, byte, 16).ptr == hex.data() + 3) {
      out += static_cast<char>(byte);
      i += 2;
      continue;
    }
    out += token[i];
  }
  return out;
}

}  // namespace

const json::value* member(const json::object& object, std::string_view key) {
  const auto it = object.find(key);
  return it == object.end() ? nullptr : &it->value();
}

bool has_no_effect(std::string_view key) {
  return among(kNoEffect, key);
}

bool has_keyword_of(std::string_view type, const json::object& schema) {
  return std::any_of(std::begin(kTypeOf), std::end(kTypeOf), [&](const auto& known) {
    return known.second == type && member(schema, known.first) != nullptr;
  });
}

std::optional<double> number_of(const json::value& value) {
  if (value.is_int64()) return static_cast<double>(value.get_int64());
  if (value.is_uint64()) return static_cast<double>(value.get_uint64());
  if (value.is_double()) return value.get_double();
  return std::nullopt;
}

// What all schemas share.

JsonParts::JsonParts(IrBuilder& builder, const JsonGrammarOptions& options) : b_(builder) {
  const bool compact = options.layout == JsonLayout::kCompact;
  blanks_ = compact ? b_.empty() : b_.regex(json_regex::blanks());
  leading_ = compact ? b_.empty() : b_.regex(json_regex::leading_blanks());
  comma_ = b_.seq({b_.literal(","), blanks_});
  string_ = b_.regex(
      json_regex::quoted(Regex::repeat(json_regex::string_character(), 0, Regex::kUnbounded)));
  scalar_ = b_.alt(
      {string_, b_.regex(json_regex::number()),
       b_.regex(Regex::alt({Regex::text("true"), Regex::text("false"), Regex::text("null")}))});
}

IrBuilder::Id JsonParts::colon() {
  return b_.seq({b_.literal(":"), blanks_});
}

IrBuilder::Id JsonParts::enclosed(std::string_view open, IrBuilder::Id inside,
                                  std::string_view close) {
  return b_.seq({b_.literal(open), blanks_, inside, blanks_, b_.literal(close)});
}

IrBuilder::Id JsonParts::list(IrBuilder::Id part, uint32_t min, uint32_t max) {
  const uint32_t more = max == Regex::kUnbounded ? max : max - 1;
  return b_.seq({part, b_.repeat(b_.seq({comma_, part}), min - 1, more)});
}

/// An object and an array whose values are `value`.
std::pair<IrBuilder::Id, IrBuilder::Id> JsonParts::nested(IrBuilder::Id value) {
  const IrBuilder::Id entry = b_.seq({string_, colon(), value});
  const IrBuilder::Id object =
      b_.alt({enclosed("{", list(entry, 1, Regex::kUnbounded), "}"), b_.literal("{}")});
  const IrBuilder::Id array =
      b_.alt({enclosed("[", list(value, 1, Regex::kUnbounded), "]"), b_.literal("[]")});
  return {object, array};
}

IrBuilder::Id JsonParts::any_value() {
  if (any_value_) return *any_value_;
  IrBuilder::Id value = scalar_;  // the innermost level
  IrBuilder::Id object = 0;
  for (int level = 1; level < limits::kGrammarJsonDepth; ++level) {
    const auto [outer, array] = nested(value);
    object = outer;
    value = b_.alt({scalar_, outer, array});
  }
  any_object_ = object;
  any_value_ = value;
  return value;
}

IrBuilder::Id JsonParts::any_object() {
  any_value();
  return *any_object_;
}

// The schema.

SchemaCompiler::Place SchemaCompiler::Place::in(std::string_view key) const {
  return {pointer + "/" + escaped(key), depth + 1};
}

Error SchemaCompiler::error(Code code, const Place& place, std::string_view what) const {
  return Error{code, fmt::format("schema, at {}: {}",
                                 place.pointer.empty() ? "the root" : place.pointer, what)};
}

Status SchemaCompiler::spend(size_t steps, const Place& place) {
  steps_ += steps;
  if (steps_ > kStepsMax || b_.size() > limits::kGrammarNodes) {
    return error(Code::kExhausted, place, "the schema is too large, or explodes by its references");
  }
  return {};
}

Result<Grammar> SchemaCompiler::compile() {
  TRY_STATUS(check_bases(root_, {}, false));
  TRY(const Id root, value(root_, {}));
  while (!pending_.empty()) {
    const std::string pointer = std::move(pending_.back());
    pending_.pop_back();
    const Place place{pointer, 0};
    TRY(const json::value* target, resolve(pointer, place));
    TRY(const Id made, value(*target, place));
    b_.define(references_.find(pointer)->second, made);
  }
  return b_.finish(b_.seq({parts_.leading_blanks(), root}));
}

/// Pointers count from the root: below a schema with an $id of its own they would mean others.
Status SchemaCompiler::check_bases(const json::value& schema, const Place& place,
                                   bool other_base) const {
  if (schema.is_array()) {
    for (const json::value& one : schema.get_array()) {
      TRY_STATUS(check_bases(one, place, other_base));
    }
  }
  if (!schema.is_object() || place.depth > limits::kJsonDepth) return {};
  const json::object& members = schema.get_object();
  const json::value* id = member(members, "$id");
  const bool own_base = id != nullptr && id->is_string() && !id->get_string().starts_with("#");
  other_base = other_base || (own_base && place.depth > 0);
  const json::value* pointer = member(members, "$ref");
  if (other_base && pointer != nullptr && pointer->is_string()) {
    return error(Code::kUnsupported, place, "$ref below a schema with an $id of its own");
  }
  for (const auto& entry : members) {
    if (entry.key() == "const" || entry.key() == "enum") continue;
    TRY_STATUS(check_bases(entry.value(), place.in(entry.key()), other_base));
  }
  return {};
}

Result<SchemaCompiler::Id> SchemaCompiler::value(const json::value& schema, const Place& place) {
  TRY_STATUS(spend(1, place));
  if (place.depth > limits::kGrammarDepth) {
    return error(Code::kExhausted, place,
                 "the schema is nested too deeply, or refers to itself "
                 "inside of allOf");
  }
  if (schema.is_bool()) return schema.get_bool() ? parts_.any_value() : b_.nothing();
  if (!schema.is_object()) {
    return error(Code::kInvalidArgument, place, "a schema is an object, true or false");
  }
  return object_schema(schema.get_object(), place);
}

Status SchemaCompiler::check_keywords(const json::object& schema, const Place& place) const {
  for (const auto& entry : schema) {
    const std::string_view key = entry.key();
    const json::value& value = entry.value();
    const bool refused = among(kUnsupported, key) ||
                         (key == "uniqueItems" && !(value.is_bool() && !value.get_bool()));
    if (!refused) continue;
    const json::value* most = member(schema, "maxItems");
    const bool trivial =
        key == "uniqueItems" && most != nullptr && number_of(*most) && *number_of(*most) <= 1;
    const bool alone =
        key == "if" && member(schema, "then") == nullptr && member(schema, "else") == nullptr;
    if (trivial || alone) continue;
    return error(Code::kUnsupported, place,
                 fmt::format("the keyword \"{}\" is not supported", key));
  }
  return {};
}

Result<SchemaCompiler::Id> SchemaCompiler::object_schema(const json::object& schema,
                                                         const Place& place) {
  TRY_STATUS(check_keywords(schema, place));
  if (const json::value* pointer = member(schema, "$ref")) {
    if (!pointer->is_string()) {
      return error(Code::kInvalidArgument, place, "$ref is not a string");
    }
    const bool alone = std::all_of(schema.begin(), schema.end(), [](const auto& entry) {
      return entry.key() == "$ref" || among(kNoEffect, entry.key());
    });
    if (alone) return reference(pointer->get_string(), place);
    TRY(const json::object whole, without_references(schema, place));
    return object_schema(whole, place);
  }
  for (const std::string_view key : {"allOf", "anyOf", "oneOf"}) {
    if (member(schema, key) != nullptr) return combined(schema, place);
  }
  if (const json::value* nullable = member(schema, "nullable");
      nullable != nullptr && nullable->is_bool() && nullable->get_bool()) {
    json::object rest = schema;
    rest.erase("nullable");
    TRY(const Id inner, object_schema(rest, place));
    return b_.alt({inner, b_.literal("null")});
  }
  if (member(schema, "const") != nullptr || member(schema, "enum") != nullptr) {
    return enumeration(schema, place);
  }
  return one_of_types(schema, place);
}

Result<SchemaCompiler::Id> SchemaCompiler::reference(std::string_view pointer, const Place& place) {
  if (const auto it = references_.find(pointer); it != references_.end()) return it->second;
  TRY(const json::value* target, resolve(pointer, place));
  (void)target;  // that it exists is known here, where the place of the reference is
  const Id id = b_.declare();
  references_.emplace(pointer, id);
  pending_.emplace_back(pointer);
  return id;
}

Result<const json::value*> SchemaCompiler::resolve(std::string_view pointer,
                                                   const Place& place) const {
  if (pointer != "#" && !pointer.starts_with("#/")) {
    return error(
        Code::kUnsupported, place,
        fmt::format("$ref \"{:.80}\" is not a pointer into this schema (\"#/...\")", pointer));
  }
  const json::value* at = &root_;
  std::string_view rest = pointer.substr(1);
  while (!rest.empty()) {
    rest.remove_prefix(1);
    const size_t slash = std::min(rest.find('/'), rest.size());
    const std::string key = unescaped(rest.substr(0, slash));
    rest.remove_prefix(slash);
    const json::value* next = nullptr;
    if (at->is_object()) next = member(at->get_object(), key);
    if (at->is_array()) {
      const std::optional<size_t> index = parse_int<size_t>(key);
      if (index && *index < at->get_array().size()) next = &at->get_array()[*index];
    }
    if (next == nullptr) {
      return error(Code::kInvalidArgument, place,
                   fmt::format("$ref \"{:.80}\" points to nothing", pointer));
    }
    at = next;
  }
  return at;
}

/// allOf by merging; anyOf and oneOf as alternatives, each merged with what stands beside it.
Result<SchemaCompiler::Id> SchemaCompiler::combined(const json::object& schema,
                                                    const Place& place) {
  json::object rest = schema;
  if (const json::value* all = member(schema, "allOf")) {
    if (!all->is_array()) return error(Code::kInvalidArgument, place, "allOf is not an array");
    rest.erase("allOf");
    for (const json::value& part : all->get_array()) {
      TRY(json::value sum, merged(rest, part, place.in("allOf")));
      if (sum.is_bool()) return b_.nothing();
      rest = std::move(sum.get_object());
    }
    return object_schema(rest, {place.pointer, place.depth + 1});
  }
  const std::string key = member(schema, "anyOf") != nullptr ? "anyOf" : "oneOf";
  const json::value* list = member(schema, key);
  rest.erase(key);
  if (!list->is_array() || list->get_array().empty()) {
    return error(Code::kInvalidArgument, place, key + " is not an array of schemas");
  }
  json::array options = list->get_array();
  std::optional<json::array> exclusive;
  if (key == "oneOf") exclusive = exclusive_required(options);
  if (exclusive) options = std::move(*exclusive);
  const bool alone = std::all_of(rest.begin(), rest.end(),
                                 [](const auto& entry) { return among(kNoEffect, entry.key()); });
  std::vector<Id> ids;
  const Place inside = place.in(key);
  for (size_t i = 0; i < options.size() && !alone; ++i) {
    TRY(options[i], merged(rest, options[i], inside.in(i)));
  }
  if (key == "oneOf" && !exclusive) TRY_STATUS(check_one_of(options, place));
  for (size_t i = 0; i < options.size(); ++i) {
    TRY(const Id id, value(options[i], inside.in(i)));
    ids.push_back(id);
  }
  return b_.alt(std::move(ids));
}

Result<std::vector<std::string>> SchemaCompiler::types_of(const json::object& schema,
                                                          const Place& place) const {
  std::vector<std::string> types;
  if (const json::value* type = member(schema, "type")) {
    const auto add = [&](const json::value& name) -> Status {
      constexpr std::string_view kNames[] = {"object",  "array",   "string", "number",
                                             "integer", "boolean", "null"};
      if (!name.is_string() || !among(kNames, name.get_string())) {
        return error(Code::kInvalidArgument, place,
                     fmt::format("type {:.60} is not one of JSON Schema's", to_json(name)));
      }
      types.emplace_back(name.get_string());
      return {};
    };
    if (type->is_array()) {
      for (const json::value& name : type->get_array()) TRY_STATUS(add(name));
    } else {
      TRY_STATUS(add(*type));
    }
    return types;
  }
  for (const auto& [key, type] : kTypeOf) {
    if (member(schema, key) == nullptr) continue;
    if (std::find(types.begin(), types.end(), type) == types.end()) types.emplace_back(type);
  }
  return types;
}

Result<SchemaCompiler::Id> SchemaCompiler::one_of_types(const json::object& schema,
                                                        const Place& place) {
  if (member(schema, "unevaluatedProperties") || member(schema, "unevaluatedItems")) {
    json::object rest = schema;
    settle_unevaluated(rest);
    return one_of_types(rest, place);
  }
  TRY(const std::vector<std::string> types, types_of(schema, place));
  if (types.empty() && member(schema, "type") == nullptr) return parts_.any_value();
  const bool number = std::find(types.begin(), types.end(), "number") != types.end();
  std::vector<Id> ids;
  for (const std::string& type : types) {
    if (type == "integer" && number) continue;
    TRY(const Id id, of_type(type, schema, place));
    ids.push_back(id);
  }
  return b_.alt(std::move(ids));
}

Result<SchemaCompiler::Id> SchemaCompiler::of_type(const std::string& type,
                                                   const json::object& schema, const Place& place) {
  if (type == "object") return object_value(schema, place);
  if (type == "array") return array_value(schema, place);
  if (type == "string") return string_value(schema, place);
  if (type == "number" || type == "integer") return number_value(type == "integer", schema, place);
  if (type == "null") return b_.literal("null");
  return b_.regex(Regex::alt({Regex::text("true"), Regex::text("false")}));
}

// The public functions.

Result<Grammar> Grammar::from_json_schema(const json::value& schema,
                                          const JsonGrammarOptions& options) {
  return SchemaCompiler(schema, options).compile();
}

Grammar Grammar::json_value(const JsonGrammarOptions& options) {
  IrBuilder builder;
  JsonParts parts(builder, options);
  const IrBuilder::Id root = builder.seq({parts.leading_blanks(), parts.any_value()});
  return builder.finish(root);
}

Grammar Grammar::json_object(const JsonGrammarOptions& options) {
  IrBuilder builder;
  JsonParts parts(builder, options);
  const IrBuilder::Id root = builder.seq({parts.leading_blanks(), parts.any_object()});
  return builder.finish(root);
}

}  // namespace hadal
