/// Python's two ways to format: "%..." % values and "{...}".format(...).
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/limits.h"
#include "base/parse.h"
#include "base/utf8.h"
#include "text/template/run.h"
#include "text/template/text_ops.h"

namespace hadal::jinja {
namespace {

/// What both ways can say about one field.
struct Spec {
  Text fill = Text(" ", MarkedText::kTemplate);
  char align = 0;  ///< < > ^ = or 0: by type
  char sign = 0;   ///< + or blank
  bool alternate = false;
  bool zero = false;
  char grouping = 0;  ///< , or _
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

constexpr int64_t kPrecisionMost = 512;

/// Digits of a float in the style of %e, %f or %g, without sign.
std::string real_digits(double size, char type, int64_t precision, bool alternate) {
  std::array<char, 1024> buffer;
  const char lower = static_cast<char>(type | 32);
  const auto format = lower == 'e'   ? std::chars_format::scientific
                      : lower == 'g' ? std::chars_format::general
                                     : std::chars_format::fixed;
  if (precision < 0) precision = 6;
  if (lower == 'g' && precision == 0) precision = 1;
  std::string out;
  if (std::isnan(size) || std::isinf(size)) {
    out = std::isnan(size) ? "nan" : "inf";
  } else {
    const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), size,
                                            format, static_cast<int>(precision));
    CHECK(error == std::errc{});
    out.assign(buffer.data(), end);
    if (alternate && precision == 0 && lower != 'g') out += ".";
  }
  if (type >= 'A' && type <= 'Z') {
    for (char& c : out) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  }
  return out;
}

std::string integer_digits(uint64_t size, char type) {
  std::array<char, 70> buffer;
  const int base = (type | 32) == 'x' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), size, base);
  CHECK(error == std::errc{});
  std::string out(buffer.data(), end);
  if (type == 'X') {
    for (char& c : out) c = c >= 'a' ? static_cast<char>(c - 32) : c;
  }
  return out;
}

void group_digits(std::string& digits, char separator) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
  for (size_t at = whole; at > 3;) {
    at -= 3;
    digits.insert(at, 1, separator);
  }
}

uint64_t magnitude(int64_t value) {
  return value < 0 ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value);
}

/// Sign and digits, padded as the spec says.
bool append_number(Run& run, bool negative, const std::string& prefix, std::string digits,
                   const Spec& spec, char mark, Text& out) {
  if (spec.grouping != 0) group_digits(digits, spec.grouping);
  std::string head = negative ? "-" : spec.sign == '+' ? "+" : spec.sign == ' ' ? " " : "";
  head += prefix;
  const int64_t space =
      std::max<int64_t>(0, spec.width - static_cast<int64_t>(head.size() + digits.size()));
  const char align = spec.align != 0 ? spec.align : spec.zero ? '=' : '>';
  const int64_t left = align == '<' ? 0 : align == '^' ? space / 2 : space;
  if (!run.charge_walk(static_cast<size_t>(space) / 2 + digits.size())) return false;
  Text body;
  if (align == '=') body.append(head, mark);
  for (int64_t i = 0; i < left; ++i) {
    if (spec.zero && spec.align == 0) {
      body.append("0", mark);
    } else {
      body.append(spec.fill);
    }
  }
  if (align != '=') body.append(head, mark);
  body.append(digits, mark);
  for (int64_t i = left; i < space; ++i) body.append(spec.fill);
  out.append(body);
  return run.fits(body.size());
}

bool append_text(Run& run, Text text, const Spec& spec, char default_align, Text& out) {
  if (spec.precision >= 0) {
    size_t end = 0;
    for (int64_t i = 0; i < spec.precision && end < text.size(); ++i) {
      end += utf8_decode(text.bytes, end).size;
    }
    text = text.sub(0, end);
  }
  const auto length = static_cast<int64_t>(utf8_length(text.bytes));
  const int64_t space = std::max<int64_t>(0, spec.width - length);
  const char align = spec.align != 0 ? spec.align : default_align;
  const int64_t left = align == '<' ? 0 : align == '^' ? space / 2 : space;
  GET(const Value padded_text, padded(run, text, left, space - left, spec.fill));
  out.append(padded_text.text());
  if (out.size() > limits::kTemplateOutputBytes) return run.fits(SIZE_MAX);
  return true;
}

