#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "base/parse.h"
#include "base/utf8.h"
#include "text/grammar/ir.h"

// GBNF, llama.cpp's text form of grammars. Rules that refer to no circle are regular expressions in
// all but name; they become lexemes, so that a string rule costs what a pattern costs.

namespace hadal {
namespace {

constexpr size_t kLexemeSize = 4000;  // of a merged regular piece: about its automaton's states
constexpr size_t kRulesMax = 16 * 1024;
constexpr int kInlineDepth = 200;  // of rules within rules

struct Item {
  enum class Kind : uint8_t { kRegex, kRule, kToken, kSeq, kAlt, kRepeat };
  Kind kind = Kind::kSeq;
  Regex regex = {};
  uint32_t a = 0, b = 0;  ///< rule, token, or bounds
  std::vector<Item> children = {};
};

struct Rule {
  std::string name;
  size_t offset = 0;  ///< of its first mention
  std::optional<Item> body = {};
};

class Reader {
 public:
  Reader(std::string_view text, const Tokenizer* tokenizer) : text_(text), tokenizer_(tokenizer) {}

  Result<std::vector<Rule>> all() {
    skip(true);
    while (at_ < text_.size()) {
      TRY_STATUS(rule());
      skip(true);
    }
    for (const Rule& rule : rules_) {
      if (!rule.body) {
        return wrong(rule.offset, fmt::format("the rule \"{:.60}\" is not defined", rule.name));
      }
    }
    return std::move(rules_);
  }

 private:
  Error wrong(size_t offset, std::string_view what) const {
    const std::string_view before = text_.substr(0, offset);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const size_t start = before.rfind('\n') + 1;  // npos + 1 = 0
    return Error{Code::kInvalidArgument,
                 fmt::format("grammar, line {}, column {}: {}", line, offset - start + 1, what)};
  }
  char peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  bool take(std::string_view what) {
    if (!text_.substr(at_).starts_with(what)) return false;
    at_ += what.size();
    return true;
  }
  /// Blanks and comments; line ends too if `lines`.
  void skip(bool lines) {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }
  std::string_view name() {
    const size_t start = at_;
    const auto part = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '-' || c == '_';
    };
    while (at_ < text_.size() && part(text_[at_])) ++at_;
    return text_.substr(start, at_ - start);
  }
  uint32_t rule_index(std::string_view name, size_t offset) {
    const auto it = index_.find(name);
    if (it != index_.end()) return it->second;
    const auto index = static_cast<uint32_t>(rules_.size());
    rules_.push_back({std::string(name), offset, {}});
    index_.emplace(name, index);
    return index;
  }

  Status rule() {
    const size_t start = at_;
    const std::string_view called = name();
    if (called.empty()) return wrong(start, "a rule's name is expected");
    skip(false);
    if (!take("::=")) return wrong(at_, "\"::=\" is expected");
    skip(true);
    const uint32_t index = rule_index(called, start);
    if (rules_[index].body) {
      return wrong(start, fmt::format("the rule \"{:.60}\" is defined twice", called));
    }
    TRY(Item body, alternatives(0));
    if (at_ < text_.size() && peek() != '\n' && peek() != '\r') {
      return wrong(at_, "this begins nothing a rule can hold");
    }
    rules_[index].body = std::move(body);
    if (rules_.size() > kRulesMax) return wrong(start, "too many rules");
    return {};
  }

  Result<Item> alternatives(int depth) {
    if (depth > limits::kGrammarDepth) return wrong(at_, "groups are nested too deeply");
    Item out;
    out.kind = Item::Kind::kAlt;
    do {
      skip(true);
      TRY(Item option, sequence(depth));
      out.children.push_back(std::move(option));
    } while (take("|"));
    if (out.children.size() > 1) return out;
    Item only = std::move(out.children.front());
    return only;
  }

