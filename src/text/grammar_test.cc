#include "text/grammar.h"

#include <string>
#include <vector>

#include "base/limits.h"
#include "text/grammar/testing/grammar_fixture.h"
#include "text/grammar/testing/naive_grammar.h"

// Regular expressions, choices, GBNF and compositions: which texts match, and masks against a twin
// that asks each token whether its bytes keep the text alive.

namespace hadal {
namespace {

using testing::expect_exact;
using testing::matches;
using testing::naive_match;
using testing::problem;
using testing::random_text;
using testing::small;
using testing::start;
using testing::WalkOptions;

struct Case {
  const char* grammar;
  std::vector<std::string> good, bad;
};

TEST(GrammarTest, RegularExpressionsMatchWholeTexts) {
  // Goal: every construct of the accepted subset, with texts on both sides of its border.
  const Case cases[] = {
      {"abc", {"abc"}, {"", "ab", "abcd", "xabc"}},
      {"a|bc|", {"a", "bc", ""}, {"b", "abc"}},
      {"a*b+c?", {"b", "aabbc"}, {"", "a", "ac", "bcc"}},
      {"a{2}b{1,3}c{2,}", {"aabcc", "aabbbcccc"}, {"abcc", "aabbbbcc", "aabc"}},
      {"a{,2}", {"", "aa"}, {"aaa"}},
      {"a{b}", {"a{b}"}, {"ab"}},
      {"(?:ab)+(c|d)", {"abc", "ababd"}, {"c", "abab"}},
      {"(?<year>[0-9]{4})", {"2024"}, {"204"}},
      {"[a-c_.-]+", {"a-c", "._"}, {"d", ""}},
      {"[^a-c]", {"d", "\xC3\xA9", "\xF0\x9F\x98\x80", "\n"}, {"a", "\xC3", ""}},
      {"[]", {}, {"", "a"}},
      {"[^]", {"\n", "x"}, {""}},
      {".", {"x", "\xE4\xB8\xAD"}, {"\n", "\r", "\xE2\x80\xA8", "\xFF"}},
      {"\\d\\w\\s", {"1_ ", "9z\t"}, {"a_ ", "1- "}},
      {"\\D\\W\\S", {"a-x"}, {"1-x", "aax"}},
      {"\\x41\\u0042\\u{1F600}\\t\\0", {std::string("AB\xF0\x9F\x98\x80\t\0", 8)}, {"AB"}},
      {"\\uD83D\\uDE00", {"\xF0\x9F\x98\x80"}, {"\xF0\x9F\x98\x81"}},
      {"\\p{L}+\\p{N}",
       {"z\xC3\xA9\xE4\xB8\xAD"
        "7"},
       {"7", "a-7"}},
      {"\\P{L}", {"7"}, {"a"}},
      {"\\.\\*\\/\\-", {".*/-"}, {"a*/-"}},
      {"^abc$", {"abc"}, {"ab"}},
      {"^(?:a|b)$", {"a", "b"}, {"ab"}},
      {"(^a|b$)", {"a", "b"}, {"ab"}},
      {"a+?b??", {"a", "ab"}, {""}},
      {"[\\w.-]+@[a-z]+", {"a.b-c@x"}, {"@x", "a@"}},
      {"\xE4\xB8\xAD{2}", {"\xE4\xB8\xAD\xE4\xB8\xAD"}, {"\xE4\xB8\xAD"}},
      {"(a?){3}", {"", "a", "aaa"}, {"aaaa"}},
      {"(a*)*", {"", "aaa"}, {"b"}},
  };
  for (const Case& c : cases) {
    const auto grammar = Grammar::from_regex(c.grammar);
    ASSERT_TRUE(grammar.ok()) << c.grammar << ": " << grammar.error().text();
    if (c.good.empty()) continue;  // nothing matches: compile() refuses, see below
    for (const std::string& text : c.good)
      EXPECT_TRUE(matches(grammar, text)) << c.grammar << " " << text;
    for (const std::string& text : c.bad)
      EXPECT_FALSE(matches(grammar, text)) << c.grammar << " " << text;
  }
}

TEST(GrammarTest, RegularExpressionsThatAreRefusedSayWhereAndWhy) {
  // Goal: each unsupported or broken construct gives an error with its offset.
  const std::pair<const char*, const char*> cases[] = {
      {"ab(?=c)", "offset 2: look-around"},
      {"(?<!a)b", "offset 0: look-around"},
      {"(a)\\1", "offset 3: back references"},
      {"a\\b", "offset 1: word boundaries"},
      {"(a", "offset 0: the group is not closed"},
      {"a)", "offset 1: a ')' closes nothing"},
      {"[a", "offset 0: the class is not closed"},
      {"[z-a]", "offset 1: the range is in the wrong order"},
      {"*a", "offset 0: there is nothing to repeat"},
      {"a**", "offset 2: a repetition is repeated"},
      {"a*+", "offset 2: possessive"},
      {"a{3,2}", "offset 1: the bounds are in the wrong order"},
      {"a{999999}", "exceeds 100000"},
      {"\\q", "offset 0: the escape \\q"},
      {"\\p{Greek}", "the property \"Greek\""},
      {"\\uD800", "half a surrogate pair"},
      {"[[:alpha:]]", "POSIX"},
      {"a^b", "an anchor is supported only"},
      {"(?i)a", "flags"},
      {"\\", "a backslash ends"},
      {"[]", "no text matches"},
      {"\xFF", "not UTF-8"},
  };
  for (const auto& [pattern, message] : cases) {
    EXPECT_NE(problem(Grammar::from_regex(pattern)).find(message), std::string::npos)
        << pattern << ": " << problem(Grammar::from_regex(pattern));
  }
}

TEST(GrammarTest, ShortTextsMatchAsTheSlowTwinSays) {
  // Goal: automata, counters and stacks accept exactly the texts that trying everything accepts,
  // and a prefix lives exactly when some text continues it.
  const char* grammars[] = {
      "root ::= \"a\" (\"b\" | \"ab\")* \"c\"?",
      "root ::= (\"a\" | \"b\"){2,4}",
      "root ::= x x\nx ::= \"a\" x \"b\" | \"c\"",
      "root ::= (\"a\"? \"b\"?){0,3} \"c\"",
      "root ::= list\nlist ::= item (\"c\" list)?\nitem ::= \"a\" item \"b\" | \"a\" | \"b\"",
      "root ::= [ab]* \"a\" [ab]{2}",
      "root ::= e \"c\" | \"b\"\ne ::= (\"a\" e)? | \"b\" \"b\" e",
  };
  for (const char* text : grammars) {
    const auto grammar = Grammar::from_gbnf(text);
    ASSERT_TRUE(grammar.ok()) << text << grammar.error().text();
    std::vector<std::string> all = {""};
    for (size_t i = 0; all[i].size() < 7; ++i) {
      for (const char c : {'a', 'b', 'c'}) all.push_back(all[i] + c);
    }
    std::set<std::string> alive;
    for (const std::string& candidate : all) {
      const bool expected = naive_match(grammar.value(), candidate);
      EXPECT_EQ(matches(grammar, candidate), expected) << text << " on " << candidate;
      for (size_t n = 0; expected && n <= candidate.size(); ++n)
        alive.insert(candidate.substr(0, n));
    }
    for (const std::string& candidate : all) {
      if (candidate.size() > 2) break;  // longer ones may be completed beyond the list
      auto matcher = std::move(start(grammar)).value();
      EXPECT_EQ(matcher.accept_text(candidate), alive.contains(candidate)) << text << candidate;
    }
  }
}

TEST(GrammarTest, GbnfReadsEveryConstruct) {
  // Goal: literals, escapes, classes, groups, repetitions, comments, line breaks and recursion.
  const Case cases[] = {
      {"# a comment\nroot ::= \"x\" # another\n", {"x"}, {"", "xx"}},
      {"root ::= a-b | c_d\na-b ::= \"1\"\nc_d ::= \"2\"", {"1", "2"}, {"3"}},
      {"root ::= \"\\n\\t\\\"\\\\\\x41\\u00e9\"", {"\n\t\"\\A\xC3\xA9"}, {"n"}},
      {"root ::= [^\\n\"]+ [\\x30-\\x39]", {"ab7"}, {"a\n7", "ab"}},
      {"root ::= \"a\"{2} \"b\"{1,} \"c\"{0,1} \"d\"{,2}", {"aabbcd", "aab"}, {"ab", "aabccd"}},
      {"root ::= (\n \"a\"\n | \"b\"\n)+", {"ab", "b"}, {""}},
      {"root ::= \"a\" |\n  \"b\"", {"a", "b"}, {"ab"}},
      {"root ::= \"(\" root \")\" | \"\"", {"", "(())"}, {"(", "())"}},
      {"root ::= . . ", {"a\xC3\xA9", "\n\n"}, {"a"}},
      {"root ::= \"a\"* ws \"b\"\nws ::= | \" \" ws", {"b", "aa   b"}, {"a"}},
  };
  for (const Case& c : cases) {
    const auto grammar = Grammar::from_gbnf(c.grammar);
    ASSERT_TRUE(grammar.ok()) << c.grammar << ": " << grammar.error().text();
    for (const std::string& text : c.good)
      EXPECT_TRUE(matches(grammar, text)) << c.grammar << " " << text;
    for (const std::string& text : c.bad)
      EXPECT_FALSE(matches(grammar, text)) << c.grammar << " " << text;
  }
}

TEST(GrammarTest, GbnfTokensAreSingleIds) {
  // Goal: <text> and <[id]> name control tokens, whose text alone does not match.
  const std::string text =
      "root ::= \"a\" <|call|> <[" + std::to_string(small().other) + "]> \"b\"?";
  const auto grammar = Grammar::from_gbnf(text, small().tokenizer.get());
  ASSERT_TRUE(grammar.ok()) << grammar.error().text();
  auto matcher = std::move(start(grammar)).value();
  EXPECT_TRUE(matcher.accept('a'));
  expect_exact(matcher, "a");
  EXPECT_FALSE(matcher.fork().accept_text("<|call|>"));
  EXPECT_EQ(matcher.forced(4), std::vector<TokenId>{small().call});
  EXPECT_TRUE(matcher.accept(small().call));
  EXPECT_FALSE(matcher.accept(small().call));
  EXPECT_TRUE(matcher.accept(small().other));
  EXPECT_TRUE(matcher.can_end());
  EXPECT_FALSE(matcher.must_end());
  EXPECT_TRUE(matcher.accept(small().end));
  EXPECT_TRUE(matcher.finished());
  EXPECT_FALSE(matcher.accept('b'));
  for (const uint64_t word : matcher.allowed().bits) EXPECT_EQ(word, 0u);
}

TEST(GrammarTest, GbnfErrorsNameLineAndColumn) {
  // Goal: each broken grammar is refused at its place.
  const std::pair<const char*, const char*> cases[] = {
      {"root ::= a", "line 1, column 10: the rule \"a\" is not defined"},
      {"a ::= \"x\"", "no rule \"root\""},
      {"root ::= \"x\"\nroot ::= \"y\"", "line 2, column 1: the rule \"root\" is defined twice"},
      {"root ::= (\"x\"", "column 10: the group is not closed"},
      {"root ::= \"x", "column 10: the text is not closed"},
      {"root ::= \"x\"\n  ; y", "line 2, column 3"},
      {"root := \"x\"", "\"::=\" is expected"},
      {"root ::= \"a\"{2,1}", "bounds are"},
      {"root ::= <nope>", "without a vocabulary"},
      {"root ::= \"\\q\"", "an unknown escape"},
      {"root ::= root \"a\" | \"b\"", "left-recursive"},
      {"root ::= x root \"a\" | \"b\"\nx ::= \"y\"?", "left-recursive"},
      {"root ::= \"a\" root", "no text matches"},
      {"root ::= !<[1]>", "not supported"},
  };
  for (const auto& [grammar, message] : cases) {
    EXPECT_NE(problem(Grammar::from_gbnf(grammar)).find(message), std::string::npos)
        << grammar << ": " << problem(Grammar::from_gbnf(grammar));
  }
}

TEST(GrammarTest, MasksEqualTheirTwinOnRandomWalks) {
  // Goal: no slice, shared mask, exit or cache changes which tokens are allowed.
  std::vector<Grammar> grammars;
  for (const char* pattern : {"[a-z]+(-[a-z]+)*,? \"[^\"]*\"", "(a|ab|abc)*k?", "[^x]{3,9}",
                              "\\{\"a\": ?(\"[^\"\\\\]{0,5}\"|12+3)\\}", "(.|\\n){0,12}"}) {
    grammars.push_back(std::move(Grammar::from_regex(pattern)).value());
  }
  for (const char* text :
       {"root ::= \"{\" (pair (\", \" pair)*)? \"}\"\npair ::= str \":\" \" \"? val\n"
        "str ::= \"\\\"\" [^\"\\\\]* \"\\\"\"\nval ::= str | root | [0-9]+ | \"tr\" \"ue\"",
        "root ::= w (\" \" w){0,3}\nw ::= [ab]{1,3} | \"(\" root \")\""}) {
    grammars.push_back(std::move(Grammar::from_gbnf(text)).value());
  }
  const std::vector<std::string> choices = {"abc", "ab", "abab", "\"a\"", "true"};
  grammars.push_back(std::move(Grammar::from_choices(choices)).value());
  WalkOptions options;
  options.check_every = 1;
  options.free_tokens = 12;
  for (size_t i = 0; i < grammars.size(); ++i) {
    for (uint64_t seed = 0; seed < 6; ++seed) {
      auto matcher = std::move(start(grammars[i])).value();
      random_text(std::move(matcher), seed * 100 + i, options);
    }
  }
}

TEST(GrammarTest, ForcedTextAndTokensAreTheOnlyContinuation) {
  // Goal: skipping ahead never takes a choice from the model.
  auto matcher = std::move(start(Grammar::from_regex("abc: (x|y)z"))).value();
  EXPECT_EQ(matcher.forced_text(100), "abc: ");
  EXPECT_EQ(matcher.forced_text(2), "ab");
  for (const TokenId id : matcher.forced(8)) EXPECT_TRUE(matcher.accept(id));
  EXPECT_TRUE(matcher.accept_text(matcher.forced_text(100)));
  EXPECT_EQ(matcher.forced_text(100), "");
  EXPECT_TRUE(matcher.accept_text("x"));
  EXPECT_EQ(matcher.forced_text(100), "z");
  EXPECT_EQ(matcher.forced(8).size(), 1u);  // nothing can follow: the last token is safe too
  EXPECT_TRUE(matcher.accept_text("z"));
  EXPECT_TRUE(matcher.must_end());
  EXPECT_TRUE(matcher.forced(8).empty());
}

TEST(GrammarTest, ForksAreIndependent) {
  // Goal: what a draft does to its copy does not reach the row, and moves keep readings alive.
  auto matcher = std::move(start(Grammar::from_regex("(ab|ac)+"))).value();
  ASSERT_TRUE(matcher.accept('a'));
  GrammarMatcher copy = matcher.fork();
  ASSERT_TRUE(copy.accept('b'));
  EXPECT_TRUE(copy.can_end());
  EXPECT_FALSE(matcher.can_end());
  GrammarMatcher moved = std::move(matcher);
  EXPECT_TRUE(moved.accept('c'));
  copy = std::move(moved);
  EXPECT_TRUE(copy.accept('a'));
  EXPECT_FALSE(copy.accept('a'));
  expect_exact(copy, "aca");
}

}  // namespace
}  // namespace hadal
