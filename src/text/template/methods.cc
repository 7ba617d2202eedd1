/// Methods of str, dict, list, tuple and loop, as far as Python's sandbox lets a template call
/// them.
#include <algorithm>
#include <array>

#include "base/limits.h"
#include "base/utf8.h"
#include "text/template/run.h"
#include "text/template/text_ops.h"
#include "text/template/unicode.h"

namespace hadal::jinja {
namespace {

std::optional<Text> want_text(Run& run, const Value& value) {
  if (value.is(Kind::kString)) return value.text();
  if (value.undefined_value()) return run.fail_undefined(value);
  return run.fail("must be str, not " + std::string(type_name(value)));
}

bool given(const Value& value) {
  return !value.missing() && !value.is(Kind::kNone);
}

Maybe made(Run& run, const Value& self, Text text) {
  return run.string(std::move(text), self.string().markup);
}

// Strings -----------------------------------------------------------------------------------------

template <bool Left, bool Right>
Maybe method_strip(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "strip", args, {"chars"}, 0));
  if (!run.charge(self.text().size())) return {};
  if (!given(v[0])) return made(run, self, strip(self.text(), nullptr, Left, Right));
  GET(const Text characters, want_text(run, v[0]));
  if (!run.charge_walk(self.text().size() * characters.size())) return {};
  return made(run, self, strip(self.text(), &characters, Left, Right));
}

template <Text (*Change)(const Text&)>
Maybe method_case(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "case", args, {}, 0));
  if (!run.charge_walk(self.text().size())) return {};
  return made(run, self, Change(self.text()));
}

template <bool FromRight>
Maybe method_split(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "split", args, {"sep", "maxsplit"}, 0));
  int64_t most = -1;
  if (!v[1].missing()) {
    GET(most, want_int(run, v[1], "maxsplit"));
  }
  if (!run.fits(self.text().size())) return {};
  const bool markup = self.string().markup;
  if (!given(v[0])) {
    GET(std::vector<Text> words, FromRight ? split_right(run, self.text(), nullptr, most)
                                           : split(run, self.text(), nullptr, most));
    return string_list(run, std::move(words), markup);
  }
  GET(const Text separator, want_text(run, v[0]));
  if (separator.size() == 0) return run.fail("empty separator");
  if (FromRight && !run.charge(self.text().size() * separator.size())) return {};
  GET(std::vector<Text> parts, FromRight ? split_right(run, self.text(), &separator, most)
                                         : split(run, self.text(), &separator, most));
  return string_list(run, std::move(parts), markup);
}

Maybe method_splitlines(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "splitlines", args, {"keepends"}, 0));
  if (!run.fits(self.text().size())) return {};
  GET(std::vector<Text> lines, split_lines(run, self.text(), truthy(v[0])));
  return string_list(run, std::move(lines), self.string().markup);
}

/// s[from:to] in code points, for the methods that take bounds.
std::optional<Text> window(Run& run, const Value& self, const Value& from, const Value& to) {
  if (!given(from) && !given(to)) return self.text();
  GET(const Value part, slice(run, self, given(from) ? from : Value::none(),
                              given(to) ? to : Value::none(), Value::none()));
  return part.text();
}

template <bool AtStart>
Maybe method_with(Run& run, const Value& self, Args& args) {
  const char* name = AtStart ? "startswith" : "endswith";
  GET(const std::vector<Value> v, bind(run, name, args, {"prefix", "start", "end"}, 1));
  GET(const Text text, window(run, self, v[1], v[2]));
  std::vector<Value> wanted = {v[0]};
  if (v[0].is(Kind::kSequence) && v[0].sequence().flavour == Flavour::kTuple) {
    wanted = v[0].sequence().items;
  }
  for (const Value& affix : wanted) {
    if (!affix.is(Kind::kString)) {
      if (affix.undefined_value()) return run.fail_undefined(affix);
      return run.fail(std::string(name) + "() needs a string or a tuple of strings");
    }
    if (!run.charge(affix.text().size())) return {};
    const std::string& bytes = affix.text().bytes;
    if (AtStart ? text.bytes.starts_with(bytes) : text.bytes.ends_with(bytes)) {
      return Value::boolean(true);
    }
  }
  return Value::boolean(false);
}

