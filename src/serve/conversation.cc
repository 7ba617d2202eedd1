#include "serve/conversation.h"

#include <algorithm>
#include <array>

#include "base/limits.h"
#include "serve/params.h"

namespace hadal {
namespace {

constexpr std::array<std::string_view, 5> kRoles = {"system", "user", "assistant", "tool",
                                                    "developer"};

std::string field_name(size_t index, std::string_view field) {
  return "messages[" + std::to_string(index) + "]." + std::string(field);
}

/// An optional string member; false when it is there but no string.
bool read_text(const json::object& object, std::string_view name, std::string& out) {
  const json::value* value = find_member(object, name);
  if (value == nullptr) return true;
  if (!value->is_string()) return false;
  out.assign(value->get_string().data(), value->get_string().size());
  return true;
}

Checked read_parts(const json::array& parts, const std::string& param, std::string& out) {
  for (const json::value& part : parts) {
    if (!part.is_object()) return invalid_param(param, "A content part must be an object.");
    std::string type;
    if (!read_text(part.get_object(), "type", type) || type.empty()) {
      return invalid_param(param, "A content part needs a 'type'.");
    }
    const json::value* text = find_member(part.get_object(), "text");
    if (type != "text" || text == nullptr || !text->is_string()) {
      ApiError error = invalid_param(
          param,
          "Only content parts {\"type\":\"text\",\"text\":...} are supported by this model.");
      error.code = "unsupported_content";
      return error;
    }
    out.append(text->get_string().data(), text->get_string().size());
  }
  return std::nullopt;
}

Checked read_tool_calls(const json::value& value, size_t index, std::vector<ToolCall>& out) {
  const std::string param = field_name(index, "tool_calls");
  const ApiError malformed =
      invalid_param(param, "'tool_calls' must be a list of {id, function: {name, arguments}}.");
  if (!value.is_array()) return malformed;
  for (const json::value& entry : value.get_array()) {
    if (!entry.is_object()) return malformed;
    const json::value* function = find_member(entry.get_object(), "function");
    if (function == nullptr || !function->is_object()) return malformed;
    ToolCall call;
    if (!read_text(entry.get_object(), "id", call.id) ||
        !read_text(function->get_object(), "name", call.name) || call.name.empty()) {
      return malformed;
    }
    const json::value* arguments = find_member(function->get_object(), "arguments");
    if (arguments != nullptr && arguments->is_object()) {
      call.arguments = to_json(*arguments);
    } else if (!read_text(function->get_object(), "arguments", call.arguments)) {
      return malformed;
    }
    out.push_back(std::move(call));
  }
  return std::nullopt;
}

Checked read_content(const json::object& object, size_t index, Message& message) {
  const std::string param = field_name(index, "content");
  const json::value* content = find_member(object, "content");
  if (content == nullptr) {
    message.has_content = false;
    if (message.role == "assistant") return std::nullopt;
    return invalid_param(param, "'content' is missing.");
  }
  if (content->is_array()) return read_parts(content->get_array(), param, message.content);
  if (!content->is_string()) {
    return invalid_param(param, "'content' must be a string or a list of text parts.");
  }
  message.content.assign(content->get_string().data(), content->get_string().size());
  return std::nullopt;
}

Checked read_message(const json::value& value, size_t index, Message& message) {
  if (!value.is_object()) {
    return invalid_param("messages[" + std::to_string(index) + "]", "A message must be an object.");
  }
  const json::object& object = value.get_object();
  if (!read_text(object, "role", message.role) ||
      std::find(kRoles.begin(), kRoles.end(), message.role) == kRoles.end()) {
    return invalid_param(field_name(index, "role"),
                         "'role' must be system, developer, user, assistant or tool.");
  }
  if (message.role == "developer") message.role = "system";
  if (Checked error = read_content(object, index, message)) return error;
  if (!read_text(object, "reasoning_content", message.reasoning) ||
      (message.reasoning.empty() && !read_text(object, "reasoning", message.reasoning))) {
    return invalid_param(field_name(index, "reasoning_content"), "It must be a string.");
  }
  if (!read_text(object, "tool_call_id", message.tool_call_id)) {
    return invalid_param(field_name(index, "tool_call_id"), "It must be a string.");
  }
  if (!read_text(object, "name", message.name)) {
    return invalid_param(field_name(index, "name"), "It must be a string.");
  }
  if (const json::value* calls = find_member(object, "tool_calls")) {
    return read_tool_calls(*calls, index, message.tool_calls);
  }
  return std::nullopt;
}

Checked read_tools(const json::object& body, Conversation& out) {
  const json::value* choice = find_member(body, "tool_choice");
  if (choice != nullptr && choice->is_string() && choice->get_string() == "none") {
    return std::nullopt;
  }
  const json::value* tools = find_member(body, "tools");
  if (tools == nullptr) return std::nullopt;
  if (!tools->is_array()) return invalid_param("tools", "'tools' must be a list.");
  for (const json::value& tool : tools->get_array()) {
    if (!tool.is_object()) return invalid_param("tools", "A tool must be an object.");
    const json::value* type = find_member(tool.get_object(), "type");
    // Tools of other kinds (a client's built-in ones) are skipped, not refused.
    if (type != nullptr && type->is_string() && type->get_string() != "function") continue;
    out.tools.push_back(tool);
  }
  return std::nullopt;
}

Checked read_flag(const json::object& body, std::string_view name, bool& out) {
  const json::value* value = find_member(body, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_bool()) {
    return invalid_param(name, "'" + std::string(name) + "' must be true or false.");
  }
  out = value->get_bool();
  return std::nullopt;
}

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

}  // namespace

json::object Conversation::variables(bool parse_arguments) const {
  json::object out = template_variables;
  json::array list;
  for (const Message& message : messages) {
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
    list.push_back(std::move(entry));
  }
  out["messages"] = std::move(list);
  if (!tools.empty()) out["tools"] = tools;
  out["add_generation_prompt"] = add_generation_prompt;
  return out;
}

Checked read_conversation(const json::object& body, Conversation& out) {
  const json::value* messages = find_member(body, "messages");
  if (messages == nullptr || !messages->is_array() || messages->get_array().empty()) {
    return invalid_param("messages", "'messages' must be a list with at least one message.");
  }
  const json::array& list = messages->get_array();
  if (list.size() > size_t{limits::kMessages}) {
    return invalid_param("messages", "'messages' has more than 16384 entries.");
  }
  out.messages.resize(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    if (Checked error = read_message(list[i], i, out.messages[i])) return error;
  }
  if (Checked error = read_tools(body, out)) return error;
  if (const json::value* variables = find_member(body, "chat_template_kwargs")) {
    if (!variables->is_object()) {
      return invalid_param("chat_template_kwargs", "'chat_template_kwargs' must be an object.");
    }
    out.template_variables = variables->get_object();
  }
  if (Checked error = read_flag(body, "add_generation_prompt", out.add_generation_prompt)) {
    return error;
  }
  bool go_on = false;
  if (Checked error = read_flag(body, "continue_final_message", go_on)) return error;
  if (go_on) {
    if (out.messages.back().role != "assistant") {
      return invalid_param("continue_final_message",
                           "'continue_final_message' needs an assistant message at the end.");
    }
    out.continue_final_message = true;
    out.add_generation_prompt = false;
  }
  return std::nullopt;
}

}  // namespace hadal