  Result<Item> sequence(int depth) {
    Item out;
    while (true) {
      skip(depth > 0);
      const char c = peek();
      const bool ends = at_ >= text_.size() || c == '|' || c == ')' || c == '\n' || c == '\r';
      if (ends) return out;
      TRY(Item part, atom(depth));
      TRY(part, repeated(std::move(part)));
      out.children.push_back(std::move(part));
    }
  }

  Result<Item> atom(int depth) {
    const size_t start = at_;
    const char c = peek();
    if (c == '"') return text();
    if (c == '[') return bracket();
    if (c == '(') {
      ++at_;
      TRY(Item inside, alternatives(depth + 1));
      skip(true);
      if (!take(")")) return wrong(start, "the group is not closed");
      return inside;
    }
    if (c == '.') {
      ++at_;
      return regex_item(Regex::one_of(CharSet::all()));
    }
    if (c == '!' && peek(1) == '<') {
      return wrong(start, "a token that is excluded (!<...>) is not supported");
    }
    if (c == '<') return token();
    const std::string_view called = name();
    if (called.empty()) return wrong(start, "this begins nothing a rule can hold");
    Item out;
    out.kind = Item::Kind::kRule;
    out.a = rule_index(called, start);
    return out;
  }

  static Item regex_item(Regex regex) {
    Item out;
    out.kind = Item::Kind::kRegex;
    out.regex = std::move(regex);
    return out;
  }

  Result<Item> text() {
    const size_t start = at_++;
    std::string bytes;
    while (true) {
      if (at_ >= text_.size() || peek() == '\n') return wrong(start, "the text is not closed");
      const char c = text_[at_++];
      if (c == '"') return regex_item(Regex::text(bytes));
      if (c != '\\') {
        bytes += c;
        continue;
      }
      const char what = peek();
      ++at_;
      constexpr std::string_view kLetters = "nrt\\\"[]";
      constexpr std::string_view kValues = "\n\r\t\\\"[]";
      const size_t simple = kLetters.find(what);
      if (what != '\0' && simple != std::string_view::npos) {
        bytes += kValues[simple];
        continue;
      }
      const size_t digits = what == 'x' ? 2 : what == 'u' ? 4 : what == 'U' ? 8 : 0;
      const std::string_view hex = text_.substr(std::min(at_, text_.size()), digits);
      uint32_t value = 0;
      const auto done = std::from_chars(hex.data(), hex.data() + hex.size(), value, 16);
      if (digits == 0 || hex.size() != digits || done.ptr != hex.data() + digits) {
        return wrong(at_ - 2, "an unknown escape");
      }
      utf8_append(bytes, value);
      at_ += digits;
    }
  }

  Result<Item> bracket() {
    const size_t start = at_;
    auto set = parse_class(text_, at_);
    if (!set.ok()) return wrong(start, set.error().message);
    return regex_item(Regex::one_of(std::move(set).value()));
  }

  /// <[id]> or <text>: one token.
  Result<Item> token() {
    const size_t start = at_;
    const size_t close = text_.find('>', at_);
    if (close == std::string_view::npos) return wrong(start, "the token is not closed");
    if (tokenizer_ == nullptr) return wrong(start, "tokens cannot be named without a vocabulary");
    std::string_view inside = text_.substr(at_ + 1, close - at_ - 1);
    at_ = close + 1;
    std::optional<TokenId> id;
    if (inside.starts_with("[") && inside.ends_with("]")) {
      id = parse_int<TokenId>(inside.substr(1, inside.size() - 2));
      if (id && (*id < 0 || *id >= tokenizer_->size())) id.reset();
    } else {
      id = tokenizer_->find(text_.substr(start, close + 1 - start));
    }
    if (!id) return wrong(start, "the vocabulary has no such token");
    Item out;
    out.kind = Item::Kind::kToken;
    out.a = static_cast<uint32_t>(*id);
    return out;
  }

