/// Filters that give strings and numbers.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/limits.h"
#include "base/parse.h"
#include "base/utf8.h"
#include "text/template/run.h"
#include "text/template/text_ops.h"
#include "text/template/unicode.h"

namespace hadal::jinja {
namespace {

bool markup_of(const Value& value) {
  return value.is(Kind::kString) && value.string().markup;
}

template <Text (*Change)(const Text&)>
Maybe case_filter(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "case", args, {"s"}, 1));
  GET(const Text text, str(run, v[0]));
  if (!run.charge_walk(text.size())) return {};
  return run.string(Change(text), markup_of(v[0]));
}

/// jinja2's own title: words begin after blanks, - ( { [ and <.
Text word_titled(const Text& text) {
  Text out;
  bool start = true;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_decode(text.bytes, i);
    const char32_t c = step.code_point;
    std::string bytes;
    utf8_append(bytes, start ? to_upper(c) : to_lower(c));
    step.valid ? out.append(bytes, text.mark_at(i)) : out.append(text, i, step.size);
    start = is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    i += step.size;
  }
  return out;
}

Maybe filter_trim(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "trim", args, {"value", "chars"}, 1));
  GET(const Text text, str(run, v[0]));
  if (v[1].missing() || v[1].is(Kind::kNone)) {
    return run.string(strip(text, nullptr, true, true), markup_of(v[0]));
  }
  if (!v[1].is(Kind::kString)) return run.fail("strip argument must be None or str");
  if (!run.charge_walk(text.size() * v[1].text().size())) return {};
  return run.string(strip(text, &v[1].text(), true, true), markup_of(v[0]));
}

Maybe filter_replace(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "replace", args, {"s", "old", "new", "count"}, 3));
  GET(const Text text, str(run, v[0]));
  GET(const Text from, str(run, v[1]));
  GET(const Text to, str(run, v[2]));
  int64_t count = -1;
  if (!v[3].missing() && !v[3].is(Kind::kNone)) {
    GET(count, want_int(run, v[3], "count"));
  }
  GET(Text out, replaced(run, text, from, to, count));
  return run.string(std::move(out));
}

Maybe filter_string(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "string", args, {"value"}, 1));
  if (v[0].is(Kind::kString)) return v[0];
  GET(Text text, str(run, v[0]));
  return run.string(std::move(text));
}

Maybe filter_safe(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "safe", args, {"value"}, 1));
  GET(Text text, str(run, v[0]));
  return run.string(std::move(text), true);
}

Maybe filter_forceescape(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "forceescape", args, {"value"}, 1));
  GET(Text text, str(run, v[0]));
  GET(const Value plain, run.string(std::move(text)));
  Args inner{{plain}, {}};
  return escape_filter(run, inner);
}

Maybe filter_default(Run& run, Args& args) {
  GET(const std::vector<Value> v,
      bind(run, "default", args, {"value", "default_value", "boolean"}, 1));
  if (v[0].undefined_value() || (truthy(v[2]) && !truthy(v[0]))) {
    return v[1].missing() ? run.string("") : Maybe(v[1]);
  }
  return v[0];
}

/// Digits of int(): optional sign, underscores between digits.
std::optional<int64_t> text_to_int(std::string_view text, int base) {
  text.remove_prefix(leading_space(text));
  text.remove_suffix(trailing_space(text));
  std::string digits;
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
    if (text[0] == '-') digits = "-";
    text.remove_prefix(1);
  }
  const bool prefixed = text.size() > 2 && text[0] == '0' &&
                        (text[1] | 32) == (base == 16  ? 'x'
                                           : base == 8 ? 'o'
                                                       : 'b');
  if (base != 10 && prefixed) text.remove_prefix(2);
  for (size_t i = 0; i < text.size(); ++i) {
    const bool between = i > 0 && i + 1 < text.size() && text[i - 1] != '_';
    if (text[i] == '_' && between) continue;
    digits.push_back(text[i]);
  }
  int64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

