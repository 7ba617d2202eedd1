#pragma once
/// Text to numbers without exceptions, locale or silent prefixes.
#include <charconv>
#include <optional>
#include <string_view>

namespace hadal {

/// The whole of `text` as an integer in base 10, or nothing (empty, trailing bytes, out of range).
template <typename T>
std::optional<T> parse_int(std::string_view text) {
  T value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// The whole of `text` as a finite or infinite number, or nothing.
inline std::optional<double> parse_double(std::string_view text) {
  double value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace hadal
