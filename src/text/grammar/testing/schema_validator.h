#pragma once
/// A JSON Schema validator for tests: slow, small, and written from the specification without a
/// look at the compiler. Patterns go to POSIX regcomp, so tests use what both dialects share.
#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

#include <regex.h>

#include "base/json.h"
#include "base/utf8.h"

namespace hadal::testing {

class SchemaValidator {
 public:
  explicit SchemaValidator(const json::value& root) : root_(root) {}

  bool valid(const json::value& schema, const json::value& value) const {
    if (schema.is_bool()) return schema.get_bool();
    const json::object& s = schema.get_object();
    for (const auto& entry : s) {
      if (!holds(s, entry.key(), entry.value(), value)) return false;
    }
    return true;
  }

 private:
  static double number(const json::value& value) {
    return value.is_int64()    ? static_cast<double>(value.get_int64())
           : value.is_uint64() ? static_cast<double>(value.get_uint64())
                               : value.get_double();
  }
  static bool is_number(const json::value& value) {
    return value.is_int64() || value.is_uint64() || value.is_double();
  }
  static bool is_type(std::string_view type, const json::value& v) {
    if (type == "integer") return is_number(v) && std::floor(number(v)) == number(v);
    return (type == "null" && v.is_null()) || (type == "boolean" && v.is_bool()) ||
           (type == "object" && v.is_object()) || (type == "array" && v.is_array()) ||
           (type == "string" && v.is_string()) || (type == "number" && is_number(v));
  }
  static bool same(const json::value& a, const json::value& b) {
    return is_number(a) && is_number(b) ? number(a) == number(b) : a == b;
  }
  static bool found(const std::string& pattern, std::string_view text) {
    regex_t compiled;
    if (regcomp(&compiled, pattern.c_str(), REG_EXTENDED | REG_NOSUB) != 0) return false;
    std::string subject(text);
    std::replace(subject.begin(), subject.end(), '\0', '\1');  // regexec ends at a NUL
    const bool matches = regexec(&compiled, subject.c_str(), 0, nullptr, 0) == 0;
    regfree(&compiled);
    return matches;
  }

  const json::value& resolve(std::string_view pointer) const {
    boost::system::error_code error;
    const json::value* target = root_.find_pointer(pointer.substr(1), error);
    return target == nullptr ? root_ : *target;
  }

  bool holds(const json::object& s, std::string_view key, const json::value& k,
             const json::value& v) const {
    if (key == "$ref") return valid(resolve(k.get_string()), v);
    if (key == "type") {
      if (k.is_string()) return is_type(k.get_string(), v);
      for (const json::value& type : k.get_array()) {
        if (is_type(type.get_string(), v)) return true;
      }
      return false;
    }
    if (key == "const") return same(k, v);
    if (key == "enum") {
      for (const json::value& one : k.get_array()) {
        if (same(one, v)) return true;
      }
      return false;
    }
    if (key == "allOf") {
      for (const json::value& one : k.get_array()) {
        if (!valid(one, v)) return false;
      }
    }
    if (key == "anyOf") {
      for (const json::value& one : k.get_array()) {
        if (valid(one, v)) return true;
      }
      return false;
    }
    if (key == "oneOf") {
      const json::array& options = k.get_array();
      return std::count_if(options.begin(), options.end(),
                           [&](const json::value& one) { return valid(one, v); }) == 1;
    }
    if (v.is_string()) return string_holds(key, k, v.get_string());
    if (is_number(v)) return number_holds(key, k, number(v));
    if (v.is_array()) return array_holds(s, key, k, v.get_array());
    if (v.is_object()) return object_holds(s, key, k, v.get_object());
    return true;
  }

  static bool string_holds(std::string_view key, const json::value& k, std::string_view text) {
    const auto length = static_cast<double>(utf8_length(text));
    if (key == "minLength") return length >= number(k);
    if (key == "maxLength") return length <= number(k);
    if (key == "pattern") return found(std::string(k.get_string()), text);
    return true;
  }

  static bool number_holds(std::string_view key, const json::value& k, double v) {
    if (key == "minimum") return v >= number(k);
    if (key == "maximum") return v <= number(k);
    if (key == "exclusiveMinimum") return v > number(k);
    if (key == "exclusiveMaximum") return v < number(k);
    if (key == "multipleOf") {
      return std::fabs(std::remainder(v, number(k))) < 1e-9 * std::fabs(v) + 1e-12;
    }
    return true;
  }

  bool array_holds(const json::object& s, std::string_view key, const json::value& k,
                   const json::array& v) const {
    if (key == "minItems") return static_cast<double>(v.size()) >= number(k);
    if (key == "maxItems") return static_cast<double>(v.size()) <= number(k);
    if (key == "prefixItems") {
      for (size_t i = 0; i < std::min(v.size(), k.get_array().size()); ++i) {
        if (!valid(k.get_array()[i], v[i])) return false;
      }
    }
    if (key == "items") {
      const auto prefix = s.find("prefixItems");
      for (size_t i = prefix == s.end() ? 0 : prefix->value().get_array().size(); i < v.size();
           ++i) {
        if (!valid(k, v[i])) return false;
      }
    }
    return true;
  }

  bool object_holds(const json::object& s, std::string_view key, const json::value& k,
                    const json::object& v) const {
    if (key == "minProperties") return static_cast<double>(v.size()) >= number(k);
    if (key == "maxProperties") return static_cast<double>(v.size()) <= number(k);
    if (key == "required") {
      for (const json::value& name : k.get_array()) {
        if (!v.contains(name.get_string())) return false;
      }
    }
    const auto properties = s.find("properties");
    const auto patterns = s.find("patternProperties");
    for (const auto& entry : v) {
      bool named = properties != s.end() && properties->value().get_object().contains(entry.key());
      if (key == "properties" && named &&
          !valid(k.get_object().find(entry.key())->value(), entry.value())) {
        return false;
      }
      if (key == "propertyNames" && !valid(k, json::value(entry.key()))) return false;
      if (patterns != s.end()) {
        for (const auto& pattern : patterns->value().get_object()) {
          if (!found(std::string(pattern.key()), entry.key())) continue;
          named = true;
          if (key == "patternProperties" && !valid(pattern.value(), entry.value())) return false;
        }
      }
      if (key == "additionalProperties" && !named && !valid(k, entry.value())) return false;
    }
    return true;
  }

  const json::value& root_;
};

}  // namespace hadal::testing
