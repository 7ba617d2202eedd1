#pragma once
/// Random schemas for tests.
#include <cstdint>
#include <iterator>
#include <random>
#include <string>

#include "base/json.h"

namespace hadal::testing {

/// Random schemas of the keywords that are accepted. `bounded`: of values of limited size, so that
/// whoever writes at random comes to an end.
class SchemaMaker {
 public:
  explicit SchemaMaker(uint64_t seed, bool bounded = false) : random_(seed), bounded_(bounded) {}

  json::value make(int depth) {
    switch (random_() % (depth > 0 ? 10 : 6)) {
      case 0:
        return string();
      case 1:
        return number("integer");
      case 2:
        return number("number");
      case 3:
        return json::object{{"enum", json::array{"red", "green \"x\"", 3, nullptr, -2.5}}};
      case 4:
        return json::object{{"type", pick() ? "boolean" : "null"}};
      case 5:
        return json::object{{"type", json::array{"string", "null"}}, {"maxLength", below(9)}};
      case 6:
      case 7:
        return object(depth);
      case 8:
        return array(depth);
      default:
        if (pick()) return json::object{{"anyOf", json::array{make(depth - 1), make(depth - 1)}}};
        return json::object{{"oneOf", json::array{tagged("a", depth), tagged("b", depth)}}};
    }
  }

 private:
  bool pick() { return random_() % 2 == 0; }
  int64_t below(uint64_t n) { return static_cast<int64_t>(random_() % n); }

  json::value string() {
    json::object out{{"type", "string"}};
    if (pick()) {
      const int64_t min = below(4);
      out["minLength"] = min;
      out["maxLength"] = min + below(12);
    } else if (pick()) {
      constexpr const char* kPatterns[] = {
          "^[a-z]{2,5}$", "^[A-Z][a-z]*(-[0-9]+)?$", "b", "^(ab|cd)+$",
          "^[^x]*$",      "^[a-z0-9_]{1,40}$"};
      out["pattern"] = kPatterns[random_() % std::size(kPatterns)];
    }
    if (bounded_ && !out.contains("maxLength")) out["maxLength"] = 6 + below(20);
    return out;
  }
  json::value number(const char* type) {
    json::object out{{"type", type}};
    const double low = static_cast<double>(below(2000) - 1000) / (pick() ? 1 : 8);
    if (pick()) out[pick() ? "minimum" : "exclusiveMinimum"] = low;
    if (pick())
      out[pick() ? "maximum" : "exclusiveMaximum"] = low + 4 + static_cast<double>(below(100));
    if (below(4) == 0 && !out.contains("minimum") && !out.contains("exclusiveMinimum")) {
      out["multipleOf"] = 1 + below(3);
    }
    return out;
  }
  /// An object that a constant tells from others.
  json::value tagged(const char* tag, int depth) {
    return json::object{{"type", "object"},
                        {"properties", json::object{{"kind", json::object{{"const", tag}}},
                                                    {"v", make(depth - 1)}}},
                        {"required", json::array{"kind"}}};
  }
  json::value object(int depth) {
    json::object properties;
    json::array required;
    const int64_t count = below(5);
    for (int64_t i = 0; i < count; ++i) {
      const std::string name = "p" + std::to_string(i);
      properties[name] = make(depth - 1);
      if (pick()) required.push_back(json::string(name));
    }
    json::object out{{"type", "object"}, {"properties", properties}, {"required", required}};
    if (count == 0) {
      out.erase("properties");
      out["additionalProperties"] = make(depth - 1);
      out["maxProperties"] = 1 + below(4);
      if (pick()) out["minProperties"] = 1;
    } else if (pick()) {
      out["additionalProperties"] = false;
    } else if (pick()) {
      out["additionalProperties"] = make(depth - 1);
      if (bounded_) out["maxProperties"] = count + 2;
    }
    if (bounded_ && out.contains("maxProperties")) {
      out["propertyNames"] = json::object{{"maxLength", 2 + below(12)}};
    }
    return out;
  }
  json::value array(int depth) {
    json::object out{{"type", "array"}, {"items", make(depth - 1)}};
    if (pick()) out["minItems"] = below(3);
    if (bounded_ || pick()) out["maxItems"] = 2 + below(4);
    if (below(4) == 0) out["prefixItems"] = json::array{make(depth - 1), make(depth - 1)};
    return out;
  }

  std::mt19937_64 random_;
  bool bounded_;
};

}  // namespace hadal::testing
