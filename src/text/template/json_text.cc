/// tojson as Hugging Face sets it up (json.dumps without HTML escaping), and from_json.
#include <cmath>

#include "base/limits.h"
#include "base/utf8.h"
#include "text/template/run.h"

namespace hadal::jinja {
namespace {

struct Style {
  bool ascii = false;
  bool sort_keys = false;
  bool indented = false;
  std::string indent;  ///< of one level
  std::string item = ", ";
  std::string key = ": ";
};

void append_unit(std::string& out, uint32_t unit) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out.push_back(kHex[(unit >> shift) & 15]);
}

void write_string(const Text& text, bool ascii, Text& out) {
  const char mark = text.overall();
  out.append("\"", mark);
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_decode(text.bytes, i);
    const char32_t c = step.code_point;
    const char from = text.mark_at(i);
    std::string escaped;
    switch (c) {
      case '"':
        escaped = "\\\"";
        break;
      case '\\':
        escaped = "\\\\";
        break;
      case '\n':
        escaped = "\\n";
        break;
      case '\r':
        escaped = "\\r";
        break;
      case '\t':
        escaped = "\\t";
        break;
      case '\b':
        escaped = "\\b";
        break;
      case '\f':
        escaped = "\\f";
        break;
      default:
        if (c >= 0x10000 && ascii) {
          append_unit(escaped, 0xD800 + static_cast<uint32_t>((c - 0x10000) >> 10));
          append_unit(escaped, 0xDC00 + static_cast<uint32_t>((c - 0x10000) & 0x3FF));
        } else if (c < 0x20 || (ascii && c >= 0x7F)) {
          append_unit(escaped, static_cast<uint32_t>(c));
        }
    }
    if (escaped.empty()) {
      out.append(text, i, step.size);
    } else {
      out.append(escaped, from);
    }
    i += step.size;
  }
  out.append("\"", mark);
}

class Writer {
 public:
  Writer(Run& run, const Style& style, Text& out) : run_(run), style_(style), out_(out) {}

  bool write(const Value& value) {
    const Run::Frame frame(run_);
    if (!frame.ok() || !room(value)) return false;
    switch (value.kind()) {
      case Kind::kNone:
        out_.append("null", value.mark());
        return true;
      case Kind::kBool:
        out_.append(value.truth() ? "true" : "false", value.mark());
        return true;
      case Kind::kInt:
        out_.append(std::to_string(value.integer()), value.mark());
        return true;
      case Kind::kFloat:
        out_.append(number(value.real()), value.mark());
        return true;
      case Kind::kString:
        write_string(value.text(), style_.ascii, out_);
        return true;
      case Kind::kDict:
        return write_dict(value.dict());
      case Kind::kSequence:
        if (value.sequence().flavour <= Flavour::kTuple) return write_list(value.sequence());
        break;
      default:
        break;
    }
    run_.fail("object of type " + std::string(type_name(value)) + " is not JSON serializable");
    return false;
  }

 private:
  bool room(const Value& value) {
    const size_t grows = value.is(Kind::kString) ? value.text().size() : 0;
    if (out_.size() + grows > limits::kTemplateOutputBytes) return run_.fits(SIZE_MAX);
    return run_.charge_walk(grows);
  }

  static std::string number(double real) {
    if (std::isnan(real)) return "NaN";
    if (std::isinf(real)) return real > 0 ? "Infinity" : "-Infinity";
    return float_text(real);
  }

  void line(char mark) {
    if (!style_.indented) return;
    out_.append("\n", mark);
    for (int i = 0; i < level_; ++i) out_.append(style_.indent, mark);
  }

