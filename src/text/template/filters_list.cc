/// Filters over sequences and mappings.
#include <algorithm>
#include <array>
#include <numeric>

#include "base/limits.h"
#include "base/parse.h"
#include "text/template/run.h"
#include "text/template/text_ops.h"

namespace hadal::jinja {
namespace {

/// "a.b.0" as jinja2's attribute arguments mean it; an integer or none are taken as they are.
MaybeItems attribute_path(Run& run, const Value& attribute) {
  std::vector<Value> path;
  if (attribute.missing() || attribute.is(Kind::kNone)) return path;
  if (!attribute.is(Kind::kString)) {
    path.push_back(attribute);
    return path;
  }
  const Text dot(".", MarkedText::kTemplate);
  GET(std::vector<Text> parts, split(run, attribute.text(), &dot, -1));
  for (Text& part : parts) {
    const bool digits = !part.bytes.empty() && std::ranges::all_of(part.bytes, [](char c) {
      return c >= '0' && c <= '9';
    });
    const auto index = digits ? parse_int<int64_t>(part.bytes) : std::nullopt;
    if (index) {
      path.push_back(Value::integer(*index));
    } else {
      GET(Value name, run.string(std::move(part)));
      path.push_back(std::move(name));
    }
  }
  return path;
}

Maybe follow(Run& run, Value item, const std::vector<Value>& path, const Value& otherwise) {
  for (const Value& part : path) {
    GET(item, get_item(run, item, part));
    if (item.undefined_value() && !otherwise.missing() && !otherwise.is(Kind::kNone)) {
      item = otherwise;
    }
  }
  return item;
}

Maybe case_folded(Run& run, Value value, bool case_sensitive) {
  if (case_sensitive || !value.is(Kind::kString)) return value;
  if (!run.charge_walk(value.text().size())) return {};
  return run.string(lower(value.text()));
}

/// Keys for sorting: one value each, or a list when several attributes are named ("a,b").
MaybeItems sort_keys(Run& run, const std::vector<Value>& items, const Value& attribute,
                     bool case_sensitive) {
  std::vector<std::vector<Value>> paths;
  if (attribute.is(Kind::kString)) {
    const Text comma(",", MarkedText::kTemplate);
    GET(std::vector<Text> parts, split(run, attribute.text(), &comma, -1));
    for (Text& part : parts) {
      GET(const Value one, run.string(std::move(part)));
      GET(std::vector<Value> path, attribute_path(run, one));
      paths.push_back(std::move(path));
    }
  } else {
    GET(std::vector<Value> path, attribute_path(run, attribute));
    paths.push_back(std::move(path));
  }
  std::vector<Value> keys;
  for (const Value& item : items) {
    std::vector<Value> parts;
    for (const std::vector<Value>& path : paths) {
      GET(const Value value, follow(run, item, path, Value()));
      GET(Value key, case_folded(run, value, case_sensitive));
      parts.push_back(std::move(key));
    }
    GET(Value key, run.sequence(std::move(parts)));
    keys.push_back(std::move(key));
  }
  return keys;
}

/// Stable merge sort by `keys`; order() may fail half-way, which must leave everything valid.
bool sort_indexes(Run& run, const std::vector<Value>& keys, bool reverse,
                  std::vector<size_t>& indexes) {
  indexes.resize(keys.size());
  std::iota(indexes.begin(), indexes.end(), size_t{0});
  std::vector<size_t> merged(keys.size());
  for (size_t width = 1; width < keys.size(); width *= 2) {
    for (size_t begin = 0; begin < keys.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, keys.size());
      const size_t end = std::min(begin + 2 * width, keys.size());
      size_t left = begin;
      size_t right = middle;
      for (size_t out = begin; out < end; ++out) {
        bool take_right = left >= middle;
        if (!take_right && right < end) {
          GET(const int sign, order(run, keys[indexes[right]], keys[indexes[left]]));
          take_right = reverse ? sign > 0 : sign < 0;
        }
        merged[out] = indexes[take_right ? right++ : left++];
      }
    }
    std::swap(indexes, merged);
  }
  return true;
}

MaybeItems sorted(Run& run, const std::vector<Value>& items, const std::vector<Value>& keys,
                  bool reverse) {
  std::vector<size_t> indexes;
  if (!sort_indexes(run, keys, reverse, indexes)) return {};
  std::vector<Value> out;
  for (size_t index : indexes) out.push_back(items[index]);
  return out;
}

Maybe filter_sort(Run& run, Args& args) {
  GET(const std::vector<Value> v,
      bind(run, "sort", args, {"value", "reverse", "case_sensitive", "attribute"}, 1));
  GET(const std::vector<Value> items, items_of(run, v[0]));
  GET(const std::vector<Value> keys, sort_keys(run, items, v[3], truthy(v[2])));
  GET(std::vector<Value> out, sorted(run, items, keys, truthy(v[1])));
  return run.sequence(std::move(out));
}

Maybe filter_dictsort(Run& run, Args& args) {
  GET(const std::vector<Value> v,
      bind(run, "dictsort", args, {"value", "case_sensitive", "by", "reverse"}, 1));
  if (!v[0].is(Kind::kDict)) return run.fail("dictsort needs a mapping");
  size_t by = 0;
  if (!v[2].missing()) {
    GET(const Text name, str(run, v[2]));
    if (name.bytes != "key" && name.bytes != "value") return run.fail("sort by key or value");
    by = name.bytes == "value" ? 1 : 0;
  }
  std::vector<Value> items;
  std::vector<Value> keys;
  for (const auto& [key, value] : v[0].dict().entries) {
    GET(Value pair, run.sequence({key, value}, Flavour::kTuple, v[0].dict().mark));
    items.push_back(std::move(pair));
    GET(Value folded, case_folded(run, by == 0 ? key : value, truthy(v[1])));
    keys.push_back(std::move(folded));
  }
  GET(std::vector<Value> out, sorted(run, items, keys, truthy(v[3])));
  return run.sequence(std::move(out));
}

Maybe filter_unique(Run& run, Args& args) {
  GET(const std::vector<Value> v,
      bind(run, "unique", args, {"value", "case_sensitive", "attribute"}, 1));
  GET(const std::vector<Value> items, items_of(run, v[0]));
  GET(const std::vector<Value> path, attribute_path(run, v[2]));
  std::vector<Value> seen;
  std::vector<Value> out;
  for (const Value& item : items) {
    GET(const Value found, follow(run, item, path, Value()));
    GET(Value key, case_folded(run, found, truthy(v[1])));
    if (!hashable(key)) return run.fail("unhashable type: '" + std::string(type_name(key)) + "'");
    if (std::ranges::any_of(seen, [&](const Value& old) { return run.equals(old, key); })) continue;
    if (!run.charge(0)) return {};
    seen.push_back(std::move(key));
    out.push_back(item);
  }
  return run.sequence(std::move(out), Flavour::kGenerator);
}

template <bool Largest>
Maybe filter_extreme(Run& run, Args& args) {
  GET(const std::vector<Value> v,
      bind(run, "min/max", args, {"value", "case_sensitive", "attribute"}, 1));
  GET(const std::vector<Value> items, items_of(run, v[0]));
  GET(const std::vector<Value> path, attribute_path(run, v[2]));
  Value best = Value::undefined();
  Value best_key;
  for (const Value& item : items) {
    GET(const Value found, follow(run, item, path, Value()));
    GET(Value key, case_folded(run, found, truthy(v[1])));
    if (!best_key.missing()) {
      GET(const int sign, order(run, key, best_key));
      if (Largest ? sign <= 0 : sign >= 0) continue;
    }
    best = item;
    best_key = std::move(key);
  }
  return best;
}

Maybe filter_sum(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "sum", args, {"iterable", "attribute", "start"}, 1));
  GET(const std::vector<Value> items, items_of(run, v[0]));
  GET(const std::vector<Value> path, attribute_path(run, v[1]));
  Value total = v[2].missing() ? Value::integer(0) : v[2];
  if (total.is(Kind::kString)) return run.fail("sum() cannot add strings");
  for (const Value& item : items) {
    GET(const Value value, follow(run, item, path, Value()));
    GET(total, arithmetic(run, Operator::kAdd, total, value));
  }
  return total;
}

