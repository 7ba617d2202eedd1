#include "text/grammar/ir.h"

#include <utility>

#include "base/check.h"

namespace hadal {

IrBuilder::Id IrBuilder::lexeme(LexemeSpec spec) {
  const auto [it, fresh] =
      lexeme_ids_.try_emplace(spec.key(), static_cast<uint32_t>(ir_.lexemes.size()));
  if (fresh) ir_.lexemes.push_back(std::move(spec));
  return add({Kind::kLexeme, it->second});
}

IrBuilder::Id IrBuilder::literal(std::string_view text) {
  if (text.empty()) return empty();
  LexemeSpec spec;
  spec.text = text;
  return lexeme(std::move(spec));
}

IrBuilder::Id IrBuilder::regex(Regex regex, std::string_view where) {
  LexemeSpec spec;
  spec.kind = LexemeSpec::Kind::kRegex;
  spec.regexes.push_back(std::move(regex));
  spec.where = where;
  return lexeme(std::move(spec));
}

IrBuilder::Id IrBuilder::choices(std::span<const std::string> texts, std::string_view where) {
  constexpr size_t kBytes = 12 * 1024;  // of one automaton, whose states are at most as many
  std::vector<Id> lexemes;
  std::vector<Regex> options;
  size_t bytes = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    options.push_back(Regex::text(texts[i]));
    bytes += texts[i].size();
    if (i + 1 < texts.size() && bytes + texts[i + 1].size() <= kBytes) continue;
    lexemes.push_back(regex(Regex::alt(std::move(options)), where));
    options.clear();
    bytes = 0;
  }
  return alt(std::move(lexemes));
}

const LexemeSpec* IrBuilder::literal_of(Id id) const {
  const GrammarIr::Node& node = ir_.nodes[id];
  if (node.kind != Kind::kLexeme) return nullptr;
  const LexemeSpec& spec = ir_.lexemes[node.a];
  return spec.kind == LexemeSpec::Kind::kLiteral ? &spec : nullptr;
}

IrBuilder::Id IrBuilder::seq(std::vector<Id> parts) {
  std::vector<Id> out;
  for (const Id part : parts) {
    if (ir_.nodes[part].kind == Kind::kEmpty) continue;
    const LexemeSpec* right = literal_of(part);
    const LexemeSpec* left = out.empty() ? nullptr : literal_of(out.back());
    if (left != nullptr && right != nullptr) {
      out.back() = literal(left->text + right->text);
    } else {
      out.push_back(part);
    }
  }
  if (out.empty()) return empty();
  if (out.size() == 1) return out.front();
  return add({Kind::kSeq, 0, 0, std::move(out)});
}

IrBuilder::Id IrBuilder::alt(std::vector<Id> options) {
  if (options.empty()) return nothing();
  if (options.size() == 1) return options.front();
  return add({Kind::kAlt, 0, 0, std::move(options)});
}

IrBuilder::Id IrBuilder::free(GrammarIr::Free spec, std::vector<Id> branches) {
  ir_.frees.push_back(std::move(spec));
  return add({Kind::kFree, static_cast<uint32_t>(ir_.frees.size() - 1), 0, std::move(branches)});
}

IrBuilder::Id IrBuilder::include(const GrammarIr& other) {
  const auto base = static_cast<uint32_t>(ir_.nodes.size());
  const auto free_base = static_cast<uint32_t>(ir_.frees.size());
  ir_.frees.insert(ir_.frees.end(), other.frees.begin(), other.frees.end());
  std::vector<uint32_t> lexemes;
  for (const LexemeSpec& spec : other.lexemes) {
    const auto [it, fresh] =
        lexeme_ids_.try_emplace(spec.key(), static_cast<uint32_t>(ir_.lexemes.size()));
    if (fresh) ir_.lexemes.push_back(spec);
    lexemes.push_back(it->second);
  }
  for (GrammarIr::Node node : other.nodes) {
    if (node.kind == Kind::kLexeme) node.a = lexemes[node.a];
    if (node.kind == Kind::kFree) node.a += free_base;
    if (node.kind == Kind::kRef) node.a += base;
    for (uint32_t& child : node.children) child += base;
    ir_.nodes.push_back(std::move(node));
  }
  return base + other.root;
}

Grammar IrBuilder::finish(Id root) {
  ir_.root = root;
  for (const GrammarIr::Node& node : ir_.nodes) {
    CHECK(node.kind != Kind::kRef || node.a < ir_.nodes.size());
  }
  return Grammar(std::make_shared<const GrammarIr>(std::move(ir_)));
}

}  // namespace hadal
