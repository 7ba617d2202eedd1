#include "serve/answer_format.h"

#include "serve/params.h"

namespace hadal {
namespace {

Checked read_string(const json::value& value, std::string_view param, AnswerFormat::Kind kind,
                    AnswerFormat& out) {
  if (!value.is_string()) {
    return invalid_param(param, "'" + std::string(param) + "' must be a string.");
  }
  out.kind = kind;
  out.text = value.get_string();
  out.param = param;
  return std::nullopt;
}

Checked read_regex(const json::value& value, std::string_view param, AnswerFormat& out) {
  return read_string(value, param, AnswerFormat::Kind::kRegex, out);
}

Checked read_gbnf(const json::value& value, std::string_view param, AnswerFormat& out) {
  // Clients of llama.cpp send an empty grammar for none.
  if (value.is_string() && value.get_string().empty()) return std::nullopt;
  return read_string(value, param, AnswerFormat::Kind::kGbnf, out);
}

Checked read_choices(const json::value& value, std::string_view param, AnswerFormat& out) {
  const ApiError malformed =
      invalid_param(param, "'" + std::string(param) + "' must be a list of strings, at least one.");
  if (!value.is_array() || value.get_array().empty()) return malformed;
  for (const json::value& choice : value.get_array()) {
    if (!choice.is_string()) return malformed;
    out.choices.emplace_back(choice.get_string());
  }
  out.kind = AnswerFormat::Kind::kChoices;
  out.param = param;
  return std::nullopt;
}

Checked read_object_flag(const json::value& value, std::string_view param, AnswerFormat& out) {
  if (!value.is_bool()) {
    return invalid_param(param, "'" + std::string(param) + "' must be true or false.");
  }
  if (!value.get_bool()) return std::nullopt;
  out.kind = AnswerFormat::Kind::kJsonObject;
  out.param = param;
  return std::nullopt;
}

struct FormatField {
  std::string_view name;
  Checked (*read)(const json::value& value, std::string_view param, AnswerFormat& out);
};

constexpr FormatField kBodyFields[] = {
    {"response_format", read_typed_format},
    {"guided_json", read_schema},
    {"guided_regex", read_regex},
    {"guided_choice", read_choices},
    {"guided_grammar", read_gbnf},
    {"json_schema", read_schema},
    {"grammar", read_gbnf},
};

/// Of vLLM's "structured_outputs".
constexpr FormatField kNestedFields[] = {
    {"json", read_schema},
    {"regex", read_regex},
    {"choice", read_choices},
    {"grammar", read_gbnf},
    {"json_object", read_object_flag},
};

Checked read_fields(const json::object& object, std::span<const FormatField> fields,
                    const std::string& prefix, AnswerFormat& out) {
  for (const FormatField& field : fields) {
    const json::value* value = find_member(object, field.name);
    if (value == nullptr) continue;
    const std::string param = prefix + std::string(field.name);
    AnswerFormat read;
    if (Checked error = field.read(*value, param, read)) return error;
    if (read.free()) continue;
    if (!out.free()) {
      return invalid_param(param, "'" + param + "' and '" + out.param +
                                      "' both say how the answer must look; send one of them.");
    }
    out = std::move(read);
  }
  return std::nullopt;
}

}  // namespace

Checked read_schema(const json::value& schema, std::string_view param, AnswerFormat& out) {
  out.param = param;
  out.kind = AnswerFormat::Kind::kJsonSchema;
  if (schema.is_object() || schema.is_bool()) {
    out.schema = schema;
    return std::nullopt;
  }
  // vLLM takes the text of a schema, too.
  if (schema.is_string()) {
    auto parsed = parse_json(std::string_view(schema.get_string()));
    if (parsed.ok() && parsed.value().is_object()) {
      out.schema = std::move(parsed).value();
      return std::nullopt;
    }
  }
  return invalid_param(param, "'" + std::string(param) + "' must be a JSON Schema (an object).");
}

Checked read_typed_format(const json::value& format, std::string_view param, AnswerFormat& out) {
  const std::string name(param);
  const json::value* type = format.is_object() ? find_member(format.get_object(), "type") : nullptr;
  if (type == nullptr || !type->is_string()) {
    return invalid_param(param, "'" + name + "' must be an object with a 'type'.");
  }
  const std::string_view kind = type->get_string();
  if (kind == "text") return std::nullopt;
  const json::object& object = format.get_object();
  const json::value* nested = find_member(object, "json_schema");
  const json::object& holder =
      nested != nullptr && nested->is_object() ? nested->get_object() : object;
  const json::value* schema = find_member(holder, "schema");
  if (kind == "json_object") {
    // llama.cpp's form of a schema.
    if (schema != nullptr) return read_schema(*schema, name + ".schema", out);
    out.kind = AnswerFormat::Kind::kJsonObject;
    out.param = param;
    return std::nullopt;
  }
  if (kind != "json_schema") {
    return invalid_param(name + ".type", "'type' must be text, json_object or json_schema.");
  }
  if (schema == nullptr) {
    return invalid_param(name + ".json_schema",
                         "'" + name + "' of type json_schema needs a 'schema'.");
  }
  return read_schema(*schema, name + ".schema", out);
}

Checked read_answer_format(const json::object& body, AnswerFormat& out) {
  if (Checked error = read_fields(body, kBodyFields, "", out)) return error;
  const json::value* nested = find_member(body, "structured_outputs");
  if (nested == nullptr) return std::nullopt;
  if (!nested->is_object()) {
    return invalid_param("structured_outputs", "'structured_outputs' must be an object.");
  }
  return read_fields(nested->get_object(), kNestedFields, "structured_outputs.", out);
}

}  // namespace hadal