  Result<Item> repeated(Item part) {
    while (true) {
      skip(false);
      const size_t start = at_;
      uint32_t min = 0;
      uint32_t max = Regex::kUnbounded;
      if (take("+")) {
        min = 1;
      } else if (take("?")) {
        max = 1;
      } else if (take("{")) {
        TRY_STATUS(bounds(start, min, max));
      } else if (!take("*")) {
        return part;
      }
      Item out;
      out.kind = Item::Kind::kRepeat;
      out.a = min;
      out.b = max;
      out.children.push_back(std::move(part));
      part = std::move(out);
      if (++repetitions_ > limits::kGrammarNodes || nesting(part) > limits::kGrammarDepth) {
        return wrong(start, "too many repetitions");
      }
    }
  }

  static int nesting(const Item& item) {
    int depth = 0;
    for (const Item* at = &item; at->kind == Item::Kind::kRepeat; at = &at->children.front()) {
      ++depth;
    }
    return depth;
  }

  Status bounds(size_t start, uint32_t& min, uint32_t& max) {
    const size_t close = text_.find('}', at_);
    if (close == std::string_view::npos) return wrong(start, "the bounds are not closed");
    std::string inside(text_.substr(at_, close - at_));
    std::erase(inside, ' ');
    const size_t comma = inside.find(',');
    const std::string low = inside.substr(0, comma);
    const std::string high = comma == std::string::npos ? low : inside.substr(comma + 1);
    const std::optional<uint32_t> from =
        low.empty() && comma != std::string::npos ? 0U : parse_int<uint32_t>(low);
    const std::optional<uint32_t> to =
        high.empty() && comma != std::string::npos ? Regex::kUnbounded : parse_int<uint32_t>(high);
    if (!from || !to || *to < *from) return wrong(start, "bounds are {m}, {m,}, {,n} or {m,n}");
    if (*from > limits::kGrammarRepeat ||
        (*to != Regex::kUnbounded && *to > limits::kGrammarRepeat)) {
      return wrong(start, fmt::format("a bound exceeds {}", limits::kGrammarRepeat));
    }
    min = *from;
    max = *to;
    at_ = close + 1;
    return {};
  }

  std::string_view text_;
  const Tokenizer* tokenizer_;
  size_t at_ = 0;
  size_t repetitions_ = 0;
  std::vector<Rule> rules_;
  std::map<std::string, uint32_t, std::less<>> index_;
};

/// Writes rules as nodes, regular pieces as lexemes.
class Writer {
 public:
  explicit Writer(std::vector<Rule> rules)
      : rules_(std::move(rules)), sizes_(rules_.size()), ids_(rules_.size()) {}

  Grammar write(uint32_t root) {
    const IrBuilder::Id id = rule(root);
    while (!pending_.empty()) {
      const uint32_t next = pending_.back();
      pending_.pop_back();
      b_.define(*ids_[next], emit(*rules_[next].body));
    }
    return b_.finish(id);
  }

 private:
  static constexpr size_t kNotRegular = SIZE_MAX / 4;

  IrBuilder::Id rule(uint32_t index) {
    if (!ids_[index]) {
      ids_[index] = b_.declare();
      pending_.push_back(index);
    }
    return *ids_[index];
  }

  /// About the automaton's states of an item when it is written as one expression.
  size_t size(const Item& item, int depth) {
    switch (item.kind) {
      case Item::Kind::kRegex:
        return item.regex.kind == Regex::Kind::kBytes ? item.regex.bytes.size() + 1 : 4;
      case Item::Kind::kToken:
        return kNotRegular;
      case Item::Kind::kRule:
        return rule_size(item.a, depth);
      case Item::Kind::kRepeat: {
        const size_t one = size(item.children.front(), depth);
        const size_t times = item.b == Regex::kUnbounded ? item.a + 1 : item.b;
        return one >= kNotRegular ? one
                                  : std::min(kNotRegular - 1, one * std::max<size_t>(times, 1));
      }
      case Item::Kind::kSeq:
      case Item::Kind::kAlt:
        break;
    }
    size_t sum = 1;
    for (const Item& child : item.children) {
      const size_t one = size(child, depth);
      if (one >= kNotRegular) return kNotRegular;
      sum = std::min(kNotRegular - 1, sum + one);
    }
    return sum;
  }

