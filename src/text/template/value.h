#pragma once
/// Values of the template language: what Python's None, bool, int, float, str, list, tuple, dict
/// and the helpers of jinja2 are to a template. Strings and scalars know where they came from.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/text.h"

namespace hadal::jinja {

/// Bytes held by live objects of one render; the limit is checked by Run before it allocates.
struct Budget {
  size_t live_bytes = 0;
};

/// Base of everything on the heap. Counted, single-threaded: a render never leaves its thread.
class Object {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() {
    if (budget_ != nullptr) budget_->live_bytes -= bytes_;
  }
  void account(Budget& budget, size_t bytes) {
    budget_ = &budget;
    bytes_ += bytes;
    budget.live_bytes += bytes;
  }

 private:
  template <typename T>
  friend class Ref;
  uint32_t count_ = 0;
  Budget* budget_ = nullptr;
  size_t bytes_ = 0;
};

/// Owning pointer to a counted object.
template <typename T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* object) : object_(object) { retain(); }
  Ref(const Ref& other) : object_(other.object_) { retain(); }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  template <typename U>
  Ref(const Ref<U>& other) : object_(other.get()) {  // NOLINT(google-explicit-constructor)
    retain();
  }
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr && --object_->count_ == 0) std::unique_ptr<Object>{object_};
  }
  bool unique() const { return object_ != nullptr && object_->count_ == 1; }
  T* get() const { return object_; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  void retain() {
    if (object_ != nullptr) ++object_->count_;
  }
  T* object_ = nullptr;
};

/// Bytes with their origin. While all bytes have one origin only `mark` is kept.
struct Text {
  std::string bytes;
  std::string origin;  ///< empty, or one mark per byte
  char mark = MarkedText::kTemplate;

  Text() = default;
  Text(std::string_view text, char from) : bytes(text), mark(from) {}
  size_t size() const { return bytes.size(); }
  char mark_at(size_t i) const { return origin.empty() ? mark : origin[i]; }
  /// kCaller if any byte is the caller's.
  char overall() const;
  void append(std::string_view text, char from);
  void append(const Text& other) { append(other, 0, other.size()); }
  void append(const Text& other, size_t from, size_t count);
  Text sub(size_t from, size_t count) const;
};

enum class Kind : uint8_t {
  kMissing,  ///< an argument that was not given; never seen by a template
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kSequence,
  kDict,
  kNamespace,
  kMacro,
  kFunction,
  kMethod,
  kLoop,
};

struct String;
struct Sequence;
struct Dict;

class Value {
 public:
  Value() = default;
  static Value none(char mark = MarkedText::kTemplate) { return Value(Kind::kNone, mark); }
  static Value undefined(const std::string* name = nullptr) {
    Value v(Kind::kUndefined, MarkedText::kTemplate);
    v.name_ = name;
    return v;
  }
  static Value boolean(bool value, char mark = MarkedText::kTemplate) {
    Value v(Kind::kBool, mark);
    v.int_ = value ? 1 : 0;
    return v;
  }
  static Value integer(int64_t value, char mark = MarkedText::kTemplate) {
    Value v(Kind::kInt, mark);
    v.int_ = value;
    return v;
  }
  static Value real(double value, char mark = MarkedText::kTemplate) {
    Value v(Kind::kFloat, mark);
    v.real_ = value;
    return v;
  }
  static Value function(int64_t id) {
    Value v(Kind::kFunction, MarkedText::kTemplate);
    v.int_ = id;
    return v;
  }
  Value(Kind kind, Ref<Object> object)
      : kind_(kind), mark_(MarkedText::kTemplate), object_(std::move(object)) {}

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool missing() const { return kind_ == Kind::kMissing; }
  bool undefined_value() const { return kind_ == Kind::kUndefined; }
  bool number() const { return kind_ >= Kind::kBool && kind_ <= Kind::kFloat; }
  bool integral() const { return kind_ == Kind::kBool || kind_ == Kind::kInt; }
  char mark() const { return mark_; }
  bool truth() const { return int_ != 0; }
  int64_t integer() const { return int_; }
  double real() const { return kind_ == Kind::kFloat ? real_ : static_cast<double>(int_); }
  const std::string* undefined_name() const { return name_; }
  const String& string() const;
  const Text& text() const;
  Sequence& sequence() const;
  Dict& dict() const;
  Object* object() const { return object_.get(); }
  template <typename T>
  T& as() const {
    return static_cast<T&>(*object_);
  }