Maybe method_replace(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "replace", args, {"old", "new", "count"}, 2));
  GET(const Text from, want_text(run, v[0]));
  GET(const Text to, want_text(run, v[1]));
  int64_t count = -1;
  if (!v[2].missing()) {
    GET(count, want_int(run, v[2], "count"));
  }
  GET(Text out, replaced(run, self.text(), from, to, count));
  return made(run, self, std::move(out));
}

/// find, rfind, index and rindex: a position in code points.
template <bool FromRight, bool MustFind>
Maybe method_find(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "find", args, {"sub", "start", "end"}, 1));
  GET(const Text wanted, want_text(run, v[0]));
  GET(const Text text, window(run, self, v[1], v[2]));
  if (!run.charge(FromRight ? text.size() * wanted.size() : text.size())) return {};
  const size_t at =
      FromRight ? text.bytes.rfind(wanted.bytes) : find_bytes(text.bytes, wanted.bytes, 0);
  if (at == std::string::npos) {
    if (MustFind) return run.fail("substring not found");
    return Value::integer(-1);
  }
  auto position = static_cast<int64_t>(utf8_length(std::string_view(text.bytes).substr(0, at)));
  if (given(v[1])) {
    GET(const Value skipped, slice(run, self, Value::none(), v[1], Value::none()));
    position += length_of(skipped);
  }
  return Value::integer(position);
}

Maybe method_count(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "count", args, {"sub", "start", "end"}, 1));
  GET(const Text wanted, want_text(run, v[0]));
  GET(const Text text, window(run, self, v[1], v[2]));
  if (!run.charge(text.size())) return {};
  if (!run.charge_walk(wanted.size() == 0 ? text.size() : 0)) return {};
  if (wanted.size() == 0) return Value::integer(static_cast<int64_t>(utf8_length(text.bytes)) + 1);
  int64_t count = 0;
  for (size_t at = find_bytes(text.bytes, wanted.bytes, 0); at != std::string::npos;
       at = find_bytes(text.bytes, wanted.bytes, at + wanted.size())) {
    ++count;
  }
  return Value::integer(count);
}

Maybe method_join(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "join", args, {"iterable"}, 1));
  GET(const std::vector<Value> items, items_of(run, v[0]));
  Text out;
  for (size_t i = 0; i < items.size(); ++i) {
    GET(const Text item, want_text(run, items[i]));
    if (i > 0) out.append(self.text());
    out.append(item);
    if (!run.fits(out.size() > limits::kTemplateOutputBytes ? SIZE_MAX : item.size())) return {};
  }
  return made(run, self, std::move(out));
}

Maybe method_format(Run& run, const Value& self, Args& args) {
  return brace_format(run, self.text(), args);
}

Maybe method_zfill(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "zfill", args, {"width"}, 1));
  GET(const int64_t width, want_int(run, v[0], "width"));
  const Text& text = self.text();
  const bool sign = text.size() > 0 && (text.bytes[0] == '-' || text.bytes[0] == '+');
  const Text zero("0", MarkedText::kTemplate);
  GET(const Value digits,
      padded(run, text.sub(sign ? 1 : 0, SIZE_MAX), width - length_of(self), 0, zero));
  Text out = text.sub(0, sign ? 1 : 0);
  out.append(digits.text());
  return made(run, self, std::move(out));
}

/// ljust, rjust and center.
template <int Side>
Maybe method_just(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "just", args, {"width", "fillchar"}, 1));
  GET(const int64_t width, want_int(run, v[0], "width"));
  Text fill(" ", MarkedText::kTemplate);
  if (!v[1].missing()) {
    GET(fill, want_text(run, v[1]));
    if (length_of(v[1]) != 1) return run.fail("the fill character must be one character");
  }
  const int64_t space = std::max<int64_t>(0, width - length_of(self));
  // Python's centering puts the odd blank left only when the width is odd.
  const int64_t left = Side == 0 ? 0 : Side == 1 ? space : space / 2 + (space & width & 1);
  return padded(run, self.text(), left, space - left, fill);
}

