#pragma once
/// JSON through Boost.JSON, which throws and writes 0.5 as 5E-1: this file is the one border.
#include <string>
#include <string_view>

#include "base/result.h"
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

namespace hadal {

namespace json = boost::json;

/// Parses one JSON text. Errors name line and column. Depth is capped by limits::kJsonDepth,
/// invalid UTF-8 and trailing bytes are errors. Member order is kept; a repeated name keeps the
/// last value.
Result<json::value> parse_json(std::string_view text);

/// Compact JSON: numbers in shortest round-trip form ("0.5", "1e+30"), UTF-8 kept as it is,
/// NaN and infinities as null.
std::string to_json(const json::value& value);

/// Appends `text` with quotes and escapes as JSON wants them. Invalid UTF-8 becomes U+FFFD.
void append_json_string(std::string& out, std::string_view text);

/// The same for a float: the shortest form that reads back as that float.
void append_json_float(std::string& out, float number);

/// Appends the shortest form of `number` that reads back equal (NaN and infinities: null).
void append_json_number(std::string& out, double number);

}  // namespace hadal
