#pragma once
/// The slow twin of automata and machine: where a node of a grammar can end when it begins at a
/// position of a text, by trying everything. For short texts.
#include <set>
#include <string_view>

#include "base/utf8.h"
#include "text/grammar/ir.h"

namespace hadal::testing {

using Ends = std::set<size_t>;

inline Ends regex_ends(const Regex& regex, std::string_view text, size_t at) {
  switch (regex.kind) {
    case Regex::Kind::kBytes:
      return text.substr(at).starts_with(regex.bytes) ? Ends{at + regex.bytes.size()} : Ends{};
    case Regex::Kind::kSet: {
      if (at >= text.size()) return {};
      const Utf8Step step = utf8_decode(text, at);
      return step.valid && regex.set.contains(step.code_point) ? Ends{at + step.size} : Ends{};
    }
    case Regex::Kind::kConcat: {
      Ends now{at};
      for (const Regex& child : regex.children) {
        Ends next;
        for (const size_t from : now) next.merge(regex_ends(child, text, from));
        now = std::move(next);
      }
      return now;
    }
    case Regex::Kind::kAlt: {
      Ends all;
      for (const Regex& child : regex.children) all.merge(regex_ends(child, text, at));
      return all;
    }
    case Regex::Kind::kRepeat: {
      Ends all;
      Ends now{at};
      for (uint32_t i = 0; i <= regex.max && i <= regex.min + text.size() + 1; ++i) {
        if (i >= regex.min) all.insert(now.begin(), now.end());
        Ends next;
        for (const size_t from : now) next.merge(regex_ends(regex.children[0], text, from));
        now = std::move(next);
      }
      return all;
    }
    case Regex::Kind::kModulo: {
      Ends all;
      uint64_t value = 0;
      for (size_t i = at; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) {
        value = (value * 10 + static_cast<uint64_t>(text[i] - '0')) % regex.min;
        if (value == 0) all.insert(i + 1);
      }
      return all;
    }
    default:
      return {at};
  }
}

inline Ends lexeme_ends(const LexemeSpec& spec, std::string_view text, size_t at) {
  if (spec.kind == LexemeSpec::Kind::kLiteral) return regex_ends(Regex::text(spec.text), text, at);
  if (spec.kind == LexemeSpec::Kind::kCounted) {
    return regex_ends(
        Regex::concat({Regex::text(spec.text), Regex::repeat(spec.regexes[0], spec.min, spec.max),
                       Regex::text(spec.suffix)}),
        text, at);
  }
  Ends all = regex_ends(spec.regexes[0], text, at);
  for (const Regex& regex : spec.regexes) {
    const Ends other = regex_ends(regex, text, at);
    std::erase_if(all, [&](size_t end) { return !other.contains(end); });
  }
  for (const Regex& regex : spec.excluded) {
    for (const size_t end : regex_ends(regex, text, at)) all.erase(end);
  }
  return all;
}

/// No free text, no tokens, no left recursion.
inline Ends node_ends(const GrammarIr& ir, uint32_t id, std::string_view text, size_t at) {
  using Kind = GrammarIr::Kind;
  const GrammarIr::Node& node = ir.nodes[id];
  switch (node.kind) {
    case Kind::kEmpty:
      return {at};
    case Kind::kLexeme:
      return lexeme_ends(ir.lexemes[node.a], text, at);
    case Kind::kRef:
      return node_ends(ir, node.a, text, at);
    case Kind::kSeq: {
      Ends now{at};
      for (const uint32_t child : node.children) {
        Ends next;
        for (const size_t from : now) next.merge(node_ends(ir, child, text, from));
        now = std::move(next);
      }
      return now;
    }
    case Kind::kAlt: {
      Ends all;
      for (const uint32_t child : node.children) all.merge(node_ends(ir, child, text, at));
      return all;
    }
    case Kind::kRepeat: {
      Ends all;
      Ends now{at};
      for (uint32_t i = 0; i <= node.b && i <= node.a + text.size() + 1; ++i) {
        if (i >= node.a) all.insert(now.begin(), now.end());
        Ends next;
        for (const size_t from : now) next.merge(node_ends(ir, node.children[0], text, from));
        now = std::move(next);
      }
      return all;
    }
    default:
      return {};
  }
}

inline bool naive_match(const Grammar& grammar, std::string_view text) {
  return node_ends(grammar.ir(), grammar.ir().root, text, 0).contains(text.size());
}

}  // namespace hadal::testing
