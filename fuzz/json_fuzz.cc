/// Any bytes into parse_json(); what parses must survive to_json() and parse_json() unchanged.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using hadal::parse_json;
  using hadal::to_json;
  const auto first = parse_json(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!first.ok()) {
    CHECK(!first.error().message.empty());
    return 0;
  }
  // Compared as text: a number may change its kind (1e0 comes back as the integer 1) and an
  // overflowing one becomes null, but writing must be stable from the first time on.
  const std::string text = to_json(first.value());
  const auto second = parse_json(text);
  CHECK(second.ok());
  CHECK(to_json(second.value()) == text);
  return 0;
}
