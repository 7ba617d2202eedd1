#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "text/tokenizer.h"
#include "text/tokenizer/charsmap.h"
#include "text/tokenizer/piece_trie.h"
#include "text/tokenizer/test_vocabulary.h"

namespace hadal {
namespace {

using Ids = std::vector<TokenId>;

/// Ids 0 to 3 are <s>, <pad>, </s> and <unk>, then the pieces from 4 on.
VocabSpec unigram_spec(const std::vector<std::pair<std::string, float>>& pieces) {
  VocabSpec spec;
  spec.model = "t5";
  for (const char* control : {"<s>", "<pad>", "</s>"}) {
    spec.tokens.emplace_back(control);
    spec.kinds.push_back(kControlKind);
  }
  spec.tokens.emplace_back("<unk>");
  spec.kinds.push_back(static_cast<uint8_t>(TokenKind::kUnknown));
  for (const auto& [text, score] : pieces) {
    spec.tokens.push_back(text);
    spec.kinds.push_back(kNormalKind);
  }
  spec.scores.assign(4, 0.0F);
  for (const auto& [text, score] : pieces) spec.scores.push_back(score);
  spec.bos = 0;
  spec.eos = 2;
  spec.unknown = 3;
  spec.add_bos = true;
  return spec;
}

std::unique_ptr<Tokenizer> make(VocabSpec spec) {
  auto made = Tokenizer::create(std::move(spec));
  EXPECT_TRUE(made.ok()) << made.error().text();
  return made.ok() ? std::move(made).value() : nullptr;
}

std::string u32(uint32_t value) {
  std::string out;
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}

/// A charsmap with one entry: byte `key` becomes `text`. Root at 0, its children at 256 ^ byte, the
/// child's value at 512.
std::string small_charsmap(uint8_t key, const std::string& text) {
  std::vector<uint32_t> units(768, 0);
  units[0] = 256U << 10;
  units[256U ^ key] = ((256U ^ key ^ 512U) << 10) | 256U | key;
  units[512] = 0x80000000U;  // at place 0
  std::string out = u32(static_cast<uint32_t>(units.size() * 4));
  for (const uint32_t unit : units) out += u32(unit);
  return out + text + '\0';
}

// Goal: the cut with the highest sum wins, not the longest piece first; of equal sums the one whose
// last piece is longer.
TEST(Unigram, BestSumWins) {
  const auto t =
      make(unigram_spec({{"▁", -1}, {"abc", -10}, {"ab", -2}, {"c", -3}, {"a", -1}, {"bc", -4}}));
  EXPECT_EQ(t->encode("abc", Specials::kText), (Ids{4, 8, 9}));  // -1 -1 -4 ties with -1 -2 -3
  const auto u = make(unigram_spec({{"▁abc", -7}, {"▁a", -2}, {"bc", -4}, {"▁", -1}}));
  EXPECT_EQ(u->encode("abc", Specials::kText), (Ids{5, 6}));
  EXPECT_EQ(u->with_bos({5, 6}), (Ids{0, 5, 6, 2}));
  EXPECT_EQ(u->decode(Ids{5, 6, 5}, false), "abc a");
}

// Goal: characters that no piece covers become one unknown token per run; a piece over them wins.
TEST(Unigram, UnknownRunsAreOne) {
  const auto t = make(unigram_spec({{"▁", -1}, {"a", -2}, {"é", -3}}));
  EXPECT_EQ(t->encode("axyz你a", Specials::kText), (Ids{4, 5, 3, 5}));
  EXPECT_EQ(t->encode("é\xFFz", Specials::kText), (Ids{4, 6, 3}));
  EXPECT_EQ(t->encode("", Specials::kText), Ids());
  EXPECT_EQ(t->encode("  ", Specials::kText), Ids());
}

// Goal: with byte tokens unknown characters become their bytes.
TEST(Unigram, BytesWhereTheVocabularyHasThem) {
  VocabSpec spec = unigram_spec({{"▁", -1}});
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof(text), "<0x%02X>", byte);
    spec.tokens.emplace_back(text);
    spec.kinds.push_back(kByteKind);
    spec.scores.push_back(0);
  }
  const auto t = make(spec);
  const Ids ids = t->encode("é", Specials::kText);
  EXPECT_EQ(ids, (Ids{4, 5 + 0xC3, 5 + 0xA9}));
  EXPECT_EQ(t->decode(ids, false), "é");
}

// Goal: blanks at both ends go, runs of them are one, and each text begins with one; all of that
// can be switched off.
TEST(Unigram, Blanks) {
  VocabSpec spec = unigram_spec({{"▁", -1}, {"▁a", -1}, {"a", -3}});
  EXPECT_EQ(make(spec)->encode("  a   a ", Specials::kText), (Ids{5, 5}));
  EXPECT_EQ(make(spec)->encode("▁a", Specials::kText), (Ids{5}));
  spec.remove_extra_whitespaces = false;
  EXPECT_EQ(make(spec)->encode("a  a ", Specials::kText), (Ids{5, 4, 5, 4}));
  spec.add_space_prefix = false;
  EXPECT_EQ(make(spec)->encode("a a", Specials::kText), (Ids{6, 5}));
}