bool append_integer(Run& run, const Value& value, const Spec& spec, Text& out) {
  const char type =
      spec.type == 'i' || spec.type == 'u' || spec.type == 0 || spec.type == 'n' ? 'd' : spec.type;
  std::string digits = integer_digits(magnitude(value.integer()), type);
  if (spec.precision > static_cast<int64_t>(digits.size())) {
    digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
  }
  std::string prefix;
  if (spec.alternate && type != 'd') prefix = {'0', type};
  return append_number(run, value.integer() < 0, prefix, std::move(digits), spec, value.mark(),
                       out);
}

bool append_real(Run& run, double real, char mark, Spec spec, Text& out) {
  const bool finite = std::isfinite(real);
  if (!finite) spec.zero = false;
  return append_number(run, std::signbit(real) && !std::isnan(real), "",
                       real_digits(std::fabs(real), spec.type, spec.precision, spec.alternate),
                       spec, mark, out);
}

bool append_character(Run& run, const Value& value, const Spec& spec, Text& out) {
  Text text;
  if (value.is(Kind::kString)) {
    if (length_of(value) != 1) return run.fail("%c requires int or char"), false;
    text = value.text();
  } else if (value.integral() && value.integer() >= 0 && value.integer() <= 0x10FFFF) {
    std::string bytes;
    utf8_append(bytes, static_cast<char32_t>(value.integer()));
    text = Text(bytes, value.mark());
  } else {
    return run.fail("%c requires int or char"), false;
  }
  return append_text(run, std::move(text), spec, '>', out);
}

// "%" ---------------------------------------------------------------------------------------------

/// Gives out the values of a % format one after the other.
class Values {
 public:
  explicit Values(const Value& values) : values_(values) {
    tuple_ = values.is(Kind::kSequence) && values.sequence().flavour == Flavour::kTuple;
  }
  const Value* next() {
    if (tuple_) {
      const auto& items = values_.sequence().items;
      return used_ < items.size() ? &items[used_++] : nullptr;
    }
    return used_++ == 0 ? &values_ : nullptr;
  }
  bool all_used() const {
    if (tuple_) return used_ >= values_.sequence().items.size();
    const bool may_stay =
        values_.is(Kind::kDict) || values_.is(Kind::kSequence) || values_.undefined_value();
    return used_ > 0 || may_stay;
  }
  const Value& whole() const { return values_; }

 private:
  const Value& values_;
  bool tuple_ = false;
  size_t used_ = 0;
};

bool percent_number(Run& run, std::string_view format, size_t& i, Values& values, int64_t& number) {
  if (i < format.size() && format[i] == '*') {
    ++i;
    const Value* value = values.next();
    if (value == nullptr || !value->integral()) return run.fail("* wants int"), false;
    number = value->integer();
  } else {
    number = 0;
    while (i < format.size() && format[i] >= '0' && format[i] <= '9') {
      number = std::min<int64_t>(number * 10 + (format[i++] - '0'), INT32_MAX);
    }
  }
  if (number > limits::kTemplateWidth || number < -limits::kTemplateWidth) {
    return run.fail("a width is too large", Code::kExhausted), false;
  }
  return true;
}

bool percent_spec(Run& run, std::string_view format, size_t& i, Values& values, Spec& spec) {
  for (; i < format.size() && std::string_view("-+ #0").find(format[i]) != std::string_view::npos;
       ++i) {
    if (format[i] == '-') spec.align = '<';
    if (format[i] == '+' || (format[i] == ' ' && spec.sign == 0)) spec.sign = format[i];
    if (format[i] == '#') spec.alternate = true;
    if (format[i] == '0') spec.zero = true;
  }
  if (!percent_number(run, format, i, values, spec.width)) return false;
  if (spec.width < 0) {
    spec.align = '<';
    spec.width = -spec.width;
  }
  if (i < format.size() && format[i] == '.') {
    ++i;
    if (!percent_number(run, format, i, values, spec.precision)) return false;
    spec.precision = std::max<int64_t>(spec.precision, 0);
  }
  while (i < format.size() && std::string_view("hlL").find(format[i]) != std::string_view::npos)
    ++i;
  if (i >= format.size()) return run.fail("incomplete format"), false;
  spec.type = format[i++];
  return true;
}

