#include "text/template/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/check.h"

namespace hadal::jinja {

char Text::overall() const {
  if (origin.empty()) return mark;
  return origin.find(MarkedText::kCaller) == std::string::npos ? MarkedText::kTemplate
                                                               : MarkedText::kCaller;
}

void Text::append(std::string_view text, char from) {
  if (text.empty()) return;
  if (bytes.empty()) {
    mark = from;
  } else if (origin.empty() && from != mark) {
    origin.assign(bytes.size(), mark);
  }
  bytes.append(text);
  if (!origin.empty()) origin.append(text.size(), from);
}

void Text::append(const Text& other, size_t from, size_t count) {
  if (other.origin.empty()) {
    append(std::string_view(other.bytes).substr(from, count), other.mark);
    return;
  }
  if (origin.empty()) origin.assign(bytes.size(), mark);
  bytes.append(other.bytes, from, count);
  origin.append(other.origin, from, count);
}

Text Text::sub(size_t from, size_t count) const {
  Text out;
  out.append(*this, from, count);
  return out;
}

const Value* Dict::find(std::string_view key) const {
  constexpr size_t kIndexFrom = 16;
  if (entries.size() < kIndexFrom) {
    for (const auto& [name, value] : entries) {
      if (name.is(Kind::kString) && name.text().bytes == key) return &value;
    }
    return nullptr;
  }
  if (index.empty()) {
    for (size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].first.is(Kind::kString)) index.emplace(entries[i].first.text().bytes, i);
    }
  }
  const auto found = index.find(key);
  return found == index.end() ? nullptr : &entries[found->second].second;
}

Value* Namespace::find(std::string_view key) {
  for (auto& [name, value] : entries) {
    if (name == key) return &value;
  }
  return nullptr;
}

Value* Scope::find(uint32_t name) {
  for (auto& [id, value] : variables) {
    if (id == name) return &value;
  }
  return nullptr;
}

void Scope::set(uint32_t name, Value value) {
  if (Value* known = find(name)) {
    *known = std::move(value);
  } else {
    variables.emplace_back(name, std::move(value));
  }
}

std::string_view type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return value.string().markup ? "Markup" : "str";
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kMacro:
      return "Macro";
    case Kind::kFunction:
      return "function";
    case Kind::kMethod:
      return "method";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kSequence:
      break;
  }
  switch (value.sequence().flavour) {
    case Flavour::kList:
      return "list";
    case Flavour::kTuple:
      return "tuple";
    case Flavour::kRange:
      return "range";
    case Flavour::kKeys:
      return "dict_keys";
    case Flavour::kValues:
      return "dict_values";
    case Flavour::kItems:
      return "dict_items";
    case Flavour::kGenerator:
      return "generator";
  }
  return "object";
}

bool truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.real() != 0;
    case Kind::kString:
      return value.text().size() != 0;
    case Kind::kSequence:
      return !value.sequence().sized() || !value.sequence().items.empty();
    case Kind::kDict:
      return !value.dict().entries.empty();
    default:
      return true;
  }
}

namespace {

bool equal_numbers(const Value& a, const Value& b) {
  if (a.integral() && b.integral()) return a.integer() == b.integer();
  if (a.is(Kind::kFloat) && b.is(Kind::kFloat)) return a.real() == b.real();
  const double real = a.is(Kind::kFloat) ? a.real() : b.real();
  const int64_t integer = a.is(Kind::kFloat) ? b.integer() : a.integer();
  // Exact, as Python compares: the float must be that integer, not only round to it.
  return real >= -0x1p63 && real < 0x1p63 && std::trunc(real) == real &&
         static_cast<int64_t>(real) == integer;
}

bool equal_sequences(const Sequence& a, const Sequence& b, size_t& work) {
  if (&a == &b) return true;
  if (a.flavour != b.flavour || a.flavour > Flavour::kKeys) return false;
  return std::ranges::equal(a.items, b.items,
                            [&](const Value& x, const Value& y) { return equal(x, y, work); });
}

bool equal_dicts(const Dict& a, const Dict& b, size_t& work) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::ranges::all_of(a.entries, [&](const auto& entry) {
    const Value* other = find_key(b, entry.first, work);
    return other != nullptr && equal(entry.second, *other, work);
  });
}

}  // namespace

bool equal(const Value& a, const Value& b, size_t& work) {
  work += 64;
  if (work > kEqualWork) return false;
  if (a.number() && b.number()) return equal_numbers(a, b);
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      if (a.text().size() != b.text().size()) return false;
      work += a.text().size();
      return a.text().bytes == b.text().bytes;
    case Kind::kSequence:
      return equal_sequences(a.sequence(), b.sequence(), work);
    case Kind::kDict:
      return equal_dicts(a.dict(), b.dict(), work);
    case Kind::kFunction:
      return a.integer() == b.integer();
    default:
      return a.object() == b.object();
  }
}

bool hashable(const Value& value) {
  if (value.is(Kind::kDict)) return false;
  return !value.is(Kind::kSequence) || value.sequence().hashable;
}

int depth_of(const Value& value) {
  if (value.is(Kind::kSequence)) return value.sequence().depth;
  if (value.is(Kind::kDict)) return value.dict().depth;
  if (value.is(Kind::kLoop)) return value.as<Loop>().depth;
  if (value.is(Kind::kMethod)) return depth_of(value.as<Method>().self) + 1;
  return 0;
}

const Value* find_key(const Dict& dict, const Value& key, size_t& work) {
  if (key.is(Kind::kString)) return dict.find(key.text().bytes);
  for (const auto& [name, value] : dict.entries) {
    if (equal(name, key, work)) return &value;
  }
  return nullptr;
}

std::string float_text(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  char buffer[400];
  const double size = std::fabs(number);
  const bool fixed = size == 0 || (size >= 1e-4 && size < 1e16);
  const auto format = fixed ? std::chars_format::fixed : std::chars_format::scientific;
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof(buffer), number, format);
  CHECK(error == std::errc{});
  std::string out(buffer, end);
  if (fixed && out.find('.') == std::string::npos) out += ".0";
  return out;
}

}  // namespace hadal::jinja