Maybe filter_join(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "join", args, {"value", "d", "attribute"}, 1));
  GET(const std::vector<Value> items, items_of(run, v[0]));
  GET(const std::vector<Value> path, attribute_path(run, v[2]));
  Text separator;
  if (!v[1].missing()) {
    GET(separator, str(run, v[1]));
  }
  Text out;
  for (size_t i = 0; i < items.size(); ++i) {
    GET(const Value item, follow(run, items[i], path, Value()));
    if (i > 0) out.append(separator);
    if (!show(run, item, out)) return {};
    if (out.size() > limits::kTemplateOutputBytes || !run.charge(separator.size())) {
      return run.fail("a string grows too large", Code::kExhausted);
    }
  }
  return run.string(std::move(out));
}

Maybe filter_length(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "length", args, {"value"}, 1));
  if (v[0].is(Kind::kString) && !run.charge_walk(v[0].text().size() / 2)) return {};
  const int64_t length = length_of(v[0]);
  if (length < 0) return run.fail("'" + std::string(type_name(v[0])) + "' has no length");
  return Value::integer(length);
}

Maybe filter_list(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "list", args, {"value"}, 1));
  GET(std::vector<Value> items, items_of(run, v[0]));
  const char mark = v[0].is(Kind::kSequence) ? v[0].sequence().mark : MarkedText::kTemplate;
  return run.sequence(std::move(items), Flavour::kList, mark);
}

