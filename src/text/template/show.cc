#include <string>

#include "base/utf8.h"
#include "text/template/ast.h"
#include "text/template/run.h"
#include "text/template/unicode.h"

namespace hadal::jinja {
namespace {

/// Python's repr() of a string. Quotes and escapes belong to whoever the text belongs to.
void repr_string(const Text& text, Text& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  const bool has_single = text.bytes.find('\'') != std::string::npos;
  const bool has_double = text.bytes.find('"') != std::string::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  const char mark = text.overall();
  out.append(std::string_view(&quote, 1), mark);
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_decode(text.bytes, i);
    const char32_t c = step.code_point;
    const char from = text.mark_at(i);
    if (c == '\\' || c == static_cast<char32_t>(quote)) {
      const char escaped[2] = {'\\', static_cast<char>(c)};
      out.append(std::string_view(escaped, 2), from);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out.append(c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t", from);
    } else if (step.valid && is_printable(c)) {
      out.append(text, i, step.size);
    } else {
      std::string escaped = c < 0x100 ? "\\x" : c < 0x10000 ? "\\u" : "\\U";
      for (int shift = c < 0x100 ? 4 : c < 0x10000 ? 12 : 28; shift >= 0; shift -= 4) {
        escaped.push_back(kHex[(c >> shift) & 15]);
      }
      out.append(escaped, from);
    }
    i += step.size;
  }
  out.append(std::string_view(&quote, 1), mark);
}

bool show_sequence(Run& run, const Sequence& sequence, Text& out) {
  const char mark = sequence.mark;
  if (sequence.flavour == Flavour::kGenerator) {
    out.append("<generator object>", mark);
    return true;
  }
  if (sequence.flavour == Flavour::kRange) {
    out.append("range(" + std::to_string(sequence.start) + ", " + std::to_string(sequence.stop),
               mark);
    if (sequence.step != 1) out.append(", " + std::to_string(sequence.step), mark);
    out.append(")", mark);
    return true;
  }
  const bool tuple = sequence.flavour == Flavour::kTuple;
  const bool view = sequence.flavour > Flavour::kRange;
  if (view) {
    out.append(sequence.flavour == Flavour::kKeys     ? "dict_keys("
               : sequence.flavour == Flavour::kValues ? "dict_values("
                                                      : "dict_items(",
               mark);
  }
  out.append(tuple ? "(" : "[", mark);
  bool first = true;
  for (const Value& item : sequence.items) {
    if (!first) out.append(", ", mark);
    first = false;
    if (!show_repr(run, item, out)) return false;
  }
  if (tuple && sequence.items.size() == 1) out.append(",", mark);
  out.append(tuple ? ")" : "]", mark);
  if (view) out.append(")", mark);
  return true;
}

bool show_dict(Run& run, const Dict& dict, Text& out) {
  out.append("{", dict.mark);
  bool first = true;
  for (const auto& [key, value] : dict.entries) {
    if (!first) out.append(", ", dict.mark);
    first = false;
    if (!show_repr(run, key, out)) return false;
    out.append(": ", dict.mark);
    if (!show_repr(run, value, out)) return false;
  }
  out.append("}", dict.mark);
  return true;
}

bool show_namespace(Run& run, const Namespace& space, Text& out) {
  out.append("<Namespace {", MarkedText::kTemplate);
  bool first = true;
  for (const auto& [name, value] : space.entries) {
    if (!first) out.append(", ", MarkedText::kTemplate);
    first = false;
    repr_string(Text(name, MarkedText::kTemplate), out);
    out.append(": ", MarkedText::kTemplate);
    if (!show_repr(run, value, out)) return false;
  }
  out.append("}>", MarkedText::kTemplate);
  return true;
}

}  // namespace

bool show(Run& run, const Value& value, Text& out) {
  if (value.is(Kind::kString)) {
    if (!run.fits(value.text().size())) return false;
    out.append(value.text());
    return true;
  }
  if (value.undefined_value()) return true;
  return show_repr(run, value, out);
}

bool show_repr(Run& run, const Value& value, Text& out) {
  const Run::Frame frame(run);
  if (!frame.ok() || !run.fits(out.size() > (size_t{1} << 16) ? 64 : out.size() / 64)) return false;
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
      out.append("Undefined", value.mark());
      return true;
    case Kind::kNone:
      out.append("None", value.mark());
      return true;
    case Kind::kBool:
      out.append(value.integer() != 0 ? "True" : "False", value.mark());
      return true;
    case Kind::kInt:
      out.append(std::to_string(value.integer()), value.mark());
      return true;
    case Kind::kFloat:
      out.append(float_text(value.real()), value.mark());
      return true;
    case Kind::kString:
      if (!run.fits(out.size() + value.text().size() * 2)) return false;
      if (!run.charge_walk(value.text().size())) return false;
      repr_string(value.text(), out);
      return true;
    case Kind::kSequence:
      return show_sequence(run, value.sequence(), out);
    case Kind::kDict:
      return show_dict(run, value.dict(), out);
    case Kind::kNamespace:
      return show_namespace(run, value.as<Namespace>(), out);
    case Kind::kMacro:
      out.append("<Macro '" + value.as<Macro>().node->text + "'>", MarkedText::kTemplate);
      return true;
    case Kind::kFunction:
    case Kind::kMethod:
      out.append("<function>", MarkedText::kTemplate);
      return true;
    case Kind::kLoop: {
      const Loop& loop = value.as<Loop>();
      out.append("<LoopContext " + std::to_string(loop.index + 1) + "/" +
                     std::to_string(loop.items.size()) + ">",
                 MarkedText::kTemplate);
      return true;
    }
  }
  return false;
}

std::optional<Text> str(Run& run, const Value& value) {
  Text out;
  if (!show(run, value, out)) return {};
  return out;
}

}  // namespace hadal::jinja
