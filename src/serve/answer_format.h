#pragma once
/// AnswerFormat: what an answer has to look like, whatever dialect asked for it.
#include <string>
#include <vector>

#include "base/json.h"
#include "serve/errors.h"

namespace hadal {

struct AnswerFormat {
  enum class Kind : uint8_t { kText, kJsonObject, kJsonSchema, kRegex, kChoices, kGbnf };
  Kind kind = Kind::kText;
  json::value schema = {};                ///< kJsonSchema
  std::string text = {};                  ///< kRegex, kGbnf
  std::vector<std::string> choices = {};  ///< kChoices
  std::string param = {};                 ///< the request field it came from

  bool free() const { return kind == Kind::kText; }
};

/// Reads OpenAI's response_format ({"type": "text" | "json_object" | "json_schema", ...}), vLLM's
/// structured_outputs and guided_json, guided_regex, guided_choice, guided_grammar, and llama.cpp's
/// json_schema and grammar. 400 when two of them ask for different things.
Checked read_answer_format(const json::object& body, AnswerFormat& out);

/// A field that holds a schema.
Checked read_schema(const json::value& schema, std::string_view param, AnswerFormat& out);
/// {"type": ..., "json_schema": {...}} or, as the Responses API has it, with name and schema beside
/// the type.
Checked read_typed_format(const json::value& format, std::string_view param, AnswerFormat& out);

}  // namespace hadal
