#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/limits.h"
#include "text/grammar/testing/grammar_fixture.h"

// Free text with constrained parts: markers at every cut into tokens, control tokens, ends; and
// what hostile grammars and long answers may cost.

namespace hadal {
namespace {

using testing::expect_exact;
using testing::problem;
using testing::schema;
using testing::small;
using testing::start;

Grammar regex(std::string_view pattern) {
  return std::move(Grammar::from_regex(pattern)).value();
}

Grammar until(TextMarker marker, Grammar then) {
  FreeTextSpec spec;
  spec.branches.push_back({std::move(marker), std::move(then)});
  return std::move(Grammar::free_text(spec)).value();
}

/// Takes `text` in every way the vocabulary can spell it. Each token must be allowed; `ends` is
/// what can_end() must say at last.
void take_every_way(const Grammar& grammar, std::string_view text, bool ends) {
  size_t ways = 0;
  const std::function<void(const GrammarMatcher&, size_t)> take = [&](const GrammarMatcher& matcher,
                                                                      size_t at) {
    if (at == text.size()) {
      EXPECT_EQ(matcher.can_end(), ends);
      ++ways;
      return;
    }
    if (ways > 300) return;
    GrammarMatcher here = matcher.fork();
    const AllowedTokens allowed = here.allowed();
    for (TokenId id = 0; id < small().tokenizer->size(); ++id) {
      const std::string_view bytes = small().tokenizer->piece(id, false);
      if (bytes.empty() || !text.substr(at).starts_with(bytes)) continue;
      ASSERT_TRUE(get_bit(allowed.bits, id)) << text.substr(0, at) << " | " << bytes;
      GrammarMatcher next = matcher.fork();
      ASSERT_TRUE(next.accept(id));
      take(next, at + bytes.size());
    }
  };
  take(std::move(start(grammar)).value(), 0);
  EXPECT_GT(ways, 0u);
}

TEST(GrammarFreeTextTest, AMarkerIsFoundHoweverItIsCut) {
  // Goal: split markers, tokens that hold a marker's end and the beginning of the constrained part,
  // and false starts.
  const Grammar grammar = until({"</think>"}, regex("\\{\"a\": ?1\\}"));
  for (const char* before : {"", "ab", "</thin", "<</t", "</</th", "{\"a\"", "\xFF\xC3"}) {
    take_every_way(grammar, std::string(before) + "</think>{\"a\": 1}", true);
  }
  take_every_way(grammar, "ab</thinkk>{x", false);
}

TEST(GrammarFreeTextTest, ATokenThatCrossesTheMarkerMustFitWhatFollows) {
  // Goal: "k>{" is allowed before an object and refused before an array.
  for (const bool fits : {true, false}) {
    auto matcher =
        std::move(start(until({"</think>"}, regex(fits ? "\\{\"a\"\\}" : "\\[1\\]")))).value();
    ASSERT_TRUE(matcher.accept_text("</thin"));
    expect_exact(matcher, "</thin");
    const TokenId crossing = *small().tokenizer->find("k>{");
    EXPECT_EQ(get_bit(matcher.allowed().bits, crossing), fits);
    EXPECT_TRUE(get_bit(matcher.allowed().bits, *small().tokenizer->find("k>")));
    EXPECT_FALSE(get_bit(matcher.allowed().bits, small().end));
  }
}

TEST(GrammarFreeTextTest, AControlTokenMayBeTheMarker) {
  // Goal: by its id, or because its text is the marker's; others pass or not; no end before the
  // answer.
  for (const TextMarker& marker :
       {TextMarker{"</think>", kNoToken}, TextMarker{"", small().think}}) {
    auto matcher = std::move(start(until(marker, regex("yes|no")))).value();
    ASSERT_TRUE(matcher.accept_text("so </th"));
    ASSERT_TRUE(matcher.accept(small().other));
    EXPECT_TRUE(matcher.fork().accept_text("ink> and more"));  // the token has broken the marker
    EXPECT_FALSE(matcher.accept(small().end));
    expect_exact(matcher, "thinking");
    ASSERT_TRUE(matcher.accept(small().think));
    EXPECT_FALSE(matcher.fork().accept_text("maybe"));
    EXPECT_FALSE(matcher.fork().accept(small().other));
    ASSERT_TRUE(matcher.accept_text("no"));
    EXPECT_TRUE(matcher.must_end());
    EXPECT_TRUE(matcher.accept(small().end));
  }
  FreeTextSpec strict;
  strict.only_listed_tokens = true;
  strict.branches.push_back({{"", small().think}, regex("a")});
  auto matcher = std::move(start(Grammar::free_text(strict))).value();
  EXPECT_FALSE(matcher.is_allowed(small().other));
  EXPECT_TRUE(matcher.is_allowed(small().think));
}

TEST(GrammarFreeTextTest, CallsOfToolsMayBeginAtAnyPoint) {
  // Goal: free text, a call with its schema, free text again; an end only outside of calls; and in
  // free text everything is allowed without a mask.
  const auto arguments =
      schema(R"({"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]})");
  FreeTextSpec spec;
  spec.may_end = true;
  spec.branches.push_back({{"", small().call},
                           Grammar::sequence({arguments.value(), Grammar::token(small().other)}),
                           true});
  auto matcher = std::move(start(Grammar::free_text(spec))).value();
  EXPECT_TRUE(matcher.allowed().everything);
  EXPECT_TRUE(matcher.can_end());
  ASSERT_TRUE(matcher.accept_text("I shall look. {\"a\": "));
  ASSERT_TRUE(matcher.accept(small().call));
  EXPECT_FALSE(matcher.can_end());
  EXPECT_FALSE(matcher.allowed().everything);
  EXPECT_FALSE(matcher.fork().accept_text("hello"));
  ASSERT_TRUE(matcher.accept_text("{\"a\": 12}"));
  EXPECT_FALSE(matcher.accept(small().end));
  EXPECT_EQ(matcher.forced(3), std::vector<TokenId>{small().other});
  ASSERT_TRUE(matcher.accept(small().other));
  EXPECT_TRUE(matcher.allowed().everything);
  ASSERT_TRUE(matcher.accept_text("Done."));
  ASSERT_TRUE(matcher.accept(small().call));
  ASSERT_TRUE(matcher.accept_text("{\"a\":1}"));
  ASSERT_TRUE(matcher.accept(small().other));
  EXPECT_TRUE(matcher.accept(small().end));
}

