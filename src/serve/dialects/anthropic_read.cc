// Anthropic's blocks to the canonical Conversation.
#include <algorithm>
#include <array>

#include "base/limits.h"
#include "serve/conversation.h"
#include "serve/dialects/anthropic.h"
#include "serve/params.h"

namespace hadal {
namespace {

/// A line by which one client tells the provider of its version; new in every request, so that no
/// prompt would begin like the last one.
constexpr std::string_view kAttribution = "x-anthropic-billing-header:";

/// Blocks of tools that run at the provider, and what only the provider can read.
constexpr std::array<std::string_view, 10> kSkippedBlocks = {
    "redacted_thinking",
    "server_tool_use",
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "mcp_tool_use",
    "mcp_tool_result",
    "container_upload"};

std::string place(const std::string& param, size_t index) {
  return param + "." + std::to_string(index);
}

ApiError unsupported_block(const std::string& param, const std::string& type) {
  ApiError error = invalid_param(
      param,
      param + ": blocks of type '" + type.substr(0, 64) +
          "' are not supported by this model; send text, thinking, tool_use or tool_result.");
  error.code = "unsupported_content";
  return error;
}

void add_text(std::string text, Message& out) {
  out.content += text;
  out.parts.push_back(std::move(text));
}

/// Calls `read(block, type, where)` for each block of a list.
template <typename Read>
Checked for_each_block(const json::array& blocks, const std::string& param, const Read& read) {
  for (size_t i = 0; i < blocks.size(); ++i) {
    const std::string where = place(param, i);
    if (!blocks[i].is_object()) return invalid_param(where, where + ": a block is an object.");
    const json::object& block = blocks[i].get_object();
    std::string type;
    if (Checked error = needed_string(block, "type", where, type)) return error;
    if (Checked error = read(block, type, where)) return error;
  }
  return std::nullopt;
}

/// A string, or a list of text blocks.
Checked read_texts(const json::value& value, const std::string& param, Message& out) {
  if (value.is_string()) {
    out.content = value.get_string();
    return std::nullopt;
  }
  if (!value.is_array()) {
    return invalid_param(param, param + ": a string or a list of blocks is needed.");
  }
  return for_each_block(
      value.get_array(), param,
      [&](const json::object& block, const std::string& type, const std::string& where) -> Checked {
        if (type != "text") return unsupported_block(where, type);
        std::string text;
        if (Checked error = needed_string(block, "text", where, text)) return error;
        if (!text.starts_with(kAttribution)) add_text(std::move(text), out);
        return std::nullopt;
      });
}

Checked read_system(const json::object& body, Conversation& out) {
  const json::value* system = find_member(body, "system");
  if (system == nullptr) return std::nullopt;
  Message message{.role = "system"};
  if (Checked error = read_texts(*system, "system", message)) return error;
  if (!message.content.empty()) out.messages.push_back(std::move(message));
  return std::nullopt;
}

Checked read_tool_result(const json::object& block, const std::string& where, Message& out) {
  out.role = "tool";
  if (Checked error = needed_string(block, "tool_use_id", where, out.tool_call_id)) return error;
  const json::value* content = find_member(block, "content");
  return content == nullptr ? std::nullopt : read_texts(*content, where + ".content", out);
}

/// Results of tools become messages of their own, before what the user says beside them.
Checked read_user(const json::value& content, const std::string& param, Conversation& out) {
  Message message{.role = "user"};
  if (!content.is_array()) {
    if (Checked error = read_texts(content, param, message)) return error;
    out.messages.push_back(std::move(message));
    return std::nullopt;
  }
  bool results = false;
  Checked problem = for_each_block(
      content.get_array(), param,
      [&](const json::object& block, const std::string& type, const std::string& where) -> Checked {
        if (type == "tool_result") {
          results = true;
          return read_tool_result(block, where, out.messages.emplace_back());
        }
        if (std::ranges::find(kSkippedBlocks, type) != kSkippedBlocks.end()) return std::nullopt;
        if (type != "text") return unsupported_block(where, type);
        std::string text;
        if (Checked error = needed_string(block, "text", where, text)) return error;
        add_text(std::move(text), message);
        return std::nullopt;
      });
  if (problem) return problem;
  if (!results || !message.parts.empty()) out.messages.push_back(std::move(message));
  return std::nullopt;
}

Checked read_tool_use(const json::object& block, const std::string& where, Message& out) {
  ToolCall call;
  if (Checked error = needed_string(block, "id", where, call.id)) return error;
  if (Checked error = needed_string(block, "name", where, call.name)) return error;
  const json::value* input = find_member(block, "input");
  if (input != nullptr && !input->is_object()) {
    return invalid_param(where + ".input", where + ".input: an object is needed.");
  }
  call.arguments = input == nullptr ? "{}" : python_json(*input);
  out.tool_calls.push_back(std::move(call));
  return std::nullopt;
}

Checked read_assistant(const json::value& content, const std::string& param, Conversation& out) {
  Message& message = out.messages.emplace_back();
  message.role = "assistant";
  if (!content.is_array()) return read_texts(content, param, message);
  Checked problem = for_each_block(
      content.get_array(), param,
      [&](const json::object& block, const std::string& type, const std::string& where) -> Checked {
        if (type == "tool_use") return read_tool_use(block, where, message);
        if (std::ranges::find(kSkippedBlocks, type) != kSkippedBlocks.end()) return std::nullopt;
        const bool thinking = type == "thinking";
        if (!thinking && type != "text") return unsupported_block(where, type);
        std::string text;
        if (Checked error = needed_string(block, type, where, text)) return error;
        if (thinking) {
          message.reasoning += text;
        } else {
          add_text(std::move(text), message);
        }
        return std::nullopt;
      });
  message.has_content = !message.parts.empty() || message.tool_calls.empty();
  return problem;
}

Checked read_messages(const json::object& body, Conversation& out) {
  const json::value* messages = find_member(body, "messages");
  if (messages == nullptr || !messages->is_array() || messages->get_array().empty()) {
    return invalid_param("messages", "messages: a list with at least one message is needed.");
  }
  const json::array& list = messages->get_array();
  if (list.size() > size_t{limits::kMessages}) {
    return invalid_param("messages", "messages: there are more than 16384.");
  }
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = place("messages", i);
    if (!list[i].is_object()) return invalid_param(where, where + ": a message is an object.");
    const json::object& object = list[i].get_object();
    std::string role;
    if (Checked error = needed_string(object, "role", where, role)) return error;
    const std::string param = where + ".content";
    const json::value* content = find_member(object, "content");
    if (content == nullptr) return invalid_param(param, param + ": it is missing.");
    Checked problem;
    if (role == "user") {
      problem = read_user(*content, param, out);
    } else if (role == "assistant") {
      problem = read_assistant(*content, param, out);
    } else if (role == "system") {
      problem = read_texts(*content, param, out.messages.emplace_back(Message{.role = role}));
    } else {
      problem = invalid_param(where + ".role", where + ".role: it must be user or assistant.");
    }
    if (problem) return problem;
  }
  if (out.messages.back().role == "assistant" && out.messages.back().tool_calls.empty()) {
    out.continue_final_message = true;
    out.add_generation_prompt = false;
  }
  return std::nullopt;
}

Checked read_tool(const json::object& tool, const std::string& where, Conversation& out) {
  const json::value* type = find_member(tool, "type");
  // Other types are tools of the provider, which nobody runs here.
  if (type != nullptr && (!type->is_string() || type->get_string() != "custom")) {
    return std::nullopt;
  }
  json::object function;
  std::string name;
  if (Checked error = needed_string(tool, "name", where, name)) return error;
  if (name.empty()) return invalid_param(where + ".name", where + ".name: it is empty.");
  function["name"] = name;
  if (const json::value* description = find_member(tool, "description")) {
    function["description"] = *description;
  }
  const json::value* schema = find_member(tool, "input_schema");
  if (schema != nullptr && !schema->is_object()) {
    return invalid_param(where + ".input_schema", where + ".input_schema: an object is needed.");
  }
  function["parameters"] = schema != nullptr ? *schema : json::value(json::object{});
  const json::value* strict = find_member(tool, "strict");
  if (strict != nullptr && strict->is_bool() && strict->get_bool()) function["strict"] = true;
  out.tools.push_back(json::object{{"type", "function"}, {"function", std::move(function)}});
  return std::nullopt;
}

Checked read_tool_choice(const json::object& body, Conversation& out) {
  const json::value* choice = find_member(body, "tool_choice");
  if (choice == nullptr) return std::nullopt;
  std::string type;
  if (!choice->is_object())
    return invalid_param("tool_choice", "tool_choice: an object is needed.");
  const json::object& object = choice->get_object();
  if (Checked error = needed_string(object, "type", "tool_choice", type)) return error;
  if (Checked error = read_flag(object, "disable_parallel_tool_use", out.one_call)) return error;
  if (type == "auto") return std::nullopt;
  if (type == "none") {
    out.tools.clear();
    return std::nullopt;
  }
  if (type == "any") {
    out.tool_required = true;
    return std::nullopt;
  }
  if (type != "tool") {
    return invalid_param("tool_choice", "tool_choice.type: it must be auto, any, tool or none.");
  }
  std::string name;
  if (Checked error = needed_string(object, "name", "tool_choice", name)) return error;
  return offer_one_tool(name, out);
}

Checked read_tools(const json::object& body, Conversation& out) {
  if (const json::value* tools = find_member(body, "tools")) {
    if (!tools->is_array()) return invalid_param("tools", "tools: a list is needed.");
    for (size_t i = 0; i < tools->get_array().size(); ++i) {
      const std::string where = place("tools", i);
      const json::value& tool = tools->get_array()[i];
      if (!tool.is_object()) return invalid_param(where, where + ": a tool is an object.");
      if (Checked error = read_tool(tool.get_object(), where, out)) return error;
    }
  }
  return read_tool_choice(body, out);
}

/// Budgets in tokens are accepted and mean nothing: no model here can count its own.
Checked read_thinking(const json::object& body, Conversation& out) {
  if (const json::value* thinking = find_member(body, "thinking")) {
    std::string type;
    if (!thinking->is_object()) return invalid_param("thinking", "thinking: an object is needed.");
    if (Checked error = needed_string(thinking->get_object(), "type", "thinking", type)) {
      return error;
    }
    const bool on = type == "enabled" || type == "adaptive" || type == "between_tools";
    if (!on && type != "disabled") {
      return invalid_param("thinking",
                           "thinking.type: it must be enabled, adaptive, between_tools or "
                           "disabled.");
    }
    out.thinking = on;
  }
  const json::value* config = find_member(body, "output_config");
  if (config == nullptr) return std::nullopt;
  if (!config->is_object()) {
    return invalid_param("output_config", "output_config: an object is needed.");
  }
  return read_effort(config->get_object(), "effort", "output_config.effort", out);
}

}  // namespace

Checked read_anthropic(const json::object& body, Conversation& out) {
  if (Checked error = read_system(body, out)) return error;
  if (Checked error = read_messages(body, out)) return error;
  if (Checked error = read_tools(body, out)) return error;
  return read_thinking(body, out);
}

Checked read_anthropic_format(const json::object& body, AnswerFormat& out) {
  if (const json::value* format = find_member(body, "output_format")) {
    return read_typed_format(*format, "output_format", out);
  }
  const json::value* config = find_member(body, "output_config");
  if (config == nullptr || !config->is_object()) return std::nullopt;
  const json::value* format = find_member(config->get_object(), "format");
  return format == nullptr ? std::nullopt : read_typed_format(*format, "output_config.format", out);
}

}  // namespace hadal
