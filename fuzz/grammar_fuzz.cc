// Attacks grammars: the first byte chooses schema, regex, GBNF or free text; the rest is its
// source. What compiles is walked at random, and each token that a mask allows must be accepted.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/json.h"
#include "text/grammar.h"
#include "text/grammar/token_trie.h"
#include "text/grammar_matcher.h"
#include "text/tokenizer/test_vocabulary.h"

namespace {

using hadal::Grammar;
using hadal::Result;
using hadal::TokenId;

struct Vocabulary {
  std::unique_ptr<hadal::Tokenizer> tokenizer;
  std::unique_ptr<hadal::GrammarVocabulary> grammar;

  Vocabulary() {
    hadal::VocabSpec spec = hadal::byte_spec(
        "default", {"\"|,", "\"|:", "{|\"", "a|b", "ab|c", "\n| ", "1|2", "\"|}", "k|>", "k>|{"});
    hadal::add_token(spec, "</think>", hadal::kControlKind);
    spec.eos = hadal::add_token(spec, "<eos>", hadal::kControlKind);
    tokenizer = std::move(hadal::Tokenizer::create(std::move(spec))).value();
    grammar = hadal::GrammarVocabulary::create(*tokenizer);
  }
};

Result<Grammar> read(uint8_t kind, std::string_view source, const hadal::Tokenizer& tokenizer) {
  if (kind % 4 == 0) {
    TRY(const hadal::json::value schema, hadal::parse_json(source));
    return Grammar::from_json_schema(schema);
  }
  if (kind % 4 == 1) return Grammar::from_regex(source);
  if (kind % 4 == 2) return Grammar::from_gbnf(source, &tokenizer);
  const size_t cut = std::min(source.find('\n'), source.size());
  TRY(Grammar then, Grammar::from_regex(source.substr(std::min(cut + 1, source.size()))));
  hadal::FreeTextSpec spec;
  spec.branches.push_back({{std::string(source.substr(0, cut))}, std::move(then), kind % 8 == 3});
  spec.may_end = kind % 16 >= 8;
  return Grammar::free_text(spec);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static const Vocabulary vocabulary;
  const std::string_view source(reinterpret_cast<const char*>(data + 1), size - 1);
  const auto grammar = read(data[0], source, *vocabulary.tokenizer);
  if (!grammar.ok()) return 0;
  const auto compiled = hadal::CompiledGrammar::compile(grammar.value(), *vocabulary.grammar);
  if (!compiled.ok()) return 0;
  hadal::GrammarMatcher matcher(compiled.value());
  uint64_t random = size * 0x9E3779B97F4A7C15u + data[size - 1];
  for (int step = 0; step < 24 && !matcher.finished(); ++step) {
    std::vector<TokenId> ids;
    const hadal::AllowedTokens allowed = matcher.allowed();
    for (TokenId id = 0; id < vocabulary.tokenizer->size(); ++id) {
      if (hadal::get_bit(allowed.bits, id)) ids.push_back(id);
    }
    CHECK(!ids.empty());
    random = random * 6364136223846793005u + 1442695040888963407u;
    CHECK(matcher.accept(ids[(random >> 33) % ids.size()]));
  }
  return 0;
}