TEST(GrammarFreeTextTest, SeveralMarkersAndWhatFollowsTheFreeText) {
  // Goal: the first complete marker decides; equal markers offer both branches; may_end goes on to
  // what follows in the sequence.
  FreeTextSpec spec;
  spec.branches.push_back({{"<a>"}, regex("1+")});
  spec.branches.push_back({{"<a>"}, regex("x")});
  spec.branches.push_back({{"<ab>"}, regex("2")});
  const Grammar grammar =
      Grammar::sequence({std::move(Grammar::free_text(spec)).value(), Grammar::literal(";")});
  take_every_way(grammar, "ab<a>11;", true);
  take_every_way(grammar, "<<a>x;", true);
  take_every_way(grammar, "ab<ab>2;", true);
  auto matcher = std::move(start(grammar)).value();
  EXPECT_FALSE(matcher.fork().accept_text("<a>2;"));
  EXPECT_FALSE(matcher.can_end());
  FreeTextSpec open;
  open.may_end = true;
  matcher = std::move(start(Grammar::sequence(
                          {std::move(Grammar::free_text(open)).value(), Grammar::literal("ab")})))
                .value();
  expect_exact(matcher, "");
  ASSERT_TRUE(matcher.accept_text("xa"));
  EXPECT_FALSE(matcher.can_end());
  expect_exact(matcher, "xa");
  ASSERT_TRUE(matcher.accept_text("b"));
  EXPECT_TRUE(matcher.can_end());
}

/// Each rule is the next one, or the first one in brackets.
std::string rule_chain(int rules) {
  std::string text = "root ::= r0\n";
  for (int i = 0; i < rules; ++i) {
    text += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " | \"(\" r0 \")\"\n";
  }
  return text + "r" + std::to_string(rules) + " ::= \"x\"\n";
}

