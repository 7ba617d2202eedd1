#include "text/conversation.h"

#include <algorithm>
#include <cmath>

#include "text/codec/writer.h"
#include "text/template/value.h"

namespace hadal {
namespace {

json::array tool_call_variables(const std::vector<ToolCall>& calls, bool parse_arguments) {
  json::array out;
  for (const ToolCall& call : calls) {
    json::object function;
    function["name"] = call.name;
    function["arguments"] = call.arguments;
    if (parse_arguments) {
      auto parsed = parse_json(call.arguments);
      if (parsed.ok()) function["arguments"] = std::move(parsed).value();
    }
    json::object entry;
    entry["id"] = call.id;
    entry["type"] = "function";
    entry["function"] = std::move(function);
    out.push_back(std::move(entry));
  }
  return out;
}

json::object message_variables(const Message& message, bool parse_arguments) {
  json::object entry;
  entry["role"] = message.role;
  if (message.has_content) {
    entry["content"] = message.content;
  } else {
    entry["content"] = nullptr;
  }
  if (!message.reasoning.empty()) entry["reasoning_content"] = message.reasoning;
  if (!message.tool_calls.empty()) {
    entry["tool_calls"] = tool_call_variables(message.tool_calls, parse_arguments);
  }
  if (!message.tool_call_id.empty()) entry["tool_call_id"] = message.tool_call_id;
  if (!message.name.empty()) entry["name"] = message.name;
  return entry;
}

/// Exponents without padding, and a plain 0.0000ddd down to 1e-5.
std::string unpadded(const std::string& text) {
  const size_t mark = text.find("e-");
  if (mark == std::string::npos) return text;
  size_t digit = mark + 2;
  while (digit + 1 < text.size() && text[digit] == '0') ++digit;
  const std::string exponent = text.substr(digit);
  if (exponent != "5") return text.substr(0, mark + 2) + exponent;
  std::string out = text.front() == '-' ? "-0.0000" : "0.0000";
  for (const char c : text.substr(0, mark)) {
    if (c >= '0' && c <= '9') out.push_back(c);
  }
  return out;
}

void append_number(std::string& out, const json::value& value, bool padded) {
  if (value.is_int64()) {
    out += std::to_string(value.get_int64());
  } else if (value.is_uint64()) {
    out += std::to_string(value.get_uint64());
  } else {
    const double number = value.get_double();
    if (std::isnan(number)) {
      out += "NaN";
    } else if (std::isinf(number)) {
      out += number > 0 ? "Infinity" : "-Infinity";
    } else {
      const std::string text = jinja::float_text(number);
      out += padded ? text : unpadded(text);
    }
  }
}

/// Depth is bounded: values come from parse_json(). Width 0: all on one line.
class PythonJson {
 public:
  PythonJson(std::string& out, int width, bool padded)
      : out_(out), width_(width), padded_(padded) {}

  void write(const json::value& value) {
    if (value.is_null()) {
      out_ += "null";
    } else if (value.is_bool()) {
      out_ += value.get_bool() ? "true" : "false";
    } else if (value.is_number()) {
      append_number(out_, value, padded_);
    } else if (value.is_string()) {
      append_json_string(out_, value.get_string());
    } else if (value.is_array()) {
      list(value.get_array());
    } else {
      object(value.get_object());
    }
  }

 private:
  void list(const json::array& items) {
    out_.push_back('[');
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      next(i == 0);
      write(items[i]);
    }
    close(items.empty(), ']');
  }

  void object(const json::object& members) {
    out_.push_back('{');
    ++level_;
    bool first = true;
    for (const auto& [key, item] : members) {
      next(std::exchange(first, false));
      append_json_string(out_, key);
      out_ += ": ";
      write(item);
    }
    close(members.empty(), '}');
  }

  void next(bool first) {
    if (!first) out_ += width_ > 0 ? "," : ", ";
    line();
  }
  void close(bool empty, char bracket) {
    --level_;
    if (!empty) line();
    out_.push_back(bracket);
  }
  void line() {
    if (width_ > 0) out_ += "\n" + std::string(static_cast<size_t>(width_ * level_), ' ');
  }

  std::string& out_;
  int width_;
  bool padded_;  ///< exponents have two digits at least
  int level_ = 0;
};

const json::value* member(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

}  // namespace

json::object Conversation::variables(bool parse_arguments) const {
  json::object out = template_variables;
  json::array list;
  for (const Message& message : messages) {
    list.push_back(message_variables(message, parse_arguments));
  }
  out["messages"] = std::move(list);
  if (!tools.empty()) out["tools"] = tools;
  out["add_generation_prompt"] = add_generation_prompt;
  const std::optional<bool> switched =
      !thinking && reasoning_effort == "none" ? std::optional(false) : thinking;
  if (switched) {
    out["thinking"] = *switched;
    out["enable_thinking"] = *switched;
  }
  if (!reasoning_effort.empty()) out["reasoning_effort"] = reasoning_effort;
  return out;
}

bool Conversation::wants_thinking(bool fallback) const {
  if (thinking) return *thinking;
  for (const std::string_view name : {"thinking", "enable_thinking"}) {
    const json::value* value = member(template_variables, name);
    if (value != nullptr && value->is_bool()) return value->get_bool();
  }
  const std::string wanted = effort();
  return wanted.empty() ? fallback : wanted != "none";
}

std::string Conversation::effort() const {
  if (!reasoning_effort.empty()) return reasoning_effort;
  const json::value* value = member(template_variables, "reasoning_effort");
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

bool Conversation::uses_tools() const {
  return !tools.empty() || std::ranges::any_of(messages, [](const Message& message) {
    return message.role == "tool" || !message.tool_calls.empty();
  });
}

std::string python_json(const json::value& value) {
  return python_json_indented(value, 0);
}

std::string python_json_indented(const json::value& value, int width) {
  std::string out;
  PythonJson(out, width, true).write(value);
  return out;
}

std::string recipe_json(const json::value& value) {
  std::string out;
  PythonJson(out, 0, false).write(value);
  return out;
}

}  // namespace hadal
