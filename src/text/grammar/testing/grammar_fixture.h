#pragma once
/// What the tests of grammars share: a small vocabulary with tokens that cross every border, and
/// random walks that compare each mask with its slow twin.
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/json.h"
#include "text/grammar.h"
#include "text/grammar/token_trie.h"
#include "text/grammar_matcher.h"
#include "text/tokenizer/test_vocabulary.h"

namespace hadal::testing {

/// All bytes, some longer tokens, control tokens and an end.
struct SmallVocabulary {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<GrammarVocabulary> grammar;
  TokenId think = 0, call = 0, other = 0, end = 0;

  SmallVocabulary() {
    VocabSpec spec = byte_spec(
        "default", {"\"|,",  "\"|:",      "{|\"",   "a|b",       "ab|c",    " |\"",   ",| ",
                    ", |\"", "\n| ",      "\n |  ", "1|2",       "12|3",    "t|r",    "tr|u",
                    "tru|e", "\"|}",      "}|}",    "]|}",       "<|/",     "</|t",   "\\|u",
                    "k|>",   "k>|{",      "e|\"",   "\xC3|\xA9", "a|\"",    "\"a|\"", "a|a",
                    "aa|aa", "aaaa|aaaa", "</t|h",  "</th|i",    "\": |\"", "\":| ",  "b|<"});
    think = add_token(spec, "</think>", kControlKind);
    call = add_token(spec, "<|call|>", kControlKind);
    other = add_token(spec, "<|other|>", kControlKind);
    end = add_token(spec, "<eos>", kControlKind);
    spec.eos = end;
    tokenizer = std::move(Tokenizer::create(std::move(spec))).value();
    grammar = GrammarVocabulary::create(*tokenizer);
  }
};

inline const SmallVocabulary& small() {
  static const SmallVocabulary instance;
  return instance;
}

inline Result<GrammarMatcher> start(const Result<Grammar>& grammar,
                                    const GrammarVocabulary& vocabulary = *small().grammar) {
  if (!grammar.ok()) return grammar.error();
  TRY(auto compiled, CompiledGrammar::compile(grammar.value(), vocabulary));
  return GrammarMatcher(compiled);
}

inline json::value parsed(std::string_view text) {
  auto value = parse_json(text);
  EXPECT_TRUE(value.ok()) << text << ": " << value.error().text();
  return value.ok() ? std::move(value).value() : json::value();
}

inline Result<Grammar> schema(std::string_view text, const JsonGrammarOptions& options = {}) {
  return Grammar::from_json_schema(parsed(text), options);
}

/// Whether the whole of `text` matches.
inline bool matches(const Result<Grammar>& grammar, std::string_view text) {
  auto matcher = start(grammar);
  EXPECT_TRUE(matcher.ok()) << matcher.error().text();
  return matcher.ok() && matcher.value().accept_text(text) && matcher.value().can_end();
}

/// The message of a grammar that must not compile.
inline std::string problem(const Result<Grammar>& grammar) {
  const auto matcher = start(grammar);
  EXPECT_FALSE(matcher.ok());
  return matcher.ok() ? "" : matcher.error().text();
}

/// Compares the mask with what is_allowed() says of each token, which knows no trie, no slices and
/// no caches.
inline void expect_exact(GrammarMatcher& matcher, const std::string& context) {
  const AllowedTokens allowed = matcher.allowed();
  const Tokenizer& tokenizer = matcher.grammar().vocabulary().tokenizer();
  for (TokenId id = 0; id < tokenizer.size(); ++id) {
    ASSERT_EQ(get_bit(allowed.bits, id), matcher.is_allowed(id))
        << "after '" << context << "': token " << id << " '" << tokenizer.piece(id, true) << "'";
  }
}

struct WalkOptions {
  size_t free_tokens = 40;   ///< chosen evenly; then what closes strings and brackets is preferred
  size_t tokens_max = 3000;  ///< beyond, the walk has failed
  bool must_end = true;      ///< false: tokens_max is no failure
  size_t check_every = 0;    ///< compares every so-manieth mask with its twin; 0: none
};

/// A text of random tokens that the masks allow; ends when the grammar and chance do.
inline std::string random_text(GrammarMatcher matcher, uint64_t seed, const WalkOptions& options) {
  const Tokenizer& tokenizer = matcher.grammar().vocabulary().tokenizer();
  std::mt19937_64 random(seed);
  std::string text;
  for (size_t step = 0; step < options.tokens_max; ++step) {
    if (options.check_every != 0 && step % options.check_every == 0) expect_exact(matcher, text);
    std::vector<TokenId> ids;
    std::vector<TokenId> closing;
    const AllowedTokens allowed = matcher.allowed();
    for (TokenId id = 0; id < tokenizer.size(); ++id) {
      if (!get_bit(allowed.bits, id)) continue;
      ids.push_back(id);
      const std::string_view bytes = tokenizer.piece(id, false);
      const bool closes = tokenizer.is_end_of_generation(id) || bytes == "\"" || bytes == "}" ||
                          bytes == "]" || bytes == "\"}" || bytes == "}}";
      if (closes) closing.push_back(id);
    }
    EXPECT_FALSE(ids.empty()) << "a dead end after " << text;
    if (ids.empty()) return text;
    const bool close = step >= options.free_tokens && !closing.empty() && random() % 8 != 0;
    const std::vector<TokenId>& from = close ? closing : ids;
    const TokenId id = from[random() % from.size()];
    EXPECT_TRUE(matcher.accept(id)) << text;
    if (matcher.finished()) return text;
    text += tokenizer.piece(id, true);
  }
  if (options.must_end) ADD_FAILURE() << "no end in sight: " << text.substr(0, 300);
  return text;
}

}  // namespace hadal::testing
