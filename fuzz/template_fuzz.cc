// Attacks the chat-template interpreter: template source, a NUL byte, then the variables as JSON.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/json.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t cut = std::min(input.find('\0'), input.size());
  const auto parsed = hadal::ChatTemplate::parse(input.substr(0, cut));
  if (!parsed.ok()) return 0;
  hadal::json::object variables;
  if (cut < input.size()) {
    const auto json = hadal::parse_json(input.substr(cut + 1));
    if (json.ok() && json.value().is_object()) variables = json.value().get_object();
  }
  const auto result = parsed.value().render(variables, {});
  if (result.ok()) CHECK(result.value().bytes.size() == result.value().origin.size());
  return 0;
}
