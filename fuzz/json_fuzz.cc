/// Any bytes into parse_json(); what parses must survive to_json() and parse_json().
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/json.h"

namespace {

using hadal::json::kind;
using hadal::json::value;

bool is_number(const value& v) {
  return v.is_double() || v.is_int64() || v.is_uint64();
}

double number_of(const value& v) {
  if (v.is_double()) return v.get_double();
  return v.is_int64() ? static_cast<double>(v.get_int64()) : static_cast<double>(v.get_uint64());
}

bool same(const value& a, const value& b);

bool same_members(const hadal::json::object& a, const hadal::json::object& b) {
  if (a.size() != b.size()) return false;
  for (auto left = a.begin(), right = b.begin(); left != a.end(); ++left, ++right) {
    if (left->key() != right->key() || !same(left->value(), right->value())) return false;
  }
  return true;
}

bool same_elements(const hadal::json::array& a, const hadal::json::array& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!same(a[i], b[i])) return false;
  }
  return true;
}

/// Integers exactly. Doubles to a few units in the last place: Boost.JSON 1.81 reads about a third
/// of the 17-digit numbers one unit off. A double may come back as an integer (1e0 is written "1")
/// and an infinite one as null.
bool same(const value& a, const value& b) {
  if (a.is_double()) {
    const double x = a.get_double();
    if (!std::isfinite(x)) return b.is_null();
    if (!is_number(b)) return false;
    const double y = number_of(b);
    // At the very end of the range one unit more is infinity.
    return x == y || std::fabs(x - y) <= 1e-15 * std::fabs(x) + 1e-320 ||
           (std::isinf(y) && std::fabs(x) > 1.79e308);
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case kind::object:
      return same_members(a.get_object(), b.get_object());
    case kind::array:
      return same_elements(a.get_array(), b.get_array());
    case kind::string:
      return a.get_string() == b.get_string();
    default:
      return a == b;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto first = hadal::parse_json(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!first.ok()) {
    CHECK(!first.error().message.empty());
    return 0;
  }
  const auto second = hadal::parse_json(hadal::to_json(first.value()));
  CHECK(second.ok());
  CHECK(same(first.value(), second.value()));
  return 0;
}
