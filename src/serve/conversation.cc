#include "serve/conversation.h"

#include <algorithm>
#include <array>

#include "base/limits.h"
#include "serve/params.h"

namespace hadal {
namespace {

constexpr std::array<std::string_view, 6> kRoles = {"system", "user",      "assistant",
                                                    "tool",   "developer", "latest_reminder"};
constexpr std::array<std::string_view, 8> kEfforts = {"none", "minimal", "low", "medium",
                                                      "high", "xhigh",   "max", "ultra"};

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

Checked read_parts(const json::array& parts, const std::string& param, Message& out) {
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
    out.parts.emplace_back(text->get_string());
    out.content += out.parts.back();
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
      call.arguments = python_json(*arguments);
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
  if (content->is_array()) return read_parts(content->get_array(), param, message);
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

std::string_view tool_name(const json::value& tool) {
  const json::value* function = find_member(tool.get_object(), "function");
  if (function == nullptr || !function->is_object()) return {};
  const json::value* name = find_member(function->get_object(), "name");
  return name != nullptr && name->is_string() ? std::string_view(name->get_string())
                                              : std::string_view();
}

/// "auto", "none", "required" or one function by name: then only that one is offered.
Checked read_tool_choice(const json::object& body, Conversation& out) {
  const json::value* choice = find_member(body, "tool_choice");
  if (choice == nullptr) return std::nullopt;
  if (choice->is_string()) {
    if (take_tool_choice(std::string_view(choice->get_string()), out)) return std::nullopt;
  } else if (choice->is_object()) {
    return offer_one_tool(std::string(tool_name(*choice)), out);
  }
  return invalid_param(
      "tool_choice", "'tool_choice' must be none, auto, required or {\"type\":\"function\",...}.");
}

Checked read_tools(const json::object& body, Conversation& out) {
  const json::value* tools = find_member(body, "tools");
  if (tools != nullptr) {
    if (!tools->is_array()) return invalid_param("tools", "'tools' must be a list.");
    for (const json::value& tool : tools->get_array()) {
      if (!tool.is_object()) return invalid_param("tools", "A tool must be an object.");
      const json::value* type = find_member(tool.get_object(), "type");
      // Tools of other kinds (a client's built-in ones) are skipped, not refused.
      if (type != nullptr && type->is_string() && type->get_string() != "function") continue;
      out.tools.push_back(tool);
    }
  }
  bool parallel = true;
  if (Checked error = read_flag(body, "parallel_tool_calls", parallel)) return error;
  out.one_call = !parallel;
  return read_tool_choice(body, out);
}

/// {"thinking": {"type": "enabled" | "disabled"}} and reasoning_effort.
Checked read_thinking(const json::object& body, Conversation& out) {
  if (const json::value* thinking = find_member(body, "thinking")) {
    std::string type;
    if (!thinking->is_object() || !read_text(thinking->get_object(), "type", type) ||
        (type != "enabled" && type != "disabled")) {
      return invalid_param("thinking", "'thinking' must be {\"type\":\"enabled\"} or disabled.");
    }
    out.thinking = type == "enabled";
  }
  return read_effort(body, "reasoning_effort", "reasoning_effort", out);
}

/// An assistant's last message may be one that the model goes on with.
Checked read_continuation(const json::object& body, const json::value& last, Conversation& out) {
  bool go_on = false;
  if (Checked error = read_flag(body, "continue_final_message", go_on)) return error;
  const json::value* prefix = find_member(last.get_object(), "prefix");
  const bool prefixed = prefix != nullptr && prefix->is_bool() && prefix->get_bool();
  if (!go_on && !prefixed) return std::nullopt;
  if (out.messages.back().role != "assistant") {
    return invalid_param(go_on ? "continue_final_message" : "messages",
                         "Only an assistant message at the end can be continued.");
  }
  out.continue_final_message = true;
  out.add_generation_prompt = false;
  return std::nullopt;
}

}  // namespace

Checked read_effort(const json::object& body, std::string_view name, std::string_view param,
                    Conversation& out) {
  if (!read_text(body, name, out.reasoning_effort) ||
      (!out.reasoning_effort.empty() &&
       std::ranges::find(kEfforts, out.reasoning_effort) == kEfforts.end())) {
    return invalid_param(
        param, "'" + std::string(param) + "' must be none, minimal, low, medium, high or max.");
  }
  return std::nullopt;
}

Checked offer_one_tool(std::string_view name, Conversation& out) {
  for (const json::value& tool : out.tools) {
    if (name.empty() || tool_name(tool) != name) continue;
    out.tools = json::array{json::value(tool)};
    out.tool_required = true;
    return std::nullopt;
  }
  return invalid_param("tool_choice", "'tool_choice' names a function that 'tools' lacks.");
}

bool take_tool_choice(std::string_view word, Conversation& out) {
  if (word == "none") out.tools.clear();
  if (word == "required") out.tool_required = true;
  return word == "none" || word == "required" || word == "auto";
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
  if (Checked error = read_thinking(body, out)) return error;
  if (const json::value* variables = find_member(body, "chat_template_kwargs")) {
    if (!variables->is_object()) {
      return invalid_param("chat_template_kwargs", "'chat_template_kwargs' must be an object.");
    }
    out.template_variables = variables->get_object();
  }
  if (Checked error = read_flag(body, "add_generation_prompt", out.add_generation_prompt)) {
    return error;
  }
  return read_continuation(body, list[list.size() - 1], out);
}

}  // namespace hadal
