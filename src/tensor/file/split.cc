#include "tensor/file/split.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "base/parse.h"

namespace hadal {
namespace {

constexpr size_t kDigits = 5;

/// Takes five digits off the end of `text`.
std::optional<uint32_t> take_number(std::string_view& text) {
  if (text.size() < kDigits) return std::nullopt;
  const std::string_view digits = text.substr(text.size() - kDigits);
  if (!std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    return std::nullopt;
  }
  text.remove_suffix(kDigits);
  return parse_int<uint32_t>(digits);
}

bool take_suffix(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

}  // namespace

std::optional<SplitName> parse_split_name(const std::filesystem::path& path) {
  const std::string file = path.filename().string();
  std::string_view text = file;
  if (!take_suffix(text, ".gguf")) return std::nullopt;
  const auto count = take_number(text);
  if (!count || !take_suffix(text, "-of-")) return std::nullopt;
  const auto part = take_number(text);
  if (!part || !take_suffix(text, "-")) return std::nullopt;
  if (*part == 0 || *part > *count) return std::nullopt;
  return SplitName{std::string(text), *part, *count};
}

std::string split_file_name(const SplitName& name, uint32_t part) {
  return fmt::format("{}-{:05}-of-{:05}.gguf", name.stem, part, name.count);
}

}  // namespace hadal
