// Items of the Responses API to the canonical Conversation.
#include <algorithm>
#include <array>

#include "base/base64.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "serve/conversation.h"
#include "serve/dialects/responses.h"
#include "serve/params.h"

namespace hadal {
namespace {

constexpr std::string_view kSeal = "hadal1.";

std::string place(const std::string& param, size_t index) {
  return param + "[" + std::to_string(index) + "]";
}

std::string text_member(const json::object& object, std::string_view name) {
  const json::value* value = find_member(object, name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

/// Items of tools that run at the provider and of its housekeeping: nothing that a model here
/// knows.
bool is_hosted(std::string_view type) {
  constexpr std::array<std::string_view, 7> kOthers = {
      "mcp_list_tools",     "mcp_approval_request", "mcp_approval_response", "compaction",
      "compaction_trigger", "tool_search_output",   "additional_tools"};
  return type.ends_with("_call") || type.ends_with("_call_output") ||
         std::ranges::find(kOthers, type) != kOthers.end();
}

/// Turns items into messages. What an answer consisted of becomes one message again.
class ItemReader {
 public:
  ItemReader(const ResponseShelf& shelf, Conversation& out) : shelf_(shelf), out_(out) {}

  Checked read(const json::value& value, const std::string& param) {
    if (!value.is_object()) return invalid_param(param, "'" + param + "' must be an object.");
    const json::object& item = value.get_object();
    std::string type = text_member(item, "type");
    if (type.empty() && find_member(item, "role") != nullptr) type = "message";
    if (type.empty() && find_member(item, "id") != nullptr) type = "item_reference";
    if (type == "message") return message(item, param);
    if (type == "reasoning") return reasoning(item, param);
    if (type == "function_call") return call(item, "arguments", param);
    if (type == "custom_tool_call") return custom_call(item, param);
    if (type == "function_call_output" || type == "custom_tool_call_output") {
      return output(item, param);
    }
    if (type == "item_reference") return reference(item, param);
    if (is_hosted(type)) return std::nullopt;
    return invalid_param(param + ".type",
                         "Items of type '" + type.substr(0, 64) + "' are not known here.");
  }

 private:
  /// The assistant's message that is being put together.
  Message& answer() {
    if (!open_) {
      out_.messages.push_back({.role = "assistant", .has_content = false});
      open_ = true;
    }
    return out_.messages.back();
  }

  Checked parts(const json::value& content, const std::string& param, Message& message) {
    if (content.is_string()) {
      message.content = content.get_string();
      message.has_content = true;
      return std::nullopt;
    }
    if (!content.is_array()) {
      return invalid_param(param, "'" + param + "' must be a string or a list of parts.");
    }
    for (const json::value& part : content.get_array()) {
      if (!part.is_object()) return invalid_param(param, "A content part must be an object.");
      const std::string type = text_member(part.get_object(), "type");
      const bool text = type == "input_text" || type == "output_text" || type == "text";
      if (!text && type != "refusal") {
        ApiError error = invalid_param(param, "Content parts of type '" + type.substr(0, 64) +
                                                  "' are not supported by this model; send text.");
        error.code = "unsupported_content";
        return error;
      }
      std::string words;
      if (Checked error =
              needed_string(part.get_object(), text ? "text" : "refusal", param, words)) {
        return error;
      }
      message.content += words;
      message.parts.push_back(std::move(words));
    }
    message.has_content = true;
    return std::nullopt;
  }

  Checked message(const json::object& item, const std::string& param) {
    std::string role;
    if (Checked error = needed_string(item, "role", param, role)) return error;
    if (role == "developer") role = "system";
    if (role != "system" && role != "user" && role != "assistant") {
      return invalid_param(param + ".role", "'role' must be user, assistant, system or developer.");
    }
    const json::value* content = find_member(item, "content");
    if (content == nullptr) {
      return invalid_param(param + ".content", "'" + param + ".content' is missing.");
    }
    if (role != "assistant") {
      open_ = false;
      return parts(*content, param + ".content", out_.messages.emplace_back(Message{.role = role}));
    }
    if (open_ && (answer().has_content || !answer().tool_calls.empty())) open_ = false;
    return parts(*content, param + ".content", answer());
  }

  Checked reasoning(const json::object& item, const std::string& param) {
    std::string text;
    for (const char* list : {"content", "summary"}) {
      const json::value* entries = find_member(item, list);
      if (entries == nullptr) continue;
      if (!entries->is_array()) {
        return invalid_param(param + "." + list, "'" + param + "." + list + "' must be a list.");
      }
      std::string found;
      for (const json::value& entry : entries->get_array()) {
        if (!entry.is_object()) continue;
        if (!found.empty()) found += "\n\n";
        found += text_member(entry.get_object(), "text");
      }
      if (text.empty()) text = std::move(found);
      if (text.empty()) text = unseal_reasoning(text_member(item, "encrypted_content"));
    }
    if (text.empty()) text = unseal_reasoning(text_member(item, "encrypted_content"));
    if (text.empty()) return std::nullopt;
    if (open_ && (answer().has_content || !answer().tool_calls.empty())) open_ = false;
    answer().reasoning += text;
    return std::nullopt;
  }

  Checked call(const json::object& item, std::string_view field, const std::string& param) {
    ToolCall call;
    if (Checked error = needed_string(item, "call_id", param, call.id)) return error;
    if (Checked error = needed_string(item, "name", param, call.name)) return error;
    if (Checked error = needed_string(item, field, param, call.arguments)) return error;
    answer().tool_calls.push_back(std::move(call));
    return std::nullopt;
  }

  Checked custom_call(const json::object& item, const std::string& param) {
    if (Checked error = call(item, "input", param)) return error;
    std::string& text = answer().tool_calls.back().arguments;
    text = python_json(json::object{{"input", text}});
    return std::nullopt;
  }

  Checked output(const json::object& item, const std::string& param) {
    open_ = false;
    Message message{.role = "tool"};
    if (Checked error = needed_string(item, "call_id", param, message.tool_call_id)) return error;
    const json::value* text = find_member(item, "output");
    if (text == nullptr) {
      return invalid_param(param + ".output", "'" + param + ".output' is missing.");
    }
    if (Checked error = parts(*text, param + ".output", message)) return error;
    out_.messages.push_back(std::move(message));
    return std::nullopt;
  }

  Checked reference(const json::object& item, const std::string& param) {
    std::string id;
    if (Checked error = needed_string(item, "id", param, id)) return error;
    const size_t first = id.find('_');
    const size_t last = id.rfind('_');
    if (first != std::string::npos && last > first && shelf_.store != nullptr) {
      const auto found = shelf_.store->find(shelf_.owner, "resp" + id.substr(first, last - first),
                                            shelf_.env->now_micros());
      if (found && found->turn) {
        for (const json::array* list : {&found->turn->input, &found->turn->output}) {
          for (const json::value& stored : *list) {
            const json::object& candidate = stored.get_object();
            // A reference that was stored would lead on without end.
            if (text_member(candidate, "id") == id &&
                text_member(candidate, "type") != "item_reference") {
              return read(stored, param);
            }
          }
        }
      }
    }
    return ApiError{.status = 400,
                    .code = "item_not_found",
                    .message = "Item '" + id.substr(0, 100) + "' is not stored here.",
                    .param = param + ".id"};
  }

  const ResponseShelf& shelf_;
  Conversation& out_;
  bool open_ = false;  ///< the last message is the answer that items still belong to
};

Checked read_previous(const json::object& body, const ResponseShelf& shelf, ResponsesRequest& out) {
  std::string id;
  if (Checked error = read_string(body, "previous_response_id", id)) return error;
  if (id.empty()) return std::nullopt;
  std::optional<StoredResponse> found;
  if (shelf.store != nullptr) {
    found = shelf.store->find(shelf.owner, id, shelf.env->now_micros());
  }
  if (!found) {
    return ApiError{.status = 400,
                    .code = "previous_response_not_found",
                    .message = "Previous response with id '" + id.substr(0, 100) + "' not found.",
                    .param = "previous_response_id"};
  }
  if (found->unfinished()) {
    return invalid_param("previous_response_id", "The previous response is not complete yet.");
  }
  if (found->turn->length >= limits::kResponseChain) {
    return invalid_param("previous_response_id",
                         "More than 1024 responses build on each other; send the items instead.");
  }
  out.previous = found->turn;
  std::vector<const ResponseTurn*> turns;
  for (const ResponseTurn* turn = out.previous.get(); turn != nullptr;
       turn = turn->previous.get()) {
    turns.push_back(turn);
  }
  json::array items;
  for (auto turn = turns.rbegin(); turn != turns.rend(); ++turn) {
    items.insert(items.end(), (*turn)->input.begin(), (*turn)->input.end());
    items.insert(items.end(), (*turn)->output.begin(), (*turn)->output.end());
  }
  return read_response_items(items, "previous_response_id", shelf, out.conversation);
}

/// Each item gets a type and an id; the text of a message becomes a part.
json::array normal_items(const json::value& input, const std::string& response_id) {
  json::array items;
  if (input.is_string()) {
    items.push_back(json::object{{"type", "message"}, {"role", "user"}, {"content", input}});
  } else {
    items = input.get_array();
  }
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].is_object()) continue;
    json::object& item = items[i].get_object();
    if (find_member(item, "type") == nullptr && find_member(item, "role") != nullptr) {
      item["type"] = "message";
    }
    const std::string type = text_member(item, "type");
    if (!type.empty() && type != "item_reference" && find_member(item, "id") == nullptr) {
      const std::string_view kind = type == "message"         ? "msg"
                                    : type == "reasoning"     ? "rs"
                                    : type == "function_call" ? "fc"
                                                              : "item";
      item["id"] = response_item_id(kind, response_id, "i" + std::to_string(i));
    }
    json::value* content = item.if_contains("content");
    if (type == "message" && content != nullptr && content->is_string()) {
      const bool answer = text_member(item, "role") == "assistant";
      json::object part{{"type", answer ? "output_text" : "input_text"}, {"text", *content}};
      if (answer) part["annotations"] = json::array{};
      *content = json::array{std::move(part)};
    }
  }
  return items;
}

/// One string, as the grammar of a custom tool wants it.
json::object custom_tool(const json::object& tool) {
  std::string hint = "Free text, exactly as the tool wants it.";
  const json::value* format = find_member(tool, "format");
  if (format != nullptr && format->is_object()) {
    const std::string grammar = text_member(format->get_object(), "definition");
    if (!grammar.empty()) {
      hint = "Free text that fits this grammar (" + text_member(format->get_object(), "syntax") +
             "):\n" + grammar;
    }
  }
  const json::object input{{"type", "string"}, {"description", hint}};
  json::object function{{"name", *find_member(tool, "name")}};
  if (const json::value* description = find_member(tool, "description")) {
    function["description"] = *description;
  }
  function["parameters"] = json::object{{"type", "object"},
                                        {"properties", json::object{{"input", input}}},
                                        {"required", json::array{"input"}}};
  return function;
}

Checked read_tool(const json::object& tool, const std::string& param, ResponsesRequest& out) {
  const std::string type = text_member(tool, "type");
  if (type != "function" && type != "custom") return std::nullopt;  // not ours to run
  const json::value* nested = find_member(tool, "function");
  const json::object& described =
      nested != nullptr && nested->is_object() ? nested->get_object() : tool;
  std::string name;
  if (Checked error = needed_string(described, "name", param, name)) return error;
  if (name.empty()) return invalid_param(param + ".name", "'" + param + ".name' is empty.");
  json::object function;
  if (type == "custom") {
    out.custom_tools.insert(name);
    function = custom_tool(described);
  } else {
    for (const char* member : {"name", "description", "parameters"}) {
      if (const json::value* value = find_member(described, member)) function[member] = *value;
    }
    const json::value* parameters = find_member(described, "parameters");
    if (parameters != nullptr && !parameters->is_object()) {
      return invalid_param(param + ".parameters", "'" + param + ".parameters' must be an object.");
    }
    const json::value* strict = find_member(described, "strict");
    if (strict != nullptr && strict->is_bool() && strict->get_bool()) function["strict"] = true;
  }
  out.conversation.tools.push_back(
      json::object{{"type", "function"}, {"function", std::move(function)}});
  return std::nullopt;
}

/// {"type":"allowed_tools","mode","tools"}: all others are not offered.
Checked allow_tools(const json::object& choice, Conversation& out) {
  const json::value* allowed = find_member(choice, "tools");
  if (allowed == nullptr || !allowed->is_array()) {
    return invalid_param("tool_choice", "'tool_choice.tools' must be a list.");
  }
  std::set<std::string> names;
  for (const json::value& tool : allowed->get_array()) {
    if (tool.is_object()) names.insert(text_member(tool.get_object(), "name"));
  }
  json::array kept;
  for (const json::value& tool : out.tools) {
    const json::object& function = find_member(tool.get_object(), "function")->get_object();
    if (names.contains(text_member(function, "name"))) kept.push_back(tool);
  }
  out.tools = std::move(kept);
  out.tool_required = text_member(choice, "mode") == "required";
  return std::nullopt;
}

Checked read_tool_choice(const json::object& body, Conversation& out) {
  const json::value* choice = find_member(body, "tool_choice");
  if (choice == nullptr) return std::nullopt;
  if (choice->is_string()) {
    if (take_tool_choice(std::string_view(choice->get_string()), out)) return std::nullopt;
  } else if (choice->is_object()) {
    const json::object& object = choice->get_object();
    if (text_member(object, "type") == "allowed_tools") return allow_tools(object, out);
    return offer_one_tool(text_member(object, "name"), out);
  }
  return invalid_param("tool_choice",
                       "'tool_choice' must be none, auto, required or an object naming a tool.");
}

Checked read_tools(const json::object& body, ResponsesRequest& out) {
  if (const json::value* tools = find_member(body, "tools")) {
    if (!tools->is_array()) return invalid_param("tools", "'tools' must be a list.");
    for (size_t i = 0; i < tools->get_array().size(); ++i) {
      const json::value& tool = tools->get_array()[i];
      const std::string param = place("tools", i);
      if (!tool.is_object()) return invalid_param(param, "A tool must be an object.");
      if (Checked error = read_tool(tool.get_object(), param, out)) return error;
    }
  }
  bool parallel = true;
  if (Checked error = read_flag(body, "parallel_tool_calls", parallel)) return error;
  out.conversation.one_call = !parallel;
  return read_tool_choice(body, out.conversation);
}

Checked read_reasoning(const json::object& body, Conversation& out) {
  const json::value* reasoning = find_member(body, "reasoning");
  if (reasoning == nullptr) return std::nullopt;
  if (!reasoning->is_object()) {
    return invalid_param("reasoning", "'reasoning' must be an object.");
  }
  std::string summary;
  if (read_string(reasoning->get_object(), "summary", summary)) {
    return invalid_param("reasoning.summary", "'reasoning.summary' must be a string.");
  }
  return read_effort(reasoning->get_object(), "effort", "reasoning.effort", out);
}

Checked read_switches(const json::object& body, ResponsesRequest& out) {
  if (Checked error = read_flag(body, "store", out.store)) return error;
  if (Checked error = read_flag(body, "background", out.background)) return error;
  if (find_member(body, "conversation") != nullptr) {
    ApiError error = invalid_param("conversation",
                                   "Conversations are not kept here; use 'previous_response_id'.");
    error.code = "unsupported";
    return error;
  }
  if (const json::value* metadata = find_member(body, "metadata")) {
    if (!metadata->is_object() || metadata->get_object().size() > limits::kResponseMetadata) {
      return invalid_param("metadata", "'metadata' must be an object of at most 16 members.");
    }
  }
  const json::value* include = find_member(body, "include");
  if (include == nullptr) return std::nullopt;
  if (!include->is_array()) return invalid_param("include", "'include' must be a list.");
  for (const json::value& entry : include->get_array()) {
    if (!entry.is_string()) return invalid_param("include", "'include' must hold strings only.");
    if (entry.get_string() == "reasoning.encrypted_content") out.encrypted_reasoning = true;
    if (entry.get_string() == "message.output_text.logprobs") out.logprobs = true;
  }
  return std::nullopt;
}

}  // namespace