std::optional<double> text_to_real(std::string_view text) {
  text.remove_prefix(leading_space(text));
  text.remove_suffix(trailing_space(text));
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.starts_with('+') || text.find("0x") != std::string_view::npos) return std::nullopt;
  if (text.find('(') != std::string_view::npos) return std::nullopt;
  return parse_double(text);
}

std::optional<int64_t> real_to_int(double real) {
  if (!(real > -0x1p63 && real < 0x1p63)) return std::nullopt;
  return static_cast<int64_t>(real);
}

Maybe filter_int(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "int", args, {"value", "default", "base"}, 1));
  int64_t base = 10;
  if (!v[2].missing()) {
    GET(base, want_int(run, v[2], "base"));
    if (base < 2 || base > 36) return run.fail("the base must be 2 to 36");
  }
  const Value otherwise = v[1].missing() ? Value::integer(0) : v[1];
  std::optional<int64_t> value;
  if (v[0].integral()) value = v[0].integer();
  if (v[0].is(Kind::kFloat)) value = real_to_int(v[0].real());
  if (v[0].undefined_value()) return run.fail_undefined(v[0]);
  if (v[0].is(Kind::kString)) {
    if (!run.charge_walk(v[0].text().size())) return {};
    value = text_to_int(v[0].text().bytes, static_cast<int>(base));
    if (!value) {
      const auto real = text_to_real(v[0].text().bytes);
      if (real) value = real_to_int(*real);
    }
    return value ? Value::integer(*value, v[0].text().overall()) : otherwise;
  }
  return value ? Value::integer(*value, v[0].mark()) : otherwise;
}

Maybe filter_float(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "float", args, {"value", "default"}, 1));
  if (v[0].number()) return Value::real(v[0].real(), v[0].mark());
  if (v[0].undefined_value()) return run.fail_undefined(v[0]);
  if (v[0].is(Kind::kString)) {
    if (!run.charge_walk(v[0].text().size())) return {};
    std::string plain = v[0].text().bytes;
    std::erase(plain, '_');
    if (const auto real = text_to_real(plain)) return Value::real(*real, v[0].text().overall());
  }
  return v[1].missing() ? Value::real(0.0) : v[1];
}

Maybe filter_abs(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "abs", args, {"x"}, 1));
  if (v[0].is(Kind::kFloat)) return Value::real(std::fabs(v[0].real()), v[0].mark());
  return negate(run, v[0], v[0].integral() && v[0].integer() < 0);
}

/// Python's round() of a float to a decimal place: through its exact decimal text.
double rounded(double value, int64_t places) {
  if (!std::isfinite(value) || places > 300) return value;
  if (places < 0) {
    const double scale = std::pow(10.0, static_cast<double>(-places));
    return std::isinf(scale) ? 0.0 * value : std::nearbyint(value / scale) * scale;
  }
  std::array<char, 1024> buffer;
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                          std::chars_format::fixed, static_cast<int>(places));
  if (error != std::errc{}) return value;
  return parse_double(std::string_view(buffer.data(), end)).value_or(value);
}

Maybe filter_round(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "round", args, {"value", "precision", "method"}, 1));
  int64_t places = 0;
  if (!v[1].missing()) {
    GET(places, want_int(run, v[1], "precision"));
  }
  if (!run.charge_walk(64)) return {};
  std::string method = "common";
  if (!v[2].missing()) {
    GET(const Text text, str(run, v[2]));
    method = text.bytes;
  }
  if (method != "common" && method != "ceil" && method != "floor") {
    return run.fail("method must be common, ceil or floor");
  }
  if (!v[0].number()) {
    return v[0].undefined_value() ? run.fail_undefined(v[0]) : run.fail("round() needs a number");
  }
  if (method == "common") {
    if (v[0].integral() && places >= 0) return Value::integer(v[0].integer(), v[0].mark());
    const double real = rounded(v[0].real(), places);
    if (v[0].is(Kind::kFloat)) return Value::real(real, v[0].mark());
    const auto value = real_to_int(real);
    return value ? Maybe(Value::integer(*value, v[0].mark())) : run.fail("the number is too large");
  }
  const double scale = std::pow(10.0, static_cast<double>(places));
  const double scaled = v[0].real() * scale;
  const double whole = method == "ceil" ? std::ceil(scaled) : std::floor(scaled);
  return Value::real(whole / scale, v[0].mark());
}

