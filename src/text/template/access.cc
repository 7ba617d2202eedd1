#include <algorithm>
#include <array>

#include "base/limits.h"
#include "base/utf8.h"
#include "text/template/run.h"

namespace hadal::jinja {
namespace {

Maybe bound_method(Run& run, const Value& self, const MethodEntry* entry) {
  if (depth_of(self) >= limits::kTemplateValueDepth) {
    return run.fail("values are nested too deep", Code::kExhausted);
  }
  Ref<Method> made(new Method);
  made->self = self;
  made->entry = entry;
  return Value(Kind::kMethod, made);
}

Maybe loop_attribute(const Loop& loop, std::string_view name) {
  const auto index = static_cast<int64_t>(loop.index);
  const auto length = static_cast<int64_t>(loop.items.size());
  if (name == "index") return Value::integer(index + 1);
  if (name == "index0") return Value::integer(index);
  if (name == "revindex") return Value::integer(length - index);
  if (name == "revindex0") return Value::integer(length - index - 1);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(index + 1 >= length);
  if (name == "length") return Value::integer(length);
  if (name == "depth") return Value::integer(loop.level + 1);
  if (name == "depth0") return Value::integer(loop.level);
  if (name == "previtem") return index == 0 ? Value::undefined() : loop.items[loop.index - 1];
  if (name == "nextitem") {
    return index + 1 >= length ? Value::undefined() : loop.items[loop.index + 1];
  }
  return std::nullopt;
}

/// An attribute in Python's sense, or nothing; `hidden` when the sandbox refuses it.
Maybe attribute(Run& run, const Value& object, const std::string& name, bool& hidden) {
  hidden = name.starts_with("__") || hidden_method(object, name);
  if (hidden) return std::nullopt;
  if (const MethodEntry* method = find_method(object, name)) {
    return bound_method(run, object, method);
  }
  if (object.is(Kind::kNamespace)) {
    const Value* found = object.as<Namespace>().find(name);
    return found != nullptr ? Maybe(*found) : std::nullopt;
  }
  if (object.is(Kind::kLoop)) return loop_attribute(object.as<Loop>(), name);
  if (object.is(Kind::kMacro) && name == "name") {
    return run.string(object.as<Macro>().node->text);
  }
  return std::nullopt;
}

/// Byte offset of the code point `index` (>= 0), or npos.
size_t offset_of(std::string_view text, int64_t index) {
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) at += utf8_decode(text, at).size;
  return index > 0 || at >= text.size() ? std::string_view::npos : at;
}

Maybe string_item(Run& run, const Value& object, int64_t index) {
  const Text& text = object.text();
  if (!run.charge_walk(text.size() / 2)) return {};
  if (index < 0) index += static_cast<int64_t>(utf8_length(text.bytes));
  const size_t at = index < 0 ? std::string_view::npos : offset_of(text.bytes, index);
  if (at == std::string_view::npos) return Value::undefined();
  return run.string(text.sub(at, utf8_decode(text.bytes, at).size), object.string().markup);
}

/// First, end and step of a slice as Python's slice.indices() gives them.
struct Bounds {
  int64_t from;
  int64_t to;
  int64_t step;
};

std::optional<Bounds> slice_bounds(Run& run, int64_t length, const Value& from, const Value& to,
                                   const Value& step) {
  Bounds bounds{0, 0, 1};
  if (!step.is(Kind::kNone)) {
    GET(bounds.step, want_int(run, step, "a slice index"));
    if (bounds.step == 0) return run.fail("slice step cannot be zero");
    bounds.step = std::clamp<int64_t>(bounds.step, -INT32_MAX, INT32_MAX);
  }
  const bool back = bounds.step < 0;
  const int64_t low = back ? -1 : 0;
  const int64_t high = back ? length - 1 : length;
  const auto place = [&](const Value& given, int64_t absent) -> std::optional<int64_t> {
    if (given.is(Kind::kNone)) return absent;
    GET(int64_t index, want_int(run, given, "a slice index"));
    if (index < 0) index = index < -length ? low : index + length;
    return std::clamp(index, low, high);
  };
  GET(bounds.from, place(from, back ? high : low));
  GET(bounds.to, place(to, back ? low : high));
  return bounds;
}

Maybe slice_string(Run& run, const Value& object, const Bounds& bounds) {
  const Text& text = object.text();
  if (!run.charge_walk(text.size() * 2)) return {};
  std::vector<size_t> offsets;
  for (size_t at = 0; at < text.size(); at += utf8_decode(text.bytes, at).size) {
    offsets.push_back(at);
  }
  offsets.push_back(text.size());
  Text out;
  if (bounds.step == 1) {
    if (bounds.from < bounds.to) {
      const size_t begin = offsets[static_cast<size_t>(bounds.from)];
      out = text.sub(begin, offsets[static_cast<size_t>(bounds.to)] - begin);
    }
  } else {
    for (int64_t i = bounds.from; bounds.step > 0 ? i < bounds.to : i > bounds.to;
         i += bounds.step) {
      const size_t begin = offsets[static_cast<size_t>(i)];
      out.append(text, begin, offsets[static_cast<size_t>(i) + 1] - begin);
    }
  }
  return run.string(std::move(out), object.string().markup);
}

}  // namespace