TEST(GrammarFreeTextTest, HostileGrammarsAreRefusedOrBounded) {
  // Goal: deep, huge and explosive inputs end in an error at once, with bounded work.
  json::value deep = true;
  for (int i = 0; i < 100; ++i) deep = json::object{{"items", deep}};
  EXPECT_NE(problem(Grammar::from_json_schema(deep)).find("nested too deeply"), std::string::npos);
  json::array options;
  for (int i = 0; i < 100; ++i) options.push_back(json::object{{"minimum", i}});
  json::object product{{"anyOf", options},
                       {"allOf", json::array{json::object{{"anyOf", options}, {"title", "x"}}}}};
  product["allOf"].as_array()[0].as_object()["anyOf"].as_array().push_back(
      json::object{{"maximum", 3}});
  EXPECT_NE(problem(Grammar::from_json_schema(product)).find("too many combinations"),
            std::string::npos);
  for (const char* pattern :
       {"((((a{1000}){1000}){1000}){1000})", "(.*a.{18}|.*b.{19})x", "((a|b|ab)*c){50000}"}) {
    EXPECT_NE(problem(Grammar::from_regex(pattern)).find("explodes"), std::string::npos) << pattern;
  }
  EXPECT_NE(
      problem(Grammar::from_regex(std::string(1000, '(') + std::string(1000, ')'))).find("nested"),
      std::string::npos);
  EXPECT_NE(
      problem(Grammar::from_gbnf("root ::= " + std::string(1000, '(') + "\"a\"")).find("nested"),
      std::string::npos);
  const std::vector<std::string> large(3, std::string(limits::kGrammarChoiceBytes / 2, 'x'));
  EXPECT_NE(problem(Grammar::from_choices(large)).find("exceed"), std::string::npos);
  // Rules that begin with each other: a few keep all their readings; of thousands some are dropped,
  // and the work stays bounded.
  EXPECT_TRUE(testing::matches(Grammar::from_gbnf(rule_chain(8)), "((x))"));
  const auto long_chain = start(std::move(Grammar::from_gbnf(rule_chain(3000))).value());
  if (long_chain.ok()) (void)long_chain.value().fork().accept_text("((x))");
  json::object wide;
  for (int i = 0; i < 1400; ++i) wide["p" + std::to_string(i)] = json::object{{"type", "integer"}};
  EXPECT_TRUE(testing::matches(Grammar::from_json_schema(json::object{{"properties", wide}}),
                               "{\"p7\":1,\"p1399\":2}"));
}

TEST(GrammarFreeTextTest, LongAnswersAndAmbiguityKeepToTheirMemory) {
  // Goal: cells that no reading needs are given back, and many readings are cut, not followed.
  const auto ambiguous =
      Grammar::from_gbnf("root ::= s\ns ::= \"a\" s \"b\" | \"a\" s | \"a\" s \"c\" | \"a\"");
  auto compiled = CompiledGrammar::compile(ambiguous.value(), *small().grammar);
  ASSERT_TRUE(compiled.ok());
  GrammarMatcher matcher(compiled.value());
  const TokenId a = *small().tokenizer->find("a");
  for (int i = 0; i < 400; ++i) ASSERT_TRUE(matcher.accept(a)) << i;
  EXPECT_LT(compiled.value()->memory_bytes(), size_t{64} << 20);
  auto walker = CompiledGrammar::compile(Grammar::json_value(), *small().grammar);
  ASSERT_TRUE(walker.ok());
  for (int round = 0; round < 30; ++round) {
    GrammarMatcher long_one(walker.value());
    ASSERT_TRUE(long_one.accept_text("["));
    for (int i = 0; i < 200; ++i) {
      ASSERT_TRUE(long_one.accept_text("{\"k\":[[[1,2],\"\"],{\"z\":{\"y\":null}}]},"));
      long_one.allowed();
    }
  }
  EXPECT_LT(walker.value()->memory_bytes(), size_t{64} << 20);
}

TEST(GrammarFreeTextTest, MatchersOfOneGrammarMayRunInThreads) {
  // Goal: what matchers share is locked; their results do not depend on the others (see ./dev
  // tsan).
  const auto grammar = schema(R"({"type":"array","items":{"type":"string","maxLength":9}})");
  auto compiled = CompiledGrammar::compile(grammar.value(), *small().grammar);
  ASSERT_TRUE(compiled.ok());
  std::vector<std::thread> threads;
  std::vector<int> good(4, 0);
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        GrammarMatcher matcher(compiled.value());
        good[t] += matcher.accept_text("[\"ab") && get_bit(matcher.allowed().bits, 'c') &&
                           matcher.fork().accept_text("\",\"x\"]")
                       ? 1
                       : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, std::vector<int>(4, 50));
}

}  // namespace
}  // namespace hadal