bool percent_field(Run& run, const Value& value, Spec spec, Text& out) {
  switch (spec.type) {
    case 's':
    case 'r':
    case 'a': {
      Text text;
      if (!(spec.type == 's' ? show(run, value, text) : show_repr(run, value, text))) return false;
      spec.zero = false;
      return append_text(run, std::move(text), spec, '>', out);
    }
    case 'c':
      return append_character(run, value, spec, out);
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o': {
      Value number = value;
      const bool decimal = spec.type == 'd' || spec.type == 'i' || spec.type == 'u';
      if (value.is(Kind::kFloat) && decimal && std::fabs(value.real()) < 0x1p62) {
        number = Value::integer(static_cast<int64_t>(value.real()), value.mark());
      }
      if (value.undefined_value()) return run.fail_undefined(value), false;
      if (!number.integral()) return run.fail("a number is required"), false;
      if (spec.precision > kPrecisionMost) return run.fail("precision too large"), false;
      return append_integer(run, number, spec, out);
    }
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      if (value.undefined_value()) return run.fail_undefined(value), false;
      if (!value.number()) return run.fail("must be real number"), false;
      if (spec.precision > kPrecisionMost) return run.fail("precision too large"), false;
      return append_real(run, value.real(), value.mark(), spec, out);
    default:
      return run.fail("unsupported format character"), false;
  }
}

const Value* named_value(Run& run, const Value& values, std::string_view name) {
  if (!values.is(Kind::kDict)) {
    run.fail("format requires a mapping");
    return nullptr;
  }
  const Value* found = values.dict().find(name);
  if (found == nullptr) run.fail("format: no key '" + std::string(name) + "'");
  return found;
}

}  // namespace

Maybe percent_format(Run& run, const Text& format, const Value& all) {
  Values values(all);
  Text out;
  const std::string_view bytes = format.bytes;
  for (size_t i = 0; i < bytes.size();) {
    const size_t percent = std::min(bytes.find('%', i), bytes.size());
    out.append(format, i, percent - i);
    i = percent + 1;
    if (percent >= bytes.size()) break;
    if (!run.fits(out.size() > limits::kTemplateOutputBytes ? SIZE_MAX : 0)) return {};
    const Value* value = nullptr;
    if (i < bytes.size() && bytes[i] == '(') {
      const size_t close = bytes.find(')', i);
      if (close == std::string_view::npos) return run.fail("incomplete format key");
      value = named_value(run, all, bytes.substr(i + 1, close - i - 1));
      if (value == nullptr) return {};
      i = close + 1;
    }
    Spec spec;
    if (!percent_spec(run, bytes, i, values, spec)) return {};
    if (spec.type == '%') {
      out.append("%", format.mark_at(percent));
      continue;
    }
    if (value == nullptr) value = values.next();
    if (value == nullptr) return run.fail("not enough arguments for format string");
    if (!percent_field(run, *value, spec, out)) return {};
  }
  if (!values.all_used()) return run.fail("not all arguments converted during string formatting");
  return run.string(std::move(out));
}

// "{}"
// ----------------------------------------------------------------------------------------------

namespace {

class BraceFormat {
 public:
  BraceFormat(Run& run, const Args& args) : run_(run), args_(args) {}

  /// `level` counts fields inside format specs, of which Python allows one.
  bool write(const Text& format, int level, Text& out);

 private:
  bool fail(const char* message) {
    run_.fail(message);
    return false;
  }
  bool field(const Text& format, size_t begin, size_t end, int level, Text& out);
  Maybe value_of(std::string_view name);
  Maybe first_value(std::string_view name);
  bool parse_spec(const Text& text, Spec& spec);
  bool apply(const Value& value, const Text& spec_text, Text& out);