  bool write_list(const Sequence& list) {
    if (list.items.empty()) {
      out_.append("[]", list.mark);
      return true;
    }
    out_.append("[", list.mark);
    ++level_;
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_.append(style_.item, list.mark);
      line(list.mark);
      if (!write(list.items[i])) return false;
    }
    --level_;
    line(list.mark);
    out_.append("]", list.mark);
    return true;
  }

  /// Keys that are no strings become strings as json.dumps makes them.
  bool write_key(const Value& key) {
    if (key.is(Kind::kString)) return write(key);
    if (!key.number() && !key.is(Kind::kNone)) {
      run_.fail("keys must be str, int, float, bool or None");
      return false;
    }
    out_.append("\"", key.mark());
    const bool good = write(key);
    out_.append("\"", key.mark());
    return good;
  }

  bool write_dict(const Dict& dict) {
    if (dict.entries.empty()) {
      out_.append("{}", dict.mark);
      return true;
    }
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys && !sort(entries)) return false;
    out_.append("{", dict.mark);
    ++level_;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_.append(style_.item, dict.mark);
      line(dict.mark);
      if (!write_key(entries[i]->first)) return false;
      out_.append(style_.key, dict.mark);
      if (!write(entries[i]->second)) return false;
    }
    --level_;
    line(dict.mark);
    out_.append("}", dict.mark);
    return true;
  }

  bool sort(std::vector<const std::pair<Value, Value>*>& entries) {
    std::vector<std::pair<Value, Value>> pairs;
    for (const auto* entry : entries) pairs.push_back(*entry);
    GET(const Value dict, run_.dict(std::move(pairs)));
    Args args{{dict, Value::boolean(true)}, {}};
    GET(const Value sorted, run_.call_filter("dictsort", std::move(args)));
    std::vector<const std::pair<Value, Value>*> ordered;
    for (const Value& pair : sorted.sequence().items) {
      const Value& key = pair.sequence().items[0];
      for (const auto* entry : entries) {
        if (run_.equals(entry->first, key)) ordered.push_back(entry);
      }
    }
    entries = std::move(ordered);
    return true;
  }

  Run& run_;
  const Style& style_;
  Text& out_;
  int level_ = 0;
};

}  // namespace

Maybe to_json_filter(Run& run, Args& args) {
  GET(const std::vector<Value> v,
      bind(run, "tojson", args, {"x", "ensure_ascii", "indent", "separators", "sort_keys"}, 1));
  Style style;
  style.ascii = truthy(v[1]);
  style.sort_keys = truthy(v[4]);
  if (!v[2].missing() && !v[2].is(Kind::kNone)) {
    style.indented = true;
    style.item = ",";
    if (v[2].is(Kind::kString)) {
      style.indent = v[2].text().bytes;
    } else {
      GET(const int64_t width, want_int(run, v[2], "indent"));
      if (width > limits::kTemplateWidth) return run.fail("indent is too large");
      style.indent.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    }
    constexpr size_t kIndentBytes = 256;  // a hundred levels of it stay small
    if (style.indent.size() > kIndentBytes) return run.fail("indent is too large");
  }
  if (!v[3].missing() && !v[3].is(Kind::kNone)) {
    GET(const std::vector<Value> both, items_of(run, v[3]));
    if (both.size() != 2 || !both[0].is(Kind::kString) || !both[1].is(Kind::kString)) {
      return run.fail("separators must be two strings");
    }
    style.item = both[0].text().bytes;
    style.key = both[1].text().bytes;
    constexpr size_t kSeparatorBytes = 256;
    if (std::max(style.item.size(), style.key.size()) > kSeparatorBytes) {
      return run.fail("separators are too long");
    }
  }
  Text out;
  if (!Writer(run, style, out).write(v[0])) return {};
  return run.string(std::move(out));
}

Maybe from_json_filter(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "from_json", args, {"value"}, 1));
  if (!v[0].is(Kind::kString)) return run.fail("from_json needs a string");
  if (!run.charge_walk(v[0].text().size() * 4)) return {};
  const auto parsed = parse_json(v[0].text().bytes);
  if (!parsed.ok()) return run.fail(parsed.error().message);
  return run.from_json(parsed.value(), v[0].text().overall());
}

}  // namespace hadal::jinja