template <bool FromRight>
Maybe method_partition(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "partition", args, {"sep"}, 1));
  GET(const Text separator, want_text(run, v[0]));
  if (separator.size() == 0) return run.fail("empty separator");
  const Text& text = self.text();
  if (!run.charge(FromRight ? text.size() * separator.size() : text.size())) return {};
  const size_t at =
      FromRight ? text.bytes.rfind(separator.bytes) : find_bytes(text.bytes, separator.bytes, 0);
  std::vector<Text> parts(3);
  if (at == std::string::npos) {
    parts[FromRight ? 2 : 0] = text;
  } else {
    parts[0] = text.sub(0, at);
    parts[1] = separator;
    parts[2] = text.sub(at + separator.size(), SIZE_MAX);
  }
  GET(const Value list, string_list(run, std::move(parts), self.string().markup));
  return run.sequence(list.sequence().items, Flavour::kTuple);
}

template <bool Prefix>
Maybe method_remove(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "removeprefix", args, {"affix"}, 1));
  GET(const Text affix, want_text(run, v[0]));
  const Text& text = self.text();
  if (Prefix && text.bytes.starts_with(affix.bytes)) {
    return made(run, self, text.sub(affix.size(), SIZE_MAX));
  }
  if (!Prefix && text.bytes.ends_with(affix.bytes)) {
    return made(run, self, text.sub(0, text.size() - affix.size()));
  }
  return self;
}

template <bool (*Is)(char32_t)>
Maybe method_is(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "is", args, {}, 0));
  const std::string& bytes = self.text().bytes;
  if (!run.charge_walk(bytes.size())) return {};
  for (size_t i = 0; i < bytes.size();) {
    const Utf8Step step = utf8_decode(bytes, i);
    if (!step.valid || !Is(step.code_point)) return Value::boolean(false);
    i += step.size;
  }
  return Value::boolean(!bytes.empty());
}
bool is_alnum(char32_t c) {
  return is_alpha(c) || is_digit(c);
}

template <bool Upper>
Maybe method_is_case(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "is", args, {}, 0));
  Args test;
  test.positional.push_back(self);
  return run.call_test(Upper ? "upper" : "lower", std::move(test));
}

// Dicts and lists
// -----------------------------------------------------------------------------------

Maybe method_items(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "items", args, {}, 0));
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict().entries) {
    GET(Value pair, run.sequence({key, value}, Flavour::kTuple, self.dict().mark));
    items.push_back(std::move(pair));
  }
  return run.sequence(std::move(items), Flavour::kItems, self.dict().mark);
}

Maybe method_keys(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "keys", args, {}, 0));
  GET(std::vector<Value> items, items_of(run, self));
  return run.sequence(std::move(items), Flavour::kKeys, self.dict().mark);
}

Maybe method_values(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "values", args, {}, 0));
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict().entries) items.push_back(value);
  return run.sequence(std::move(items), Flavour::kValues, self.dict().mark);
}

Maybe method_get(Run& run, const Value& self, Args& args) {
  if (!args.keywords.empty()) return run.fail("get() takes no keyword arguments");
  GET(const std::vector<Value> v, bind(run, "get", args, {"key", "default"}, 1));
  if (!hashable(v[0])) return run.fail("unhashable type");
  if (const Value* found = run.find(self.dict(), v[0])) return *found;
  return v[1].missing() ? Value::none() : v[1];
}

Maybe method_copy(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "copy", args, {}, 0));
  return self;  // values never change, so a copy is the value itself
}

Maybe method_list_index(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "index", args, {"value"}, 1));
  const auto& items = self.sequence().items;
  for (size_t i = 0; i < items.size(); ++i) {
    if (run.equals(items[i], v[0])) return Value::integer(static_cast<int64_t>(i));
  }
  return run.fail("value is not in list");
}

Maybe method_list_count(Run& run, const Value& self, Args& args) {
  GET(const std::vector<Value> v, bind(run, "count", args, {"value"}, 1));
  const auto& items = self.sequence().items;
  return Value::integer(
      std::ranges::count_if(items, [&](const Value& item) { return run.equals(item, v[0]); }));
}