std::string response_item_id(std::string_view kind, std::string_view response_id,
                             std::string_view suffix) {
  std::string id(kind);
  id += response_id.substr(std::min(response_id.size(), response_id.find('_')));
  id += '_';
  id += suffix;
  return id;
}

std::string seal_reasoning(std::string_view reasoning) {
  return std::string(kSeal) + base64_encode(reasoning);
}

std::string unseal_reasoning(std::string_view sealed) {
  if (!sealed.starts_with(kSeal)) return {};
  const auto text = base64_decode(sealed.substr(kSeal.size()));
  return text && utf8_valid(*text) ? *text : std::string();
}

Checked read_response_items(const json::array& items, const std::string& param,
                            const ResponseShelf& shelf, Conversation& out) {
  if (items.size() > size_t{limits::kMessages}) {
    return invalid_param(param, "There are more than 16384 items.");
  }
  ItemReader reader(shelf, out);
  for (size_t i = 0; i < items.size(); ++i) {
    if (Checked error = reader.read(items[i], place(param, i))) return error;
  }
  for (Message& message : out.messages) {  // only calls may stand without a text
    if (message.tool_calls.empty()) message.has_content = true;
  }
  return std::nullopt;
}

Checked read_responses(const json::object& body, const std::string& id, const ResponseShelf& shelf,
                       ResponsesRequest& out) {
  const json::value* input = find_member(body, "input");
  if (input == nullptr || (!input->is_string() && !input->is_array())) {
    return invalid_param("input", "'input' must be a string or a list of items.");
  }
  std::string instructions;
  if (Checked error = read_string(body, "instructions", instructions)) return error;
  if (!instructions.empty()) {
    out.conversation.messages.push_back({.role = "system", .content = std::move(instructions)});
  }
  if (Checked error = read_previous(body, shelf, out)) return error;
  out.input = normal_items(*input, id);
  if (Checked error = read_response_items(out.input, "input", shelf, out.conversation)) {
    return error;
  }
  if (out.conversation.messages.empty()) {
    return invalid_param("input", "'input' has no message.");
  }
  if (Checked error = read_tools(body, out)) return error;
  if (Checked error = read_reasoning(body, out.conversation)) return error;
  return read_switches(body, out);
}

}  // namespace hadal
