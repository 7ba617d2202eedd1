#include "serve/shape.h"

#include <cmath>

#include "base/parse.h"

namespace hadal {
namespace {

/// Reads one type expression from left to right.
class TypeReader {
 public:
  explicit TypeReader(std::string_view text) : text_(text) {}

  json::value read() {
    json::array choices;
    do {
      choices.push_back(element());
    } while (take("|"));
    CHECK(text_.empty());
    if (choices.size() == 1) return std::move(choices[0]);
    return merged(choices);
  }

 private:
  bool take(std::string_view wanted) {
    if (!text_.starts_with(wanted)) return false;
    text_.remove_prefix(wanted.size());
    return true;
  }

  std::string_view take_until(std::string_view ends) {
    const size_t end = std::min(text_.find_first_of(ends), text_.size());
    const std::string_view out = text_.substr(0, end);
    text_.remove_prefix(end);
    return out;
  }

  json::value element() {
    json::value type = atom();
    while (take("[")) {
      json::object list{{"type", "array"}, {"items", std::move(type)}};
      if (!take("]")) bounds(list, "minItems", "maxItems", "]");
      type = std::move(list);
    }
    return type;
  }

  json::value atom() {
    if (take("'")) {
      const std::string_view literal = take_until("'");
      CHECK(take("'"));
      return json::object{{"const", literal}};
    }
    const std::string_view name = take_until("|[(");
    if (name == "true" || name == "false") return json::object{{"const", name == "true"}};
    if (name == "any") return json::object{};
    json::object type;
    if (name == "string" || name == "integer" || name == "number" || name == "boolean" ||
        name == "object" || name == "null") {
      type["type"] = name;
    } else {
      CHECK(!name.empty() && name[0] >= 'A' && name[0] <= 'Z');
      type["$ref"] = "#/components/schemas/" + std::string(name);
    }
    if (take("(")) bounds(type, "minimum", "maximum", ")");
    return type;
  }

  void bounds(json::object& out, std::string_view low, std::string_view high,
              std::string_view close) {
    const std::string_view text = take_until(close);
    CHECK(take(close));
    const size_t dots = text.find("..");
    CHECK(dots != std::string_view::npos);
    bound(out, low, text.substr(0, dots));
    bound(out, high, text.substr(dots + 2));
  }

  static void bound(json::object& out, std::string_view name, std::string_view text) {
    if (text.empty()) return;
    const auto value = parse_int<int64_t>(text);
    CHECK(value.has_value());
    out[name] = *value;
  }

  /// Choices of constants become an enumeration, of bare types a list of them.
  static json::value merged(const json::array& choices) {
    json::array constants;
    json::array types;
    for (const json::value& choice : choices) {
      const json::object& one = choice.get_object();
      if (const json::value* constant = one.if_contains("const")) constants.push_back(*constant);
      if (one.size() == 1 && one.contains("type")) types.push_back(*one.if_contains("type"));
    }
    if (constants.size() == choices.size()) return json::object{{"enum", std::move(constants)}};
    if (types.size() == choices.size()) return json::object{{"type", std::move(types)}};
    return json::object{{"anyOf", choices}};
  }

  std::string_view text_;
};

json::value bound_value(double bound) {
  if (bound == std::floor(bound) && std::abs(bound) < 9e15) return static_cast<int64_t>(bound);
  return bound;
}

json::value schema_of_param(const ParamRow& row) {
  if (row.kind == ParamKind::kBoolean) return json::object{{"type", {"boolean", "null"}}};
  json::object out;
  out["type"] =
      json::array{row.kind == ParamKind::kInteger ? "integer" : "number", json::value("null")};
  out["minimum"] = bound_value(row.min);
  out["maximum"] = bound_value(row.max);
  return out;
}

class ObjectSchema {
 public:
  void add(std::span<const FieldRow> fields) {
    for (const FieldRow& field : fields) {
      if (field.required) required_.push_back(json::value(field.name));
      const std::string optional = std::string(field.type) + "|null";
      const bool bare = field.required || field.type == "any" || field.type.ends_with("null");
      members_[field.name] = schema_of(bare ? field.type : std::string_view(optional));
    }
  }
  void add(std::span<const ParamRow> rows) {
    for (const ParamRow& row : rows) members_[row.name] = schema_of_param(row);
  }
  json::object take() && {
    json::object out{{"type", "object"}, {"properties", std::move(members_)}};
    if (!required_.empty()) out["required"] = std::move(required_);
    return out;
  }

 private:
  json::object members_;
  json::array required_;
};

}  // namespace

json::value schema_of(std::string_view type) {
  return TypeReader(type).read();
}

json::object schema_of(const ObjectShape& object) {
  ObjectSchema out;
  out.add(object.fields);
  return std::move(out).take();
}

json::object schema_of_body(const EndpointShape& shape) {
  ObjectSchema out;
  for (const auto& fields : shape.fields) out.add(fields);
  for (const ParamTable table : shape.params) {
    if (table != nullptr) out.add(table());
  }
  return std::move(out).take();
}

bool has_body(const EndpointShape& shape) {
  return !shape.fields[0].empty() || shape.params[0] != nullptr;
}

Checked check_known(const EndpointShape& shape, const json::object& body) {
  const auto known = [&](std::string_view name) {
    for (const auto& fields : shape.fields) {
      for (const FieldRow& field : fields) {
        if (field.name == name) return true;
      }
    }
    for (const ParamTable table : shape.params) {
      if (table == nullptr) continue;
      for (const ParamRow& row : table()) {
        if (row.name == name) return true;
      }
    }
    return false;
  };
  for (const auto& member : body) {
    const std::string_view name(member.key().data(), member.key().size());
    if (known(name)) continue;
    const std::string shown(name.substr(0, 64));
    ApiError error = invalid_param(shown, "'" + shown + "' is not a parameter of this endpoint.");
    error.code = "unknown_parameter";
    return error;
  }
  return std::nullopt;
}

}  // namespace hadal
