#include <algorithm>
#include <array>
#include <ctime>

#include "base/limits.h"
#include "text/template/run.h"

namespace hadal::jinja {
namespace {

Maybe range_function(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "range", args, {"start", "stop", "step"}, 1));
  if (!args.keywords.empty()) return run.fail("range() takes no keyword arguments");
  int64_t start = 0;
  int64_t stop = 0;
  int64_t step = 1;
  GET(stop, want_int(run, v[1].missing() ? v[0] : v[1], "range() argument"));
  if (!v[1].missing()) {
    GET(start, want_int(run, v[0], "range() argument"));
  }
  if (!v[2].missing()) {
    GET(step, want_int(run, v[2], "range() argument"));
  }
  if (step == 0) return run.fail("range() step must not be zero");
  constexpr int64_t kEdge = int64_t{1} << 61;  // beyond it start + step might wrap
  if (std::max({std::abs(start / 2), std::abs(stop / 2), std::abs(step / 2)}) > kEdge / 2) {
    return run.fail("range() numbers are too large", Code::kExhausted);
  }
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (items.size() >= limits::kTemplateRange) {
      return run.fail("range() is too long", Code::kExhausted);
    }
    items.push_back(Value::integer(i));
  }
  GET(Value out, run.sequence(std::move(items), Flavour::kRange));
  out.sequence().start = start;
  out.sequence().stop = stop;
  out.sequence().step = step;
  return out;
}

/// Pairs of dict(...) and namespace(...): a mapping or pairs, then keywords.
bool collect_pairs(Run& run, Args& args, std::vector<std::pair<Value, Value>>& entries) {
  if (args.positional.size() > 1) return run.fail("too many arguments"), false;
  const auto add = [&](const Value& key, const Value& value) {
    for (auto& [known, old] : entries) {
      if (!run.equals(known, key)) continue;
      old = value;
      return;
    }
    entries.emplace_back(key, value);
  };
  if (!args.positional.empty() && args.positional[0].is(Kind::kDict)) {
    entries = args.positional[0].dict().entries;
  } else if (!args.positional.empty()) {
    GET(const std::vector<Value> items, items_of(run, args.positional[0]));
    for (const Value& item : items) {
      GET(const std::vector<Value> pair, items_of(run, item));
      if (pair.size() != 2 || !hashable(pair[0]))
        return run.fail("not pairs of key and value"), false;
      add(pair[0], pair[1]);
    }
  }
  for (const auto& [name, value] : args.keywords) {
    GET(const Value key, run.string(name));
    add(key, value);
  }
  return true;
}

Maybe dict_function(Run& run, Args& args) {
  std::vector<std::pair<Value, Value>> entries;
  if (!collect_pairs(run, args, entries)) return {};
  return run.dict(std::move(entries));
}

Maybe namespace_function(Run& run, Args& args) {
  std::vector<std::pair<Value, Value>> entries;
  if (!collect_pairs(run, args, entries)) return {};
  std::vector<std::pair<std::string, Value>> named;
  for (auto& [key, value] : entries) {
    if (!key.is(Kind::kString)) continue;  // cannot be reached as an attribute
    if (key.text().bytes.starts_with('_')) {
      return run.fail("a namespace attribute starts with '_'");
    }
    named.emplace_back(key.text().bytes, value);
  }
  return run.make_namespace(std::move(named));
}

Maybe raise_exception(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "raise_exception", args, {"message"}, 1));
  GET(const Text message, str(run, v[0]));
  constexpr size_t kMessageBytes = 2048;
  return run.fail(message.bytes.substr(0, kMessageBytes));
}

Maybe strftime_now(Run& run, Args& args) {
  GET(const std::vector<Value> v, bind(run, "strftime_now", args, {"format"}, 1));
  if (!v[0].is(Kind::kString)) return run.fail("strftime_now() needs a string");
  const std::time_t seconds = run.options().unix_seconds;
  std::tm time = {};
  if (gmtime_r(&seconds, &time) == nullptr) return run.fail("the time is out of range");
  const Text& format = v[0].text();
  Text out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format.bytes[i] != '%' || i + 1 >= format.size()) {
      out.append(format, i, 1);
      continue;
    }
    const char one[3] = {'%', format.bytes[++i], '\0'};
    static constexpr std::string_view kKnown = "aAbBcdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%C";
    if (kKnown.find(one[1]) == std::string_view::npos) {
      out.append(one, MarkedText::kTemplate);
      continue;
    }
    std::array<char, 128> buffer;
    const size_t size = std::strftime(buffer.data(), buffer.size(), one, &time);
    out.append(std::string_view(buffer.data(), size), MarkedText::kTemplate);
    if (!run.fits(out.size()) || !run.charge_walk(64)) return {};
  }
  return run.string(std::move(out));
}

constexpr std::array<FunctionEntry, 5> kGlobals = {{{"range", range_function},
                                                    {"dict", dict_function},
                                                    {"namespace", namespace_function},
                                                    {"raise_exception", raise_exception},
                                                    {"strftime_now", strftime_now}}};

}  // namespace

std::span<const FunctionEntry> global_functions() {
  return kGlobals;
}

}  // namespace hadal::jinja