Maybe get_attribute(Run& run, const Value& object, const std::string& name) {
  if (object.undefined_value()) return run.fail_undefined(object);
  bool hidden = false;
  Maybe found = attribute(run, object, name, hidden);
  if (found || hidden) return hidden ? Value::undefined(&name) : found;
  if (object.is(Kind::kDict)) {
    if (const Value* item = object.dict().find(name)) return *item;
  }
  return Value::undefined(&name);
}

Maybe get_item(Run& run, const Value& object, const Value& index) {
  if (object.undefined_value()) return run.fail_undefined(object);
  if (object.is(Kind::kDict) && hashable(index)) {
    if (const Value* item = run.find(object.dict(), index)) return *item;
  }
  if (index.integral()) {
    if (object.is(Kind::kString)) return string_item(run, object, index.integer());
    if (object.is(Kind::kSequence) && object.sequence().indexed()) {
      const auto& items = object.sequence().items;
      int64_t at = index.integer();
      if (at < 0) at += static_cast<int64_t>(items.size());
      if (at >= 0 && at < static_cast<int64_t>(items.size())) return items[static_cast<size_t>(at)];
    }
    return Value::undefined();
  }
  if (!index.is(Kind::kString)) return Value::undefined();
  bool hidden = false;
  Maybe found = attribute(run, object, index.text().bytes, hidden);
  return found ? found : Maybe(Value::undefined());
}

Maybe slice(Run& run, const Value& object, const Value& from, const Value& to, const Value& step) {
  if (object.undefined_value()) return run.fail_undefined(object);
  const bool sliceable =
      object.is(Kind::kString) || (object.is(Kind::kSequence) && object.sequence().indexed());
  if (!sliceable) {
    return run.fail("'" + std::string(type_name(object)) + "' object cannot be sliced");
  }
  if (object.is(Kind::kString) && !run.charge_walk(object.text().size() / 2)) return {};
  GET(const Bounds bounds, slice_bounds(run, length_of(object), from, to, step));
  if (object.is(Kind::kString)) return slice_string(run, object, bounds);
  const Sequence& sequence = object.sequence();
  std::vector<Value> items;
  for (int64_t i = bounds.from; bounds.step > 0 ? i < bounds.to : i > bounds.to; i += bounds.step) {
    items.push_back(sequence.items[static_cast<size_t>(i)]);
  }
  GET(Value out, run.sequence(std::move(items), sequence.flavour, sequence.mark));
  if (sequence.flavour == Flavour::kRange) {
    out.sequence().start = sequence.start + bounds.from * sequence.step;
    out.sequence().stop = sequence.start + bounds.to * sequence.step;
    out.sequence().step = sequence.step * bounds.step;
  }
  return out;
}

}  // namespace hadal::jinja
