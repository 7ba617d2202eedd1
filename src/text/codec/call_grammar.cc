#include "text/call_grammar.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/limits.h"

namespace hadal {
namespace {

/// A tool as far as its calls are concerned.
struct Tool {
  std::string name;
  json::value parameters;
  bool strict = false;
};

Error bad_tool(std::string_view name, std::string_view problem) {
  return Error{Code::kInvalidArgument, "tool '" + std::string(name) + "': " + std::string(problem)};
}

/// A schema that says nothing about its type means an object here: arguments are one.
json::value object_schema(const json::value& schema) {
  if (!schema.is_object()) return json::object{{"type", "object"}};
  json::object out = schema.get_object();
  for (const char* key : {"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"}) {
    if (out.contains(key)) return out;
  }
  out["type"] = "object";
  return out;
}

Result<Tool> read_tool(const json::value& tool) {
  const json::value* function =
      tool.is_object() ? tool.get_object().if_contains("function") : nullptr;
  if (function == nullptr || !function->is_object()) {
    return Error{Code::kInvalidArgument, "a tool has no 'function'"};
  }
  const json::object& fields = function->get_object();
  const json::value* name = fields.if_contains("name");
  if (name == nullptr || !name->is_string() || name->get_string().empty()) {
    return Error{Code::kInvalidArgument, "a tool's function has no 'name'"};
  }
  Tool out;
  out.name = name->get_string();
  const json::value* parameters = fields.if_contains("parameters");
  out.parameters = object_schema(parameters == nullptr ? json::value() : *parameters);
  const json::value* strict = fields.if_contains("strict");
  out.strict = strict != nullptr && strict->is_bool() && strict->get_bool();
  return out;
}

/// `fallback` when the schema cannot be enforced and need not be.
Result<Grammar> schema_or(const json::value& schema, const Tool& tool, Grammar fallback) {
  auto grammar = Grammar::from_json_schema(schema, {.one_of_may_overlap = !tool.strict});
  if (grammar.ok()) return grammar;
  if (tool.strict) return bad_tool(tool.name, grammar.error().message);
  return fallback;
}

Result<Grammar> arguments_of(const Tool& tool) {
  return schema_or(tool.parameters, tool, Grammar::json_object());
}

std::string json_text(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

/// Writes the syntax of one family. Members give the part of one tool's call.
class CallWriter {
 public:
  CallWriter(const Codec& codec, const Tokenizer& tokenizer)
      : tokenizer_(tokenizer), kind_(codec.kind()) {}

  /// <tool_call> is the block of a family that has none around its calls.
  Result<Grammar> tagged(const Tool& tool) const {
    TRY(Grammar arguments, arguments_of(tool));
    return Grammar::sequence(
        {Grammar::literal("\n{\"name\": " + json_text(tool.name) + ", \"arguments\": "),
         std::move(arguments), Grammar::literal("}\n"), mark("</tool_call>")});
  }

  Result<Grammar> tokens(const Tool& tool) const {
    TRY(Grammar arguments, arguments_of(tool));
    const bool plain = kind_ == CodecKind::kDeepSeekV31;
    std::vector<Grammar> parts = {mark("<｜tool▁call▁begin｜>")};
    if (plain) {
      parts.push_back(Grammar::literal(tool.name));
      parts.push_back(mark("<｜tool▁sep｜>"));
      parts.push_back(std::move(arguments));
    } else {
      parts.push_back(Grammar::literal("function"));
      parts.push_back(mark("<｜tool▁sep｜>"));
      parts.push_back(Grammar::literal(tool.name + "\n```json\n"));
      parts.push_back(std::move(arguments));
      parts.push_back(Grammar::literal("\n```"));
    }
    parts.push_back(mark("<｜tool▁call▁end｜>"));
    return Grammar::sequence(std::move(parts));
  }

  Result<Grammar> dsml(const Tool& tool) const {
    std::vector<Grammar> parts = {mark("<｜DSML｜invoke name=\""),
                                  Grammar::literal(tool.name + "\">\n")};
    TRY(std::optional<Grammar> parameters, parameters_of(tool));
    if (!parameters) {
      TRY(parameters, any_parameters());
    }
    parts.push_back(std::move(*parameters));
    parts.push_back(mark("</｜DSML｜invoke>"));
    parts.push_back(Grammar::literal("\n"));
    return Grammar::sequence(std::move(parts));
  }

 private:
  Grammar mark(std::string_view text) const { return marker_grammar(text, tokenizer_); }

  /// A text parameter goes on to the tag that ends it, a JSON one has its own end.
  Result<Grammar> text_value() const {
    return Grammar::free_text(
        {.branches = {{text_marker("</｜DSML｜parameter>", tokenizer_), Grammar::literal("\n")}},
         .only_listed_tokens = true});
  }
  Grammar json_end() const {
    return Grammar::sequence({mark("</｜DSML｜parameter>"), Grammar::literal("\n")});
  }

  Result<Grammar> any_parameters() const {
    TRY(Grammar name, Grammar::from_regex("[^\"<>\\n]{1,64}"));
    TRY(Grammar text, text_value());
    Grammar value = Grammar::choice(
        {Grammar::sequence({Grammar::literal("true\">"), std::move(text)}),
         Grammar::sequence({Grammar::literal("false\">"), Grammar::json_value(), json_end()})});
    return Grammar::repeat(Grammar::sequence({mark("<｜DSML｜parameter name=\""), std::move(name),
                                              Grammar::literal("\" string=\""), std::move(value)}),
                           0, std::nullopt);
  }

  /// Nothing for a schema that has no plain list of properties.
  Result<std::optional<Grammar>> parameters_of(const Tool& tool) const {
    const json::object* schema = tool.parameters.if_object();
    const json::value* type = schema == nullptr ? nullptr : schema->if_contains("type");
    if (type == nullptr || *type != "object") return std::optional<Grammar>();
    const json::value* properties = schema->if_contains("properties");
    if (properties != nullptr && !properties->is_object()) {
      return bad_tool(tool.name, "'properties' is no object");
    }
    std::vector<Grammar> parts;
    const json::object none;
    for (const auto& [name, property] : properties != nullptr ? properties->get_object() : none) {
      TRY(Grammar parameter, parameter_of(tool, *schema, name, property));
      parts.push_back(is_required(*schema, name) ? std::move(parameter)
                                                 : Grammar::optional(std::move(parameter)));
    }
    return std::optional<Grammar>(Grammar::sequence(std::move(parts)));
  }

  static bool is_required(const json::object& schema, std::string_view name) {
    const json::value* required = schema.if_contains("required");
    if (required == nullptr || !required->is_array()) return false;
    for (const json::value& entry : required->get_array()) {
      if (entry.is_string() && std::string_view(entry.get_string()) == name) return true;
    }
    return false;
  }

  Result<Grammar> parameter_of(const Tool& tool, const json::object& schema, std::string_view name,
                               const json::value& property) const {
    const std::string head = std::string(name) + "\" string=\"";
    std::vector<Grammar> parts = {mark("<｜DSML｜parameter name=\"")};
    if (is_text(property)) {
      parts.push_back(Grammar::literal(head + "true\">"));
      TRY(Grammar value, string_value(property));
      parts.push_back(std::move(value));
    } else {
      parts.push_back(Grammar::literal(head + "false\">"));
      TRY(Grammar value,
          schema_or(with_definitions(property, schema), tool, Grammar::json_value()));
      parts.push_back(std::move(value));
      parts.push_back(json_end());
    }
    return Grammar::sequence(std::move(parts));
  }

  static bool is_text(const json::value& property) {
    if (!property.is_object()) return false;
    const json::value* type = property.get_object().if_contains("type");
    return type != nullptr && *type == "string";
  }

  /// Of the keywords of a string only "enum" is enforced: the value is no JSON here.
  Result<Grammar> string_value(const json::value& property) const {
    const json::value* list = property.get_object().if_contains("enum");
    if (list == nullptr || !list->is_array()) return text_value();
    std::vector<std::string> texts;
    for (const json::value& entry : list->get_array()) {
      if (entry.is_string()) texts.emplace_back(entry.get_string());
    }
    if (texts.empty()) return text_value();
    TRY(Grammar choices, Grammar::from_choices(texts));
    return Grammar::sequence({std::move(choices), json_end()});
  }

  /// What "$ref" inside the property may point to stands at the top.
  static json::value with_definitions(const json::value& property, const json::object& schema) {
    if (!property.is_object()) return property;
    json::object out = property.get_object();
    for (const char* key : {"$defs", "definitions"}) {
      const json::value* definitions = schema.if_contains(key);
      if (definitions != nullptr && !out.contains(key)) out[key] = *definitions;
    }
    return out;
  }

  const Tokenizer& tokenizer_;
  CodecKind kind_;
};

/// How calls follow each other and what ends them.
struct BlockStyle {
  std::string_view open;
  std::string_view between;
  std::string_view close;
};

BlockStyle style_of(const Codec& codec) {
  switch (codec.call_syntax()) {
    case CallSyntax::kTagged:
      return {"<tool_call>", "\n<tool_call>", ""};
    case CallSyntax::kDsml:
      return codec.kind() == CodecKind::kDeepSeekV32
                 ? BlockStyle{"<｜DSML｜function_calls>", "", "</｜DSML｜function_calls>"}
                 : BlockStyle{"<｜DSML｜tool_calls>", "", "</｜DSML｜tool_calls>"};
    default:
      return {"<｜tool▁calls▁begin｜>", codec.kind() == CodecKind::kDeepSeekV31 ? "" : "\n",
              "<｜tool▁calls▁end｜>"};
  }
}

Result<Grammar> one_call(const CallWriter& writer, CallSyntax syntax, const Tool& tool) {
  switch (syntax) {
    case CallSyntax::kTagged:
      return writer.tagged(tool);
    case CallSyntax::kDsml:
      return writer.dsml(tool);
    default:
      return writer.tokens(tool);
  }
}

}  // namespace

TextMarker text_marker(std::string_view text, const Tokenizer& tokenizer) {
  return {.text = std::string(text), .token = tokenizer.find(text).value_or(kNoToken)};
}

Grammar marker_grammar(std::string_view text, const Tokenizer& tokenizer) {
  std::vector<Grammar> parts;
  std::string bytes;
  for (const TokenId id : tokenizer.encode(text, Specials::kParse)) {
    const TokenKind kind = tokenizer.kind(id);
    if (kind != TokenKind::kControl && kind != TokenKind::kUserDefined) {
      bytes += tokenizer.piece(id, true);
      continue;
    }
    if (!bytes.empty()) parts.push_back(Grammar::literal(std::exchange(bytes, "")));
    parts.push_back(Grammar::token(id));
  }
  if (parts.empty()) return Grammar::literal(text);  // a tokenizer may add a blank in front
  if (!bytes.empty()) parts.push_back(Grammar::literal(bytes));
  return Grammar::sequence(std::move(parts));
}

Result<CallBlock> call_block(const Codec& codec, const CallRules& rules,
                             const Tokenizer& tokenizer) {
  const CallSyntax syntax = codec.call_syntax();
  if (syntax == CallSyntax::kNone) {
    return Error{Code::kUnsupported, "this model has no known way of calling tools"};
  }
  const CallWriter writer(codec, tokenizer);
  std::vector<Grammar> options;
  for (const json::value& entry : rules.tools) {
    TRY(const Tool tool, read_tool(entry));
    TRY(Grammar call, one_call(writer, syntax, tool));
    options.push_back(std::move(call));
  }
  const BlockStyle style = style_of(codec);
  const Grammar call = Grammar::choice(std::move(options));
  std::vector<Grammar> parts = {call};
  if (rules.parallel) {
    Grammar next = style.between.empty()
                       ? call
                       : Grammar::sequence({marker_grammar(style.between, tokenizer), call});
    TRY(Grammar more, Grammar::repeat(std::move(next), 0, limits::kCallsPerAnswer - 1));
    parts.push_back(std::move(more));
  }
  if (!style.close.empty()) parts.push_back(marker_grammar(style.close, tokenizer));
  return CallBlock{style.open, syntax == CallSyntax::kDsml ? "\n" : "",
                   Grammar::sequence(std::move(parts))};
}

}  // namespace hadal