Maybe filter_first(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "first", args, {"seq"}, 1));
  if (v[0].is(Kind::kString)) return get_item(run, v[0], Value::integer(0));
  GET(const std::vector<Value> items, items_of(run, v[0]));
  return items.empty() ? Value::undefined() : items.front();
}

Maybe filter_last(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "last", args, {"seq"}, 1));
  if (v[0].is(Kind::kString)) return get_item(run, v[0], Value::integer(-1));
  if (v[0].is(Kind::kSequence) && !v[0].sequence().sized()) {
    return run.fail("a generator cannot be reversed");
  }
  GET(const std::vector<Value> items, items_of(run, v[0]));
  return items.empty() ? Value::undefined() : items.back();
}

Maybe filter_reverse(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "reverse", args, {"value"}, 1));
  if (v[0].is(Kind::kString)) {
    return slice(run, v[0], Value::none(), Value::none(), Value::integer(-1));
  }
  GET(std::vector<Value> items, items_of(run, v[0]));
  std::ranges::reverse(items);
  // A generator cannot be reversed in place, so jinja2 makes a list of it.
  const bool list =
      v[0].undefined_value() || (v[0].is(Kind::kSequence) && !v[0].sequence().sized());
  return run.sequence(std::move(items), list ? Flavour::kList : Flavour::kGenerator);
}

Maybe filter_items(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "items", args, {"value"}, 1));
  if (v[0].undefined_value()) return run.sequence({}, Flavour::kGenerator);
  if (!v[0].is(Kind::kDict)) return run.fail("items needs a mapping");
  Args none;
  GET(const Value pairs, find_method(v[0], "items")->function(run, v[0], none));
  return run.sequence(pairs.sequence().items, Flavour::kGenerator, v[0].dict().mark);
}

Maybe filter_map(Run& run, Args& args) {
  if (args.positional.empty()) return run.fail("map needs a value");
  const Value value = args.positional.front();
  args.positional.erase(args.positional.begin());
  if (!truthy(value)) return run.sequence({}, Flavour::kGenerator);
  GET(const std::vector<Value> items, items_of(run, value));
  std::vector<Value> out;
  if (args.positional.empty()) {
    GET(const std::vector<Value> v, bind(run, "map", args, {"attribute", "default"}, 1));
    GET(const std::vector<Value> path, attribute_path(run, v[0]));
    for (const Value& item : items) {
      GET(Value mapped, follow(run, item, path, v[1]));
      out.push_back(std::move(mapped));
    }
    return run.sequence(std::move(out), Flavour::kGenerator);
  }
  if (!args.positional[0].is(Kind::kString)) return run.fail("map needs a filter name");
  const Value name = args.positional[0];
  for (const Value& item : items) {
    Args inner = args;
    inner.positional[0] = item;
    GET(Value mapped, run.call_filter(name.text().bytes, std::move(inner)));
    out.push_back(std::move(mapped));
  }
  return run.sequence(std::move(out), Flavour::kGenerator);
}

/// select, reject, selectattr and rejectattr.
template <bool Keep, bool ByAttribute>
Maybe filter_select(Run& run, Args& args) {
  if (args.positional.empty()) return run.fail("select needs a value");
  const Value value = args.positional.front();
  args.positional.erase(args.positional.begin());
  if (!truthy(value)) return run.sequence({}, Flavour::kGenerator);
  GET(const std::vector<Value> items, items_of(run, value));
  std::vector<Value> path;
  if (ByAttribute) {
    if (args.positional.empty()) return run.fail("missing parameter for attribute name");
    GET(path, attribute_path(run, args.positional.front()));
    args.positional.erase(args.positional.begin());
  }
  Value name;
  if (!args.positional.empty()) {
    name = args.positional.front();
    if (!name.is(Kind::kString)) return run.fail("a test is named by a string");
  }
  std::vector<Value> out;
  for (const Value& item : items) {
    GET(Value seen, follow(run, item, path, Value()));
    if (!name.missing()) {
      Args inner = args;
      inner.positional[0] = seen;
      GET(seen, run.call_test(name.text().bytes, std::move(inner)));
    }
    if (truthy(seen) == Keep) out.push_back(item);
  }
  return run.sequence(std::move(out), Flavour::kGenerator);
}

