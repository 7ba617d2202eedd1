#include "text/codec/writer.h"

namespace hadal {

std::string joined_system(const Conversation& conversation) {
  std::string out;
  bool first = true;
  for (const Message& message : conversation.messages) {
    if (message.role != "system") continue;
    if (!std::exchange(first, false)) out += "\n\n";
    out += message.content;
  }
  return out;
}

const json::object* function_of(const json::value& tool) {
  if (!tool.is_object()) return nullptr;
  const json::value* function = tool.get_object().if_contains("function");
  return function != nullptr && function->is_object() ? &function->get_object() : nullptr;
}

std::string_view string_member(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_string()) return {};
  return value->get_string();
}

size_t behind_last_user(const Conversation& conversation) {
  for (size_t i = conversation.messages.size(); i > 0; --i) {
    if (conversation.messages[i - 1].role == "user") return i;
  }
  return 0;
}

bool is_continued(const Conversation& conversation, size_t index) {
  return conversation.continue_final_message && index + 1 == conversation.messages.size();
}

}  // namespace hadal