Maybe filter_indent(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "indent", args, {"s", "width", "first", "blank"}, 1));
  if (!v[0].is(Kind::kString)) return run.fail("indent needs a string");
  Text by("    ", MarkedText::kTemplate);
  if (v[1].is(Kind::kString)) {
    by = v[1].text();
  } else if (!v[1].missing()) {
    GET(const int64_t width, want_int(run, v[1], "width"));
    if (width > limits::kTemplateWidth) return run.fail("a width is too large", Code::kExhausted);
    by = Text(std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' '),
              MarkedText::kTemplate);
  }
  Text source = v[0].text();
  source.append("\n", MarkedText::kTemplate);
  GET(const std::vector<Text> lines, split_lines(run, source, false));
  const bool blank = truthy(v[3]);
  Text out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.append("\n", MarkedText::kTemplate);
    const bool indented = i == 0 ? truthy(v[2]) : (blank || lines[i].size() > 0);
    if (indented) out.append(by);
    out.append(lines[i]);
    if (out.size() > limits::kTemplateOutputBytes) break;
    if (!run.charge_walk(4)) return {};
  }
  return run.string(std::move(out), markup_of(v[0]));
}

Maybe filter_wordcount(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "wordcount", args, {"s"}, 1));
  GET(const Text text, str(run, v[0]));
  if (!run.charge_walk(text.size())) return {};
  int64_t count = 0;
  bool in_word = false;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_decode(text.bytes, i);
    const bool word =
        is_alpha(step.code_point) || is_digit(step.code_point) || step.code_point == '_';
    count += word && !in_word ? 1 : 0;
    in_word = word;
    i += step.size;
  }
  return Value::integer(count);
}

Maybe filter_format(Run& run, Args& args) {
  if (args.positional.empty()) return run.fail("format() needs a value");
  const Value format = args.positional.front();
  args.positional.erase(args.positional.begin());
  if (!args.keywords.empty() && !args.positional.empty()) {
    return run.fail("format takes positional or keyword arguments, not both");
  }
  GET(const Text text, str(run, format));
  if (args.keywords.empty()) {
    GET(const Value values, run.sequence(std::move(args.positional), Flavour::kTuple));
    return percent_format(run, text, values);
  }
  std::vector<std::pair<Value, Value>> entries;
  for (auto& [name, value] : args.keywords) {
    GET(Value key, run.string(name));
    entries.emplace_back(std::move(key), std::move(value));
  }
  GET(const Value values, run.dict(std::move(entries)));
  return percent_format(run, text, values);
}

Maybe filter_center(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "center", args, {"value", "width"}, 1));
  GET(Text text, str(run, v[0]));
  GET(const Value plain, run.string(std::move(text)));
  Args inner;
  inner.positional.push_back(v[1].missing() ? Value::integer(80) : v[1]);
  return find_method(plain, "center")->function(run, plain, inner);
}

/// Percent-encodes what is not a letter, digit or one of "_.-~/" ("/" not in query parts).
void append_quoted(const Text& text, bool query, Text& out) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text.bytes[i];
    const auto byte = static_cast<uint8_t>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '.' || c == '-' || c == '~' || (c == '/' && !query);
    if (plain) {
      out.append(text, i, 1);
    } else if (c == ' ' && query) {
      out.append("+", text.mark_at(i));
    } else {
      const char escaped[3] = {'%', kHex[byte >> 4], kHex[byte & 15]};
      out.append(std::string_view(escaped, 3), text.mark_at(i));
    }
  }
}

