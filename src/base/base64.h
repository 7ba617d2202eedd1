#pragma once
/// Base64 as RFC 4648 section 4 has it.
#include <optional>
#include <string>
#include <string_view>

namespace hadal {

/// With padding, without line breaks.
std::string base64_encode(std::string_view bytes);

/// nullopt for anything but base64_encode's form.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace hadal