// Goal: user text that spells a control token is cut into pieces; text that we wrote gives its id.
TEST(Unigram, SpelledTokensStayText) {
  const auto t = make(unigram_spec({{"▁", -1}, {"<", -2}, {"s", -2}, {">", -2}}));
  EXPECT_EQ(t->encode("<s>", Specials::kText), (Ids{4, 5, 6, 7}));
  EXPECT_EQ(t->encode("<s>", Specials::kParse), (Ids{0}));
}

// Goal: the table's replacement stands for its key, may be empty, and nothing else changes.
TEST(Charsmap, Replaces) {
  const auto map = Charsmap::parse(small_charsmap('x', "yz"));
  ASSERT_TRUE(map.ok()) << map.error().text();
  EXPECT_EQ(map.value().longest("ax", 1).text, "yz");
  EXPECT_EQ(map.value().longest("ax", 1).size, 1u);
  EXPECT_EQ(map.value().longest("ax", 0).text, "a");
  EXPECT_EQ(map.value().longest("é", 0).text, "é");
  EXPECT_EQ(map.value().longest("\xC3", 0).text, "\xEF\xBF\xBD");
  EXPECT_EQ(Charsmap::parse(small_charsmap('x', "")).value().longest("x", 0).text, "");
  VocabSpec spec = unigram_spec({{"▁", -1}, {"yz", -1}, {"a", -1}});
  spec.charsmap = small_charsmap('x', "yz");
  EXPECT_EQ(make(spec)->encode("ax", Specials::kText), (Ids{4, 6, 5}));
}

// Goal: a table whose sizes contradict each other is refused; places and offsets beyond the table,
// and entries without an end, count as none; every single damaged byte is survived.
TEST(Charsmap, DamagedTables) {
  for (const std::string& bytes :
       {std::string("abc"), u32(4), u32(0), u32(5) + "aaaaa", u32(0xFFFFFFFC) + "aaaa"}) {
    const auto map = Charsmap::parse(bytes);
    ASSERT_FALSE(map.ok());
    EXPECT_EQ(map.error().code, Code::kCorrupt);
    EXPECT_NE(map.error().message.find("precompiled_charsmap"), std::string::npos);
  }
  const std::string good = small_charsmap('x', "yz");
  std::string endless = good;
  endless.pop_back();
  EXPECT_EQ(Charsmap::parse(endless).value().longest("x", 0).text, "x");
  for (size_t at = 0; at < good.size(); ++at) {
    for (const char byte : {'\0', '\xFF', '\x7F'}) {
      std::string bytes = good;
      bytes[at] = byte;
      const auto map = Charsmap::parse(bytes);
      if (!map.ok()) continue;
      for (const std::string text : {"x", "xx", "\x01x", "é"}) {
        const auto found = map.value().longest(text, 0);
        EXPECT_GE(found.size, 1u);
        EXPECT_LE(found.size, text.size());
      }
    }
  }
}

// Goal: a vocabulary without scores, with scores that are no numbers, or without an unknown token
// is refused by name.
TEST(Unigram, ContradictionsAreErrors) {
  const auto message = [](VocabSpec spec) {
    auto made = Tokenizer::create(std::move(spec));
    return made.ok() ? std::string() : made.error().message;
  };
  VocabSpec spec = unigram_spec({{"a", -1}});
  spec.scores.clear();
  EXPECT_NE(message(spec).find("no scores"), std::string::npos);
  spec = unigram_spec({{"a", NAN}});
  EXPECT_NE(message(spec).find("score of token 4"), std::string::npos);
  spec = unigram_spec({{"a", -1}});
  spec.unknown.reset();
  EXPECT_EQ(message(spec), "");
  spec.tokens[3] = "<other>";
  EXPECT_NE(message(spec).find("unknown"), std::string::npos);
}

// Goal: every piece that a text begins with is found, shortest first; of equal texts the lowest id.
TEST(PieceTrie, FindsAllBeginnings) {
  const PieceTrie trie({{"b", 7}, {"abc", 1}, {"ab", 3}, {"ab", 2}, {"a\xFF", 4}, {"", 9}});
  std::vector<std::pair<size_t, TokenId>> found;
  const auto search = [&](std::string_view text) {
    found.clear();
    trie.each_prefix(text, [&](size_t size, TokenId id) { found.emplace_back(size, id); });
    return found;
  };
  using Found = std::vector<std::pair<size_t, TokenId>>;
  EXPECT_EQ(search("abcd"), (Found{{2, 2}, {3, 1}}));
  EXPECT_EQ(search("a\xFF"), (Found{{2, 4}}));
  EXPECT_EQ(search("b"), (Found{{1, 7}}));
  EXPECT_EQ(search("x"), Found());
  EXPECT_EQ(search(""), Found());
}

}  // namespace
}  // namespace hadal
