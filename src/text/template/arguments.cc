#include <algorithm>

#include "text/template/run.h"

namespace hadal::jinja {

MaybeItems bind(Run& run, std::string_view what, const Args& args,
                std::initializer_list<std::string_view> names, size_t required) {
  if (args.positional.size() > names.size()) {
    return run.fail(std::string(what) + "() takes at most " + std::to_string(names.size()) +
                    " arguments");
  }
  std::vector<Value> values(args.positional);
  values.resize(names.size());
  for (const auto& [name, value] : args.keywords) {
    const auto* at = std::ranges::find(names, name);
    if (at == names.end()) {
      return run.fail(std::string(what) + "() has no argument '" + name + "'");
    }
    Value& slot = values[static_cast<size_t>(at - names.begin())];
    if (!slot.missing()) {
      return run.fail(std::string(what) + "() got two values for '" + name + "'");
    }
    slot = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!values[i].missing()) continue;
    return run.fail(std::string(what) + "() needs an argument '" +
                    std::string(*(names.begin() + i)) + "'");
  }
  return values;
}

std::optional<int64_t> want_int(Run& run, const Value& value, std::string_view what) {
  if (value.integral()) return value.integer();
  if (value.undefined_value()) return run.fail_undefined(value);
  return run.fail(std::string(what) + " must be an integer, not " + std::string(type_name(value)));
}

}  // namespace hadal::jinja