 private:
  Value(Kind kind, char mark) : kind_(kind), mark_(mark) {}
  Kind kind_ = Kind::kMissing;
  char mark_ = MarkedText::kTemplate;
  union {
    int64_t int_ = 0;
    double real_;
    const std::string* name_;
  };
  Ref<Object> object_;
};

struct String : Object {
  Text text;
  bool markup = false;  ///< result of |safe or |escape: what is added to it gets escaped
};

/// What Python type a sequence of values shows itself as.
enum class Flavour : uint8_t { kList, kTuple, kRange, kKeys, kValues, kItems, kGenerator };

struct Sequence : Object {
  std::vector<Value> items;
  Flavour flavour = Flavour::kList;
  char mark = MarkedText::kTemplate;
  bool hashable = true;                   ///< all items are
  bool consumed = false;                  ///< generators give their items once
  int depth = 1;                          ///< nesting, bounded so that recursion over values is
  int64_t start = 0, stop = 0, step = 1;  ///< of a range, for its text

  bool sized() const { return flavour != Flavour::kGenerator; }
  bool indexed() const { return flavour <= Flavour::kRange; }
};

struct Dict : Object {
  std::vector<std::pair<Value, Value>> entries;
  char mark = MarkedText::kTemplate;
  int depth = 1;

  const Value* find(std::string_view key) const;
  /// Index over string keys, made at the first look-up in a large dict.
  mutable std::unordered_map<std::string_view, size_t> index;
};

struct Node;
struct Scope;

struct Namespace : Object {
  std::vector<std::pair<std::string, Value>> entries;
  Value* find(std::string_view key);
};

/// State of a {% for %}, as `loop`.
struct Loop : Object {
  std::vector<Value> items;
  size_t index = 0;
  int level = 0;                    ///< of recursive calls
  int depth = 1;                    ///< nesting, as of a sequence
  const Node* recursive = nullptr;  ///< the statement, when it is marked recursive
  Ref<Scope> scope;                 ///< where a recursive call starts
  std::string changed;              ///< what loop.changed() saw last, as text
  bool changed_called = false;
};

/// Variables of one frame: the template, a loop iteration, a macro call.
struct Scope : Object {
  Ref<Scope> parent;
  std::vector<std::pair<uint32_t, Value>> variables;
  Value* find(uint32_t name);
  void set(uint32_t name, Value value);
};

/// A macro or the body of a {% call %}, with the scope it was written in.
struct Macro : Object {
  const Node* node = nullptr;
  Ref<Scope> scope;
};

struct MethodEntry;

/// A method and the value it was taken from.
struct Method : Object {
  Value self;
  const MethodEntry* entry = nullptr;
};

inline const String& Value::string() const {
  return as<String>();
}
inline const Text& Value::text() const {
  return as<String>().text;
}
inline Sequence& Value::sequence() const {
  return as<Sequence>();
}
inline Dict& Value::dict() const {
  return as<Dict>();
}

/// Python's name of the value's type, for messages.
std::string_view type_name(const Value& value);
/// Python's truth of a value.
bool truthy(const Value& value);
/// Python's ==. Adds what it costs to `work` (bytes compared, 64 for each element) and gives up
/// with false beyond kEqualWork: values may share parts, so a small one can be long to walk.
bool equal(const Value& a, const Value& b, size_t& work);
inline constexpr size_t kEqualWork = size_t{1} << 28;
/// Whether a value may be a dict key.
bool hashable(const Value& value);
/// Nesting of a container, 0 for others.
int depth_of(const Value& value);
/// Dict entry for any key, or null.
const Value* find_key(const Dict& dict, const Value& key, size_t& work);
/// The number as Python prints a float: "1.0", "1e-05", "inf".
std::string float_text(double number);

}  // namespace hadal::jinja