// Loops
// ---------------------------------------------------------------------------------------------

Maybe method_cycle(Run& run, const Value& self, Args& args) {
  if (args.positional.empty()) return run.fail("no items for cycling given");
  return args.positional[self.as<Loop>().index % args.positional.size()];
}

Maybe method_changed(Run& run, const Value& self, Args& args) {
  // The text stands for the values: holding the values could tie a knot of references.
  Text now;
  for (const Value& value : args.positional) {
    if (!show_repr(run, value, now)) return {};
    now.append(",", MarkedText::kTemplate);
  }
  Loop& loop = self.as<Loop>();
  const bool changed = !loop.changed_called || loop.changed != now.bytes;
  loop.changed_called = true;
  loop.changed = std::move(now.bytes);
  return Value::boolean(changed);
}

constexpr std::array<MethodEntry, 37> kStringMethods = {{
    {"strip", method_strip<true, true>},
    {"lstrip", method_strip<true, false>},
    {"rstrip", method_strip<false, true>},
    {"upper", method_case<upper>},
    {"lower", method_case<lower>},
    {"casefold", method_case<lower>},
    {"capitalize", method_case<capitalized>},
    {"title", method_case<titled>},
    {"split", method_split<false>, true},
    {"rsplit", method_split<true>, true},
    {"splitlines", method_splitlines, true},
    {"startswith", method_with<true>},
    {"endswith", method_with<false>},
    {"replace", method_replace},
    {"find", method_find<false, false>},
    {"rfind", method_find<true, false>},
    {"index", method_find<false, true>},
    {"rindex", method_find<true, true>},
    {"count", method_count},
    {"join", method_join},
    {"format", method_format, true},
    {"zfill", method_zfill},
    {"ljust", method_just<0>},
    {"rjust", method_just<1>},
    {"center", method_just<2>},
    {"partition", method_partition<false>},
    {"rpartition", method_partition<true>},
    {"removeprefix", method_remove<true>},
    {"removesuffix", method_remove<false>},
    {"isdigit", method_is<is_digit>},
    {"isdecimal", method_is<is_digit>},
    {"isnumeric", method_is<is_digit>},
    {"isalpha", method_is<is_alpha>},
    {"isalnum", method_is<is_alnum>},
    {"isspace", method_is<is_space>},
    {"isupper", method_is_case<true>},
    {"islower", method_is_case<false>},
}};

constexpr std::array<MethodEntry, 5> kDictMethods = {{{"items", method_items},
                                                      {"keys", method_keys},
                                                      {"values", method_values},
                                                      {"get", method_get},
                                                      {"copy", method_copy}}};
constexpr std::array<MethodEntry, 3> kListMethods = {
    {{"index", method_list_index}, {"count", method_list_count}, {"copy", method_copy}}};
constexpr std::array<MethodEntry, 2> kLoopMethods = {
    {{"cycle", method_cycle}, {"changed", method_changed}}};

}  // namespace

const MethodEntry* find_method(const Value& self, std::string_view name) {
  std::span<const MethodEntry> table;
  switch (self.kind()) {
    case Kind::kString:
      table = kStringMethods;
      break;
    case Kind::kDict:
      table = kDictMethods;
      break;
    case Kind::kLoop:
      table = kLoopMethods;
      break;
    case Kind::kSequence:
      if (!self.sequence().indexed()) return nullptr;
      table = kListMethods;
      if (self.sequence().flavour != Flavour::kList) table = table.first(2);
      break;
    default:
      return nullptr;
  }
  const auto found = std::ranges::find(table, name, &MethodEntry::name);
  return found == table.end() ? nullptr : &*found;
}

bool hidden_method(const Value& self, std::string_view name) {
  static constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  static constexpr std::string_view kList[] = {"append", "clear", "pop",    "reverse",
                                               "insert", "sort",  "extend", "remove"};
  if (self.is(Kind::kDict)) return std::ranges::count(kDict, name) > 0;
  return self.is(Kind::kSequence) && self.sequence().flavour == Flavour::kList &&
         std::ranges::count(kList, name) > 0;
}

}  // namespace hadal::jinja