  Run& run_;
  const Args& args_;
  size_t automatic_ = 0;
  bool manual_ = false;
};

bool BraceFormat::write(const Text& format, int level, Text& out) {
  const std::string_view bytes = format.bytes;
  for (size_t i = 0; i < bytes.size();) {
    const char c = bytes[i];
    if (c != '{' && c != '}') {
      const size_t next = std::min(bytes.find_first_of("{}", i), bytes.size());
      out.append(format, i, next - i);
      i = next;
      continue;
    }
    if (i + 1 < bytes.size() && bytes[i + 1] == c) {
      out.append(format, i, 1);
      i += 2;
      continue;
    }
    if (c == '}') return fail("single '}' in format string");
    int depth = 1;
    size_t end = i + 1;
    for (; end < bytes.size(); ++end) {
      if (bytes[end] == '{') ++depth;
      if (bytes[end] == '}' && --depth == 0) break;
    }
    if (end >= bytes.size()) return fail("expected '}' before end of string");
    if (!run_.charge(end - i)) return false;
    if (!field(format, i + 1, end, level, out)) return false;
    if (!run_.fits(out.size() > limits::kTemplateOutputBytes ? SIZE_MAX : 0)) return false;
    i = end + 1;
  }
  return true;
}

bool BraceFormat::field(const Text& format, size_t begin, size_t end, int level, Text& out) {
  if (level > 1) return fail("max string recursion exceeded");
  const std::string_view body = std::string_view(format.bytes).substr(begin, end - begin);
  size_t colon = 0;
  for (int brackets = 0; colon < body.size(); ++colon) {
    if (body[colon] == '[') ++brackets;
    if (body[colon] == ']') --brackets;
    if (brackets <= 0 && (body[colon] == ':' || body[colon] == '!')) break;
  }
  size_t spec_at = colon;
  char conversion = 0;
  if (colon < body.size() && body[colon] == '!') {
    conversion = colon + 1 < body.size() ? body[colon + 1] : '\0';
    if (conversion != 's' && conversion != 'r' && conversion != 'a')
      return fail("unknown conversion");
    spec_at = colon + 2;
    if (spec_at < body.size() && body[spec_at] != ':') return fail("expected ':' after conversion");
  }
  GET(Value value, value_of(body.substr(0, colon)));
  if (conversion != 0) {
    Text text;
    if (!(conversion == 's' ? show(run_, value, text) : show_repr(run_, value, text))) return false;
    GET(value, run_.string(std::move(text)));
  }
  Text spec;
  if (spec_at + 1 < body.size()) {
    if (!write(format.sub(begin + spec_at + 1, body.size() - spec_at - 1), level + 1, spec)) {
      return false;
    }
  }
  return apply(value, spec, out);
}

Maybe BraceFormat::first_value(std::string_view name) {
  const auto number = parse_int<uint32_t>(name);
  if (!name.empty() && !number) {
    for (const auto& [keyword, value] : args_.keywords) {
      if (keyword == name) return value;
    }
    return run_.fail("format: no argument '" + std::string(name) + "'");
  }
  if (number ? automatic_ > 0 : manual_) {
    return run_.fail("cannot mix automatic and manual field numbering");
  }
  manual_ |= number.has_value();
  const size_t index = number ? *number : automatic_++;
  if (index >= args_.positional.size()) return run_.fail("format: index out of range");
  return args_.positional[index];
}

/// "name.attribute[item]", with the sandbox's rules for each step.
Maybe BraceFormat::value_of(std::string_view path) {
  const size_t first_end = std::min(path.find_first_of(".["), path.size());
  GET(Value value, first_value(path.substr(0, first_end)));
  for (size_t i = first_end; i < path.size();) {
    if (!run_.charge(0)) return {};
    if (path[i] == '.') {
      const size_t end = std::min(path.find_first_of(".[", i + 1), path.size());
      const std::string name(path.substr(i + 1, end - i - 1));
      GET(value, get_attribute(run_, value, name));
      if (value.undefined_value()) value = Value::undefined();
      i = end;
      continue;
    }
    const size_t close = path.find(']', i);
    if (path[i] != '[' || close == std::string_view::npos) return run_.fail("bad format field");
    const std::string_view key = path.substr(i + 1, close - i - 1);
    const auto index = parse_int<int64_t>(key);
    GET(const Value item, index ? Maybe(Value::integer(*index)) : run_.string(key));
    GET(value, get_item(run_, value, item));
    i = close + 1;
  }
  return value;
}

/// [[fill]align][sign][#][0][width][,][.precision][type]
bool BraceFormat::parse_spec(const Text& text, Spec& spec) {
  const std::string_view bytes = text.bytes;
  const auto is_align = [&](size_t i) {
    return i < bytes.size() && std::string_view("<>^=").find(bytes[i]) != std::string_view::npos;
  };
  size_t i = 0;
  const size_t first = bytes.empty() ? 0 : utf8_decode(bytes, 0).size;
  if (first > 0 && is_align(first)) {
    spec.fill = text.sub(0, first);
    spec.align = bytes[first];
    i = first + 1;
  } else if (is_align(0)) {
    spec.align = bytes[0];
    i = 1;
  }
  const auto peek = [&](std::string_view any) {
    return i < bytes.size() && any.find(bytes[i]) != std::string_view::npos;
  };
  if (peek("+- ")) spec.sign = bytes[i++];
  if (spec.sign == '-') spec.sign = 0;
  if (peek("#")) {
    spec.alternate = true;
    ++i;
  }
  if (peek("0")) {
    spec.zero = true;
    ++i;
  }
  const auto number = [&] {
    int64_t value = 0;
    while (peek("0123456789"))
      value = std::min<int64_t>(value * 10 + (bytes[i++] - '0'), INT32_MAX);
    return value;
  };
  spec.width = number();
  if (peek(",_")) spec.grouping = bytes[i++];
  if (peek(".")) {
    ++i;
    if (!peek("0123456789")) return fail("format specifier missing precision");
    spec.precision = number();
  }
  if (i < bytes.size()) spec.type = bytes[i++];
  if (i < bytes.size()) return fail("invalid format specifier");
  if (spec.width > limits::kTemplateWidth || spec.precision > limits::kTemplateWidth) {
    return fail("a width is too large");
  }
  return true;
}

bool BraceFormat::apply(const Value& value, const Text& spec_text, Text& out) {
  if (spec_text.size() == 0) return show(run_, value, out);
  Spec spec;
  if (!parse_spec(spec_text, spec)) return false;
  const bool integer_type = spec.type == 0 || std::string_view("dnxXob").find(spec.type) < 6;
  const bool real_type = spec.type != 0 && std::string_view("eEfFgG%").find(spec.type) < 7;
  if (value.is(Kind::kString)) {
    if ((spec.type != 0 && spec.type != 's') || spec.sign != 0 || spec.align == '=') {
      return fail("bad format specifier for a string");
    }
    if (spec.zero && spec.align == 0) spec.fill = Text("0", MarkedText::kTemplate);
    return append_text(run_, value.text(), spec, '<', out);
  }
  if (!value.number()) return fail("unsupported format string for this type");
  if (spec.type == 'c') return append_character(run_, value, spec, out);
  if (value.integral() && integer_type) {
    if (spec.precision >= 0) return fail("precision not allowed in integer format specifier");
    if (spec.zero && spec.align != 0) spec.fill = Text("0", MarkedText::kTemplate);
    return append_integer(run_, value, spec, out);
  }
  if (!real_type && spec.type != 0) return fail("unknown format code for a number");
  if (spec.precision > kPrecisionMost) return fail("precision too large");
  if (spec.type == '%') {
    spec.type = 'f';
    const std::string digits =
        real_digits(std::fabs(value.real() * 100), 'f', spec.precision, false) + "%";
    return append_number(run_, std::signbit(value.real()), "", digits, spec, value.mark(), out);
  }
  if (spec.type == 0) {
    // str() of the number; with a precision, general format that keeps one decimal.
    std::string digits = float_text(std::fabs(value.real()));
    if (spec.precision >= 0) {
      digits = real_digits(std::fabs(value.real()), 'g', spec.precision, false);
      if (digits.find_first_not_of("0123456789") == std::string::npos) digits += ".0";
    }
    return append_number(run_, std::signbit(value.real()), "", digits, spec, value.mark(), out);
  }
  return append_real(run_, value.real(), value.mark(), spec, out);
}

}  // namespace

Maybe brace_format(Run& run, const Text& format, const Args& args) {
  Text out;
  if (!BraceFormat(run, args).write(format, 0, out)) return {};
  return run.string(std::move(out));
}

}  // namespace hadal::jinja