Maybe filter_groupby(Run& run, Args& args) {
  GET(const std::vector<Value> v,
      bind(run, "groupby", args, {"value", "attribute", "default", "case_sensitive"}, 2));
  GET(const std::vector<Value> items, items_of(run, v[0]));
  GET(const std::vector<Value> path, attribute_path(run, v[1]));
  std::vector<Value> keys;
  for (const Value& item : items) {
    GET(const Value found, follow(run, item, path, v[2]));
    GET(Value key, case_folded(run, found, truthy(v[3])));
    keys.push_back(std::move(key));
  }
  std::vector<size_t> indexes;
  if (!sort_indexes(run, keys, false, indexes)) return {};
  std::vector<Value> out;
  for (size_t i = 0; i < indexes.size();) {
    std::vector<Value> group;
    const Value& key = keys[indexes[i]];
    GET(Value label, follow(run, items[indexes[i]], path, v[2]));
    for (; i < indexes.size() && run.equals(keys[indexes[i]], key); ++i) {
      group.push_back(items[indexes[i]]);
    }
    if (group.empty()) return run.fail("a group key does not equal itself");
    if (truthy(v[3])) label = key;
    GET(Value list, run.sequence(std::move(group)));
    GET(Value pair, run.sequence({std::move(label), std::move(list)}, Flavour::kTuple));
    out.push_back(std::move(pair));
  }
  return run.sequence(std::move(out));
}

Maybe filter_batch(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "batch", args, {"value", "linecount", "fill_with"}, 2));
  GET(const std::vector<Value> items, items_of(run, v[0]));
  GET(const int64_t width, want_int(run, v[1], "linecount"));
  if (width > limits::kTemplateWidth) return run.fail("batch: bad line count", Code::kExhausted);
  std::vector<Value> out;
  std::vector<Value> line;
  const auto flush = [&]() -> bool {
    GET(Value list, run.sequence(std::exchange(line, {})));
    out.push_back(std::move(list));
    return true;
  };
  for (const Value& item : items) {
    if (static_cast<int64_t>(line.size()) == width && !flush()) return {};
    line.push_back(item);
  }
  if (!line.empty()) {
    const bool fills = !v[2].missing() && !v[2].is(Kind::kNone);
    if (fills && static_cast<int64_t>(line.size()) < width)
      line.resize(static_cast<size_t>(width), v[2]);
    if (!flush()) return {};
  }
  return run.sequence(std::move(out), Flavour::kGenerator);
}

Maybe filter_slice(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "slice", args, {"value", "slices", "fill_with"}, 2));
  GET(const std::vector<Value> items, items_of(run, v[0]));
  GET(const int64_t slices, want_int(run, v[1], "slices"));
  if (slices < 1 || slices > limits::kTemplateWidth) return run.fail("slice: bad count");
  const size_t count = static_cast<size_t>(slices);
  const size_t each = items.size() / count;
  const size_t longer = items.size() % count;
  std::vector<Value> out;
  size_t at = 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t size = each + (i < longer ? 1 : 0);
    std::vector<Value> part(items.begin() + static_cast<ptrdiff_t>(at),
                            items.begin() + static_cast<ptrdiff_t>(at + size));
    if (!v[2].missing() && !v[2].is(Kind::kNone) && i >= longer) part.push_back(v[2]);
    GET(Value list, run.sequence(std::move(part)));
    out.push_back(std::move(list));
    at += size;
  }
  return run.sequence(std::move(out), Flavour::kGenerator);
}

Maybe filter_attr(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "attr", args, {"obj", "name"}, 2));
  GET(const Text name, str(run, v[1]));
  if (v[0].is(Kind::kDict) && find_method(v[0], name.bytes) == nullptr) return Value::undefined();
  GET(const Value found, get_attribute(run, v[0], name.bytes));
  return found.undefined_value() ? Value::undefined() : found;
}

constexpr std::array<FunctionEntry, 23> kFilters = {{
    {"attr", filter_attr},
    {"batch", filter_batch},
    {"count", filter_length},
    {"dictsort", filter_dictsort},
    {"first", filter_first},
    {"groupby", filter_groupby},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"map", filter_map},
    {"max", filter_extreme<true>},
    {"min", filter_extreme<false>},
    {"reject", filter_select<false, false>},
    {"rejectattr", filter_select<false, true>},
    {"reverse", filter_reverse},
    {"select", filter_select<true, false>},
    {"selectattr", filter_select<true, true>},
    {"slice", filter_slice},
    {"sort", filter_sort},
    {"sum", filter_sum},
    {"unique", filter_unique},
}};

}  // namespace

std::span<const FunctionEntry> list_filters() {
  return kFilters;
}

Function find_filter(std::string_view name) {
  for (const auto table : {text_filters(), list_filters()}) {
    const auto found = std::ranges::find(table, name, &FunctionEntry::name);
    if (found != table.end()) return found->function;
  }
  return nullptr;
}

}  // namespace hadal::jinja