  size_t rule_size(uint32_t index, int depth) {
    if (sizes_[index]) return *sizes_[index];
    if (depth > kInlineDepth) return kNotRegular;
    sizes_[index] = kNotRegular;  // what a circle back to it sees
    const size_t found = size(*rules_[index].body, depth + 1);
    sizes_[index] = found;
    return found;
  }

  Regex regex_of(const Item& item) const {
    std::vector<Regex> children;
    for (const Item& child : item.children) children.push_back(regex_of(child));
    switch (item.kind) {
      case Item::Kind::kRegex:
        return item.regex;
      case Item::Kind::kRule:
        return regex_of(*rules_[item.a].body);
      case Item::Kind::kRepeat:
        return Regex::repeat(std::move(children.front()), item.a, item.b);
      case Item::Kind::kAlt:
        return Regex::alt(std::move(children));
      case Item::Kind::kSeq:
      case Item::Kind::kToken:
        break;
    }
    return Regex::concat(std::move(children));
  }

  IrBuilder::Id lexeme(std::vector<Regex>& parts) {
    Regex regex = Regex::concat(std::move(parts));
    parts.clear();
    if (regex.kind == Regex::Kind::kBytes) return b_.literal(regex.bytes);
    return b_.regex(std::move(regex), "grammar");
  }

  IrBuilder::Id emit(const Item& item) {
    if (size(item, 0) <= kLexemeSize) {
      std::vector<Regex> whole;
      whole.push_back(regex_of(item));
      return lexeme(whole);
    }
    switch (item.kind) {
      case Item::Kind::kRule:
        return rule(item.a);
      case Item::Kind::kToken:
        return b_.token(static_cast<TokenId>(item.a));
      case Item::Kind::kRepeat: {
        const IrBuilder::Id child = emit(item.children.front());
        return b_.repeat(child, item.a, item.b);
      }
      case Item::Kind::kAlt: {
        std::vector<IrBuilder::Id> options;
        for (const Item& child : item.children) options.push_back(emit(child));
        return b_.alt(std::move(options));
      }
      default:
        return emit_sequence(item);
    }
  }

  /// Neighbours that are regular become one lexeme as long as it stays small.
  IrBuilder::Id emit_sequence(const Item& item) {
    std::vector<IrBuilder::Id> parts;
    std::vector<Regex> run;
    size_t run_size = 0;
    for (const Item& child : item.children) {
      const size_t one = size(child, 0);
      if (!run.empty() && run_size + one > kLexemeSize) {
        parts.push_back(lexeme(run));
        run_size = 0;
      }
      if (one > kLexemeSize) {
        parts.push_back(emit(child));
      } else {
        run.push_back(regex_of(child));
        run_size += one;
      }
    }
    if (!run.empty()) parts.push_back(lexeme(run));
    return b_.seq(std::move(parts));
  }

  std::vector<Rule> rules_;
  std::vector<std::optional<size_t>> sizes_;
  std::vector<std::optional<IrBuilder::Id>> ids_;
  std::vector<uint32_t> pending_;
  IrBuilder b_;
};

}  // namespace

Result<Grammar> Grammar::from_gbnf(std::string_view text, const Tokenizer* tokenizer) {
  if (text.size() > limits::kGrammarTextBytes) {
    return Error{Code::kExhausted,
                 fmt::format("the grammar exceeds {} bytes", limits::kGrammarTextBytes)};
  }
  TRY(std::vector<Rule> rules, Reader(text, tokenizer).all());
  const auto root = std::find_if(rules.begin(), rules.end(),
                                 [](const Rule& rule) { return rule.name == "root"; });
  if (root == rules.end()) {
    return Error{Code::kInvalidArgument, "the grammar has no rule \"root\""};
  }
  const auto index = static_cast<uint32_t>(root - rules.begin());
  return Writer(std::move(rules)).write(index);
}

}  // namespace hadal
