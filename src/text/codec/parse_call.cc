/// From the text of one complete call to its name and arguments. Nothing is repaired that could
/// change what the model asked for: an argument that is not there is never made up.
#include <algorithm>

#include "base/limits.h"
#include "text/output_parser.h"

namespace hadal {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

Error malformed(std::string message) {
  return Error{Code::kInvalidArgument, std::move(message)};
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= limits::kToolNameBytes &&
         std::ranges::none_of(text, [](char c) {
           return static_cast<unsigned char>(c) <= ' ' || c == '"' || c == '<' || c == '>' ||
                  c == '{' || c == '`';
         });
}

Result<ToolCall> make_call(std::string_view name, std::string arguments) {
  if (!is_name(name)) return malformed("its name is no name");
  const auto parsed = parse_json(arguments);
  if (!parsed.ok() || !parsed.value().is_object()) {
    return malformed("its arguments are no JSON object");
  }
  return ToolCall{.id = "", .name = std::string(name), .arguments = std::move(arguments)};
}

/// What stands in a ```json fence, or the text itself when there is none.
std::string_view unfenced(std::string_view text) {
  constexpr std::string_view kFence = "```";
  if (!text.starts_with(kFence)) return text;
  text.remove_prefix(kFence.size());
  if (text.starts_with("json")) text.remove_prefix(4);
  if (trimmed(text).ends_with(kFence)) {
    text = trimmed(text);
    text.remove_suffix(kFence.size());
  }
  return trimmed(text);
}

/// V3, R1: function SEP name \n ```json \n arguments \n ```; V3.1: name SEP arguments.
Result<ToolCall> parse_tokens(std::string_view text, std::optional<size_t> separator) {
  if (!separator) return malformed("its name and arguments are not separated");
  const std::string_view before = trimmed(text.substr(0, *separator));
  const std::string_view after = trimmed(text.substr(*separator));
  if (after.starts_with('{') || after.starts_with('`')) {
    return make_call(before, std::string(unfenced(after)));
  }
  const size_t line = after.find_first_of("\n{`");
  if (line == std::string_view::npos) return malformed("it has no arguments");
  return make_call(trimmed(after.substr(0, line)),
                   std::string(unfenced(trimmed(after.substr(line)))));
}

Result<ToolCall> parse_tagged(std::string_view text) {
  const auto parsed = parse_json(trimmed(text));
  if (!parsed.ok() || !parsed.value().is_object()) return malformed("it is no JSON object");
  const json::object& object = parsed.value().get_object();
  const json::value* name = object.if_contains("name");
  const json::value* arguments = object.if_contains("arguments");
  if (name == nullptr || !name->is_string()) return malformed("it has no name");
  if (arguments == nullptr) return malformed("it has no arguments");
  if (arguments->is_string())
    return make_call(name->get_string(), std::string(arguments->get_string()));
  return make_call(name->get_string(), python_json(*arguments));
}

/// Reads the tags of one DSML call from front to back.
class DsmlCall {
 public:
  explicit DsmlCall(std::string_view text) : rest_(text) {}

  Result<ToolCall> parse() {
    std::string name;
    if (!skip("<｜DSML｜invoke name=\"") || !until("\"", name) || !skip(">")) {
      return malformed("its first tag is broken");
    }
    std::string arguments = "{";
    for (;;) {
      skip_blanks();
      if (skip("</｜DSML｜invoke>")) break;
      if (arguments.size() > 1) arguments += ", ";
      TRY_STATUS(parameter(arguments));
    }
    arguments += "}";
    if (!rest_.empty()) return malformed("text follows its end");
    return make_call(name, std::move(arguments));
  }

 private:
  bool skip(std::string_view literal) {
    if (!rest_.starts_with(literal)) return false;
    rest_.remove_prefix(literal.size());
    return true;
  }
  void skip_blanks() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(kBlanks), rest_.size()));
  }
  bool until(std::string_view end, std::string& out) {
    const size_t at = rest_.find(end);
    if (at == std::string_view::npos) return false;
    out.assign(rest_.substr(0, at));
    rest_.remove_prefix(at + end.size());
    return true;
  }

  Status parameter(std::string& out) {
    std::string name;
    if (!skip("<｜DSML｜parameter name=\"") || !until("\"", name) || !skip(" string=\"")) {
      return malformed("a parameter's tag is broken");
    }
    const bool is_text = skip("true\">");
    if (!is_text && !skip("false\">")) return malformed("a parameter's tag is broken");
    std::string value;
    if (!until("</｜DSML｜", value) || !skip("parameter>")) {
      return malformed("a parameter has no end");
    }
    append_json_string(out, name);
    out += ": ";
    // What claims to be JSON and is not can only have been meant as text.
    if (is_text || !parse_json(value).ok()) {
      append_json_string(out, value);
    } else {
      out += value;
    }
    return {};
  }

  std::string_view rest_;
};

}  // namespace

Result<ToolCall> parse_call(CallSyntax syntax, std::string_view text,
                            std::optional<size_t> separator) {
  switch (syntax) {
    case CallSyntax::kTokens:
      return parse_tokens(text, separator);
    case CallSyntax::kDsml:
      return DsmlCall(text).parse();
    case CallSyntax::kTagged:
      return parse_tagged(text);
    case CallSyntax::kNone:
      break;
  }
  return malformed("the model has no calls");
}

}  // namespace hadal
