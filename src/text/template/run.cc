#include "text/template/run.h"

#include <algorithm>

#include "base/limits.h"

namespace hadal::jinja {

Run::Run(const Tree& tree, const json::object& variables, const TemplateOptions& options)
    : tree_(tree),
      variables_(variables),
      options_(options),
      step_limit_(limits::kTemplateSteps),
      constants_(tree.constants),
      context_(tree.names.size()) {
  const auto id = [&](const char* name) {
    const auto found = tree.name_ids.find(name);
    return found == tree.name_ids.end() ? UINT32_MAX : found->second;
  };
  loop_name_ = id("loop");
  caller_name_ = id("caller");
  varargs_name_ = id("varargs");
  kwargs_name_ = id("kwargs");
}

/// Macros hold their scope and scopes hold macros; namespaces may hold anything. Emptying both
/// lists first leaves no cycle behind.
Run::~Run() {
  for (const Ref<Namespace>& held : namespaces_) held->entries.clear();
  for (const Ref<Scope>& held : captured_) held->variables.clear();
  captured_.clear();
  namespaces_.clear();
  scope_ = {};
  constants_.clear();
  context_.clear();
}

Result<MarkedText> Run::render() {
  Text out;
  out_ = &out;
  scope_ = make_scope({});
  if (exec(tree_.body) == Flow::kFailed) return error_.error();
  MarkedText result;
  result.origin = out.origin.empty() ? std::string(out.size(), out.mark) : std::move(out.origin);
  result.bytes = std::move(out.bytes);
  return result;
}

std::nullopt_t Run::fail(std::string message, Code code) {
  if (error_.ok()) {
    error_ = Error{code, "template line " + std::to_string(line_) + ": " + std::move(message)};
  }
  return std::nullopt;
}

std::nullopt_t Run::fail_undefined(const Value& value) {
  if (value.undefined_name() == nullptr) return fail("use of an undefined value");
  return fail("'" + *value.undefined_name() + "' is undefined");
}

bool Run::charge(size_t bytes) {
  // A step stands for about 64 bytes of copying, so that large strings cannot hide work.
  constexpr size_t kBytesPerStep = 64;
  steps_ += 1 + bytes / kBytesPerStep;
  if (steps_ <= step_limit_) return true;
  fail("the template takes too many steps", Code::kExhausted);
  return false;
}

bool Run::charge_walk(size_t bytes) {
  // A decoded, changed and appended character costs about a tenth of a step.
  constexpr size_t kBytesPerWalkedStep = 8;
  const size_t most = SIZE_MAX / kBytesPerWalkedStep;
  return charge(std::min(bytes, most) * kBytesPerWalkedStep);
}

bool Run::fits(size_t bytes) {
  if (bytes > limits::kTemplateOutputBytes) {
    fail("a string grows too large", Code::kExhausted);
    return false;
  }
  if (budget_.live_bytes + bytes > limits::kTemplateMemoryBytes) {
    fail("the template needs too much memory", Code::kExhausted);
    return false;
  }
  return charge(bytes);
}

bool Run::equals(const Value& a, const Value& b) {
  size_t work = 0;
  const bool result = equal(a, b, work);
  return charge(work) && result;
}

const Value* Run::find(const Dict& entries, const Value& key) {
  size_t work = 0;
  const Value* found = find_key(entries, key, work);
  return charge(work) ? found : nullptr;
}

bool Run::enter() {
  ++frames_;
  if (frames_ <= limits::kTemplateRecursion) return true;
  fail("recursion too deep", Code::kExhausted);
  return false;
}

Maybe Run::string(Text text, bool markup) {
  const size_t bytes = sizeof(String) + text.bytes.size() + text.origin.size();
  if (!fits(text.size())) return {};
  Ref<String> made(new String);
  made->account(budget_, bytes);
  made->text = std::move(text);
  made->markup = markup;
  return Value(Kind::kString, made);
}

Maybe Run::sequence(std::vector<Value> items, Flavour flavour, char mark) {
  int depth = 0;
  bool keys = flavour != Flavour::kList && flavour < Flavour::kKeys;
  for (const Value& item : items) {
    depth = std::max(depth, depth_of(item));
    keys = keys && hashable(item);
  }
  if (depth >= limits::kTemplateValueDepth) {
    return fail("values are nested too deep", Code::kExhausted);
  }
  const size_t bytes = sizeof(Sequence) + items.size() * sizeof(Value);
  if (!charge(bytes)) return {};
  if (budget_.live_bytes + bytes > limits::kTemplateMemoryBytes) {
    return fail("the template needs too much memory", Code::kExhausted);
  }
  Ref<Sequence> made(new Sequence);
  made->account(budget_, bytes);
  made->items = std::move(items);
  made->flavour = flavour;
  made->mark = mark;
  made->depth = depth + 1;
  made->hashable = keys || flavour == Flavour::kGenerator;
  return Value(Kind::kSequence, made);
}

Maybe Run::dict(std::vector<std::pair<Value, Value>> entries, char mark) {
  int depth = 0;
  for (const auto& [key, value] : entries) {
    depth = std::max({depth, depth_of(key), depth_of(value)});
  }
  if (depth >= limits::kTemplateValueDepth) {
    return fail("values are nested too deep", Code::kExhausted);
  }
  const size_t bytes = sizeof(Dict) + entries.size() * (2 * sizeof(Value) + sizeof(size_t));
  if (!charge(bytes)) return {};
  if (budget_.live_bytes + bytes > limits::kTemplateMemoryBytes) {
    return fail("the template needs too much memory", Code::kExhausted);
  }
  Ref<Dict> made(new Dict);
  made->account(budget_, bytes);
  made->entries = std::move(entries);
  made->mark = mark;
  made->depth = depth + 1;
  return Value(Kind::kDict, made);
}

Maybe Run::make_namespace(std::vector<std::pair<std::string, Value>> entries) {
  if (!charge(sizeof(Namespace))) return {};
  Ref<Namespace> made(new Namespace);
  made->account(budget_, sizeof(Namespace));
  made->entries = std::move(entries);
  namespaces_.push_back(made);
  return Value(Kind::kNamespace, made);
}

Ref<Scope> Run::make_scope(const Ref<Scope>& parent) {
  Ref<Scope> made(new Scope);
  made->parent = parent;
  return made;
}

Maybe Run::from_json(const json::value& value, char mark) {
  if (reading_variables_) {
    const size_t bytes = value.is_string() ? value.get_string().size() : 0;
    step_limit_ += limits::kTemplateStepsPerValue + bytes / limits::kTemplateBytesPerStep;
  }
  switch (value.kind()) {
    case json::kind::null:
      return Value::none(mark);
    case json::kind::bool_:
      return Value::boolean(value.get_bool(), mark);
    case json::kind::int64:
      return Value::integer(value.get_int64(), mark);
    case json::kind::uint64:
      return Value::real(static_cast<double>(value.get_uint64()), mark);
    case json::kind::double_:
      return Value::real(value.get_double(), mark);
    case json::kind::string: {
      const auto& text = value.get_string();
      return string(Text(std::string_view(text.data(), text.size()), mark));
    }
    case json::kind::array: {
      const Frame frame(*this);
      if (!frame.ok()) return {};
      std::vector<Value> items;
      items.reserve(value.get_array().size());
      for (const json::value& element : value.get_array()) {
        GET(Value item, from_json(element, mark));
        items.push_back(std::move(item));
      }
      return sequence(std::move(items), Flavour::kList, mark);
    }
    case json::kind::object: {
      const Frame frame(*this);
      if (!frame.ok()) return {};
      std::vector<std::pair<Value, Value>> entries;
      entries.reserve(value.get_object().size());
      for (const auto& member : value.get_object()) {
        GET(Value key,
            string(Text(std::string_view(member.key().data(), member.key().size()), mark)));
        GET(Value item, from_json(member.value(), mark));
        entries.emplace_back(std::move(key), std::move(item));
      }
      return dict(std::move(entries), mark);
    }
  }
  return fail("unknown kind of JSON value", Code::kInternal);
}

/// A name's value: the innermost scope that has it, then the caller's variables, then our own.
Maybe Run::lookup(uint32_t name) {
  for (Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    if (Value* found = scope->find(name)) return *found;
  }
  if (context_[name].missing()) {
    GET(Value value, resolve(name));
    context_[name] = std::move(value);
  }
  return context_[name];
}

Maybe Run::resolve(uint32_t name) {
  const std::string& text = tree_.names[name];
  if (const json::value* given = variables_.if_contains(text)) {
    reading_variables_ = true;
    Maybe value = from_json(*given, MarkedText::kCaller);
    reading_variables_ = false;
    return value;
  }
  if (text == "bos_token") return string(options_.bos_token);
  if (text == "eos_token") return string(options_.eos_token);
  const auto globals = global_functions();
  const auto found = std::ranges::find(globals, text, &FunctionEntry::name);
  if (found != globals.end()) return Value::function(found - globals.begin());
  return Value::undefined(&text);
}

}  // namespace hadal::jinja
