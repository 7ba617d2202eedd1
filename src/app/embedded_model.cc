#include "app/embedded_model.h"

#include <string>

extern "C" {
extern const std::byte hadal_nano_begin[];
extern const std::byte hadal_nano_end[];
}

namespace hadal {
namespace {

constexpr std::string_view kPath = "nano (inside the program)";

}  // namespace

std::span<const std::byte> embedded_model() {
  return {hadal_nano_begin, static_cast<size_t>(hadal_nano_end - hadal_nano_begin)};
}

std::filesystem::path embedded_model_path() {
  return kPath;
}

bool is_embedded_model(const std::filesystem::path& path) {
  return path == kPath;
}

}  // namespace hadal