Maybe filter_urlencode(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "urlencode", args, {"value"}, 1));
  Text out;
  if (!v[0].is(Kind::kDict) && !v[0].is(Kind::kSequence)) {
    GET(const Text text, str(run, v[0]));
    if (!run.fits(text.size()) || !run.charge_walk(text.size() * 2)) return {};
    append_quoted(text, false, out);
    return run.string(std::move(out));
  }
  Value pairs = v[0];
  if (v[0].is(Kind::kDict)) {
    Args none;
    GET(pairs, find_method(v[0], "items")->function(run, v[0], none));
  }
  GET(const std::vector<Value> items, items_of(run, pairs));
  for (const Value& item : items) {
    GET(const std::vector<Value> pair, items_of(run, item));
    if (pair.size() != 2) return run.fail("urlencode needs pairs");
    GET(const Text key, str(run, pair[0]));
    GET(const Text value, str(run, pair[1]));
    if (!run.fits(out.size() + (key.size() + value.size()) * 3)) return {};
    if (!run.charge_walk((key.size() + value.size()) * 2)) return {};
    if (out.size() > 0) out.append("&", MarkedText::kTemplate);
    append_quoted(key, true, out);
    out.append("=", MarkedText::kTemplate);
    append_quoted(value, true, out);
  }
  return run.string(std::move(out));
}

Maybe filter_truncate(Run& run, Args& args) {
  GET(const std::vector<Value> v,
      bind(run, "truncate", args, {"s", "length", "killwords", "end", "leeway"}, 1));
  if (length_of(v[0]) < 0) return run.fail("truncate needs a string");
  int64_t length = 255;
  int64_t leeway = 5;
  if (!v[1].missing()) {
    GET(length, want_int(run, v[1], "length"));
  }
  if (!v[4].missing() && !v[4].is(Kind::kNone)) {
    GET(leeway, want_int(run, v[4], "leeway"));
  }
  Text end("...", MarkedText::kTemplate);
  if (!v[3].missing()) {
    GET(end, str(run, v[3]));
  }
  const auto end_length = static_cast<int64_t>(utf8_length(end.bytes));
  if (length < end_length || leeway < 0) return run.fail("truncate: bad length or leeway");
  if (length > INT32_MAX || length_of(v[0]) <= length + std::min<int64_t>(leeway, INT32_MAX)) {
    return v[0];
  }
  if (!v[0].is(Kind::kString)) return run.fail("truncate needs a string");
  GET(const Value cut,
      slice(run, v[0], Value::none(), Value::integer(length - end_length), Value::none()));
  Text out = cut.text();
  if (!truthy(v[2])) {
    const size_t space = out.bytes.rfind(' ');
    if (space != std::string::npos) out = out.sub(0, space);
  }
  out.append(end);
  return run.string(std::move(out));
}

constexpr std::array<FunctionEntry, 25> kFilters = {{
    {"abs", filter_abs},
    {"capitalize", case_filter<capitalized>},
    {"center", filter_center},
    {"d", filter_default},
    {"default", filter_default},
    {"e", escape_filter},
    {"escape", escape_filter},
    {"float", filter_float},
    {"forceescape", filter_forceescape},
    {"format", filter_format},
    {"from_json", from_json_filter},
    {"indent", filter_indent},
    {"int", filter_int},
    {"lower", case_filter<lower>},
    {"replace", filter_replace},
    {"round", filter_round},
    {"safe", filter_safe},
    {"string", filter_string},
    {"title", case_filter<word_titled>},
    {"tojson", to_json_filter},
    {"trim", filter_trim},
    {"truncate", filter_truncate},
    {"upper", case_filter<upper>},
    {"urlencode", filter_urlencode},
    {"wordcount", filter_wordcount},
}};

}  // namespace

std::span<const FunctionEntry> text_filters() {
  return kFilters;
}

}  // namespace hadal::jinja
