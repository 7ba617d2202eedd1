#pragma once
/// Text to numbers without exceptions, locale or silent prefixes.
#include <charconv>
#include <cstdint>
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

/// A size such as "512MiB", "4GiB", "1.5 GB" or "4096": KiB, MiB, GiB and TiB count in 1024, KB,
/// MB, GB and TB in 1000, no unit means bytes. Nothing for all else, and below 0 or above 2^60.
inline std::optional<uint64_t> parse_bytes(std::string_view text) {
  struct Unit {
    std::string_view name;
    double bytes;
  };
  constexpr Unit kUnits[] = {{"KiB", 1024},   {"MiB", 0x1p20}, {"GiB", 0x1p30},
                             {"TiB", 0x1p40}, {"KB", 1e3},     {"MB", 1e6},
                             {"GB", 1e9},     {"TB", 1e12},    {"B", 1}};
  double scale = 1;
  for (const Unit& unit : kUnits) {
    if (!text.ends_with(unit.name)) continue;
    scale = unit.bytes;
    text.remove_suffix(unit.name.size());
    if (text.ends_with(' ')) text.remove_suffix(1);
    break;
  }
  const std::optional<double> value = parse_double(text);
  if (!value || !(*value >= 0 && *value * scale <= 0x1p60)) return std::nullopt;
  return static_cast<uint64_t>(*value * scale);
}

}  // namespace hadal
