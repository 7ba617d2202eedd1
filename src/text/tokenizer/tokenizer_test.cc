#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include "base/limits.h"
#include "text/tokenizer/test_vocabulary.h"

namespace hadal {
namespace {

using Ids = std::vector<TokenId>;

std::unique_ptr<Tokenizer> make(VocabSpec spec) {
  auto made = Tokenizer::create(std::move(spec));
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().text());
  return made.ok() ? std::move(made).value() : nullptr;
}

Error creation_error(VocabSpec spec) {
  auto made = Tokenizer::create(std::move(spec));
  return made.ok() ? Error{} : made.error();
}

// Goal: merges run by rank, not by length or position; equal ranks run leftmost first.
TEST(ByteBpe, MergesByRankLeftmostFirst) {
  const auto t = make(byte_spec("gpt-2", {"b|c", "a|b", "a|a", "aa|a"}));
  EXPECT_EQ(t->encode("abc", Specials::kText), (Ids{'a', 256}));
  EXPECT_EQ(t->encode("ab", Specials::kText), (Ids{257}));
  EXPECT_EQ(t->encode("aaaaa", Specials::kText), (Ids{258, 259}));
}

// Goal: long pieces (heap) and short ones (scan) give the same ids, and a run of a million
// characters ends.
TEST(ByteBpe, LongRunsMergeLikeShortOnes) {
  const auto t = make(byte_spec("gpt-2", {"a|a", "aa|aa", "aaaa|aaaa", "aaaa|a"}));
  EXPECT_EQ(t->encode(std::string(21, 'a'), Specials::kText), (Ids{258, 258, 259}));
  const Ids ids = t->encode(std::string(1000005, 'a'), Specials::kText);
  ASSERT_EQ(ids.size(), 125001u);
  EXPECT_EQ(ids.front(), 258);
  EXPECT_EQ(ids.back(), 259);
}

// Goal: the word cache does not mix words, lengths or tokenizers.
TEST(ByteBpe, CacheKeepsTokenizersApart) {
  const auto one = make(byte_spec("gpt-2", {"a|b"}));
  const auto two = make(byte_spec("gpt-2", {"b|a"}));
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(one->encode("ab", Specials::kText), (Ids{256}));
    EXPECT_EQ(two->encode("ab", Specials::kText), (Ids{'a', 'b'}));
    EXPECT_EQ(one->encode(std::string("\0", 1), Specials::kText), (Ids{0}));
    EXPECT_EQ(one->encode(std::string("\0\0", 2), Specials::kText), (Ids{0, 0}));
    EXPECT_EQ(one->encode("abcdefghijklmnopqrstuvwx", Specials::kText).size(), 23u);
    EXPECT_EQ(one->encode("abcdefghijklmnopqrstuvwxy", Specials::kText).size(), 24u);
  }
}

// Goal: any bytes survive encode and decode, invalid UTF-8 included.
TEST(ByteBpe, RoundTripsAnyBytes) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  all += "\xE4\xBD\xA0\xE4\xBD naïve 你好 😁\xF0\x9F\x98";
  for (const char* pre : {"gpt-2", "smollm", "llama-bpe", "deepseek-llm", "deepseek-coder",
                          "deepseek-v3", "nonsense"}) {
    const auto t = make(byte_spec(pre, {"a|b", "\xE4|\xBD", "\xE4\xBD|\xA0"}));
    EXPECT_EQ(t->decode(t->encode(all, Specials::kText), false), all) << pre;
  }
}

// Goal: Llama 3 takes a piece that is a token whole, even where merges would not build it.
TEST(ByteBpe, LlamaIgnoresMergesForWholePieces) {
  VocabSpec spec = byte_spec("llama-bpe", {"a|b", "c|d"});
  const TokenId whole = add_token(spec, "abcd", kNormalKind);
  EXPECT_EQ(make(spec)->encode("abcd", Specials::kText), (Ids{whole}));
  EXPECT_EQ(make(spec)->encode("abcd1", Specials::kText), (Ids{whole, '1'}));
  spec.pre = "gpt-2";
  EXPECT_EQ(make(spec)->encode("abcd", Specials::kText), (Ids{256, 257}));
}

// Goal: Qwen's vocabulary sees composed characters; others see what was written.
TEST(ByteBpe, QwenNormalises) {
  const std::string composed = "\xC3\xA9";
  const std::string decomposed = "e\xCC\x81";
  const auto qwen = make(byte_spec("qwen2", {}));
  EXPECT_EQ(qwen->encode(decomposed, Specials::kText), qwen->encode(composed, Specials::kText));
  const auto other = make(byte_spec("gpt-2", {}));
  EXPECT_EQ(other->encode(decomposed, Specials::kText).size(), 3u);
  EXPECT_EQ(qwen->decode(qwen->encode("a\xFFz" + decomposed, Specials::kText), false),
            "a\xFFz" + composed);
}

// Goal: an unknown pre-tokenizer still works and says that it is a guess.
TEST(ByteBpe, UnknownPreTokenizerWarns) {
  EXPECT_NE(make(byte_spec("sparkle-9", {}))->warning().find("sparkle-9"), std::string::npos);
  EXPECT_TRUE(make(byte_spec("qwen2", {}))->warning().empty());
}

// Goal: a byte that the vocabulary lacks becomes U+FFFD; merges whose result is no token are
// written byte by byte; neither is dropped or fatal.
TEST(ByteBpe, HolesInTheVocabulary) {
  VocabSpec spec = byte_spec("gpt-2", {"a|b"});
  spec.tokens[0xFF] = "[unused]";
  spec.merges.push_back("c d");
  spec.merges.push_back("cd e");
  spec.merges.push_back("x nowhere");
  const auto t = make(spec);
  EXPECT_EQ(t->encode("\xFF", Specials::kText), (Ids{0xEF, 0xBF, 0xBD}));
  EXPECT_EQ(t->encode("abcde", Specials::kText), (Ids{256, 'c', 'd', 'e'}));
}

// Goal: R-TOK: text can never be merged into a control token, however the vocabulary is built.
TEST(ByteBpe, MergesNeverBuildControlTokens) {
  VocabSpec spec = byte_spec("gpt-2", {"<|e", "<e|>"});
  spec.kinds[257] = kControlKind;
  const auto t = make(spec);
  EXPECT_EQ(t->encode("<e>", Specials::kParse), (Ids{257}));
  EXPECT_EQ(t->encode("<e>", Specials::kText), (Ids{'<', 'e', '>'}));
}

VocabSpec spec_with_specials() {
  VocabSpec spec = byte_spec("gpt-2", {"h|i", " |h"});
  add_token(spec, "<|im_start|>", kControlKind);      // 258
  add_token(spec, "<|im_start|>user", kControlKind);  // 259
  add_token(spec, "<think>", kUserKind);              // 260
  add_token(spec, "ø", kUserKind);                    // 261
  add_token(spec, "｜DSML｜", kUserKind);             // 262
  add_token(spec, "<｜tool▁sep｜>", kUserKind);       // 263
  return spec;
}

// Goal: special tokens are found leftmost and longest, and only when asked for.
TEST(Specials, LeftmostLongest) {
  const auto t = make(spec_with_specials());
  EXPECT_EQ(t->encode("<|im_start|>user", Specials::kParse), (Ids{259}));
  EXPECT_EQ(t->encode("<|im_start|>use", Specials::kParse), (Ids{258, 'u', 's', 'e'}));
  EXPECT_EQ(t->encode("<<think>", Specials::kParse), (Ids{'<', 260}));
  EXPECT_EQ(t->encode("<|im_start|", Specials::kParse).size(), 11u);
}

// Goal: markers in user text stay text, also user-defined ones; letters that happen to be
// user-defined tokens are still found.
TEST(Specials, MarkersInUserTextStayText) {
  const auto t = make(spec_with_specials());
  for (const char* marker : {"<|im_start|>", "<think>", "｜DSML｜", "<｜tool▁sep｜>"}) {
    EXPECT_EQ(t->encode(marker, Specials::kParse).size(), 1u) << marker;
    for (const TokenId id : t->encode(marker, Specials::kText)) {
      EXPECT_EQ(t->kind(id), TokenKind::kNormal) << marker;
    }
  }
  EXPECT_EQ(t->encode("ø", Specials::kText), (Ids{261}));
}

// Goal: a marker counts only when the template wrote every byte of it; plain text of both origins
// is cut into words as one.
TEST(Specials, MarkedTextDecidesByOrigin) {
  const auto t = make(spec_with_specials());
  const auto encode = [&](const std::vector<std::pair<std::string, char>>& parts) {
    MarkedText text;
    for (const auto& [bytes, origin] : parts) text.append(bytes, origin);
    return t->encode(text);
  };
  constexpr char kT = MarkedText::kTemplate;
  constexpr char kC = MarkedText::kCaller;
  EXPECT_EQ(encode({{"<|im_start|>", kT}, {"hi", kC}}), (Ids{258, 256}));
  EXPECT_EQ(encode({{"<|im_start|>", kC}}).size(), 12u);
  EXPECT_EQ(encode({{"<|im_", kT}, {"start|>", kC}}).size(), 12u);
  EXPECT_EQ(encode({{"h", kT}, {"i", kC}}), (Ids{256}));
  // The longer marker would need the caller's bytes: the shorter one, all of the template, counts.
  EXPECT_EQ(encode({{"<|im_start|>", kT}, {"user", kC}}), (Ids{258, 'u', 's', 'e', 'r'}));
  MarkedText unmarked;
  unmarked.bytes = "<|im_start|>";
  EXPECT_EQ(t->encode(unmarked).size(), 12u);
}

// Goal: control tokens print only when asked; user-defined ones always; ids out of range never.
TEST(Pieces, ControlIsHidden) {
  const auto t = make(spec_with_specials());
  EXPECT_EQ(t->piece(258, false), "");
  EXPECT_EQ(t->piece(258, true), "<|im_start|>");
  EXPECT_EQ(t->piece(260, false), "<think>");
  EXPECT_EQ(t->piece(-1, true), "");
  EXPECT_EQ(t->piece(264, true), "");
  EXPECT_EQ(t->decode(Ids{258, 'a', 257, 99999}, false), "a h");
}

// Goal: BOS is added once, and not where the ids have it.
TEST(Bos, AddedOnce) {
  VocabSpec spec = spec_with_specials();
  spec.bos = 258;
  EXPECT_EQ(make(spec)->with_bos({1}), (Ids{1}));
  spec.add_bos = true;
  EXPECT_EQ(make(spec)->with_bos({1}), (Ids{258, 1}));
  EXPECT_EQ(make(spec)->with_bos({258, 1}), (Ids{258, 1}));
  EXPECT_EQ(make(spec)->with_bos({}), (Ids{258}));
}

// Goal: generation ends at eos, eot, eom and at well-known texts, but not at ordinary pieces that
// read alike.
TEST(EndOfGeneration, UnionOfIdsAndTexts) {
  VocabSpec spec = spec_with_specials();
  const TokenId ordinary = add_token(spec, "</s>", kNormalKind);
  const TokenId known = add_token(spec, "<|EOT|>", kUserKind);
  spec.eos = 258;
  spec.eot = 259;
  const auto t = make(spec);
  EXPECT_EQ(Ids(t->end_of_generation().begin(), t->end_of_generation().end()),
            (Ids{258, 259, known}));
  EXPECT_TRUE(t->is_end_of_generation(known));
  EXPECT_FALSE(t->is_end_of_generation(ordinary));
}

// Goal: SentencePiece merges by score, adds its blank at the start and after special tokens, and
// falls back to bytes.
TEST(SentencePiece, MergesByScore) {
  const auto t = make(sentencepiece_spec({"bc", "ab", "▁a", "a", "b", "c", "▁", "▁ab"}));
  EXPECT_EQ(t->encode("abc", Specials::kText), (Ids{261, 259}));   // ▁a bc
  EXPECT_EQ(t->encode("<s>ab", Specials::kParse), (Ids{1, 266}));  // ▁ab
  EXPECT_EQ(t->encode("b\xFF", Specials::kText), (Ids{265, 263, 3 + 0xFF}));
  EXPECT_EQ(t->decode(t->encode("ab  c你", Specials::kText), false), "ab  c你");
  EXPECT_EQ(t->with_bos({5}), (Ids{1, 5}));
}

// Goal: tokens that span a blank are still found (words may then not be merged alone).
TEST(SentencePiece, TokensAcrossBlanks) {
  const auto t = make(sentencepiece_spec({"a▁", "a▁b", "a", "b", "▁"}));
  EXPECT_EQ(t->encode("a b", Specials::kText), (Ids{263, 260}));
}

// Goal: user text that spells a control or byte token is cut into its characters.
TEST(SentencePiece, SpelledTokensStayText) {
  const auto t = make(sentencepiece_spec({"<s", "<0x4", "1>", "▁"}));
  for (const TokenId id : t->encode("<s><0x41>", Specials::kText)) EXPECT_NE(id, 1);
  EXPECT_EQ(t->decode(t->encode("<s><0x41>", Specials::kText), false), "<s><0x41>");
}

VocabSpec bert_spec() {
  VocabSpec spec;
  spec.model = "bert";
  for (const char* control : {"[PAD]", "[UNK]", "[CLS]", "[SEP]"}) {
    add_token(spec, control, kControlKind);
  }
  for (const char* piece : {"▁un", "aff", "able", "▁你", "▁,", "▁cafe", "▁가"}) {
    add_token(spec, piece, kNormalKind);
  }
  spec.unknown = 1;
  spec.cls = 2;
  spec.separator = 3;
  return spec;
}

// Goal: WordPiece: longest pieces, accents and case dropped, ideographs and punctuation apart.
TEST(WordPiece, GreedyLongest) {
  const auto t = make(bert_spec());
  EXPECT_EQ(t->encode("UNaffable,你 Café", Specials::kText), (Ids{4, 5, 6, 8, 7, 9}));
  EXPECT_EQ(t->encode("unx [SEP]", Specials::kText).front(), 1);
  EXPECT_EQ(t->encode("un\xE2\x80\x8B"
                      "aff",
                      Specials::kText),
            (Ids{4, 5}));  // U+200B is dropped
  EXPECT_EQ(t->encode("un" + std::string(99, 'x'), Specials::kText), (Ids{1}));
  EXPECT_EQ(t->with_bos({4}), (Ids{2, 4, 3}));
  EXPECT_EQ(t->decode(Ids{4, 5, 6, 7}, false), "unaffable 你");
}

// Goal: Hangul syllables are decomposed like everything else before lookup, as Hugging Face does.
TEST(WordPiece, HangulIsDecomposedFully) {
  VocabSpec spec = bert_spec();
  const TokenId jamo = add_token(spec, "▁\u1100\u1161\u11A8", kNormalKind);
  EXPECT_EQ(make(spec)->encode("각", Specials::kText), (Ids{jamo}));
}

// Goal: R-TOK-1: byte tokens that are not <0xNN> are refused, not parsed loosely.
TEST(HostileVocabulary, MalformedByteTokens) {
  for (const char* text : {"<0x-1>", "<0xZZ>", "<0x>", "<0x4>", "<0x141>", "0x41", "<0X41>", ""}) {
    VocabSpec spec = sentencepiece_spec({"a"});
    add_token(spec, text, kByteKind);
    EXPECT_EQ(creation_error(spec).code, Code::kCorrupt) << text;
  }
}

// Goal: arrays of the wrong length, unknown types and special ids out of range are named errors;
// -1 and 2^32 - 1 mean "none".
TEST(HostileVocabulary, ContradictionsAreErrors) {
  VocabSpec spec = byte_spec("gpt-2", {});
  spec.scores = {1, 2};
  EXPECT_NE(creation_error(spec).message.find("2 scores"), std::string::npos);
  spec = byte_spec("gpt-2", {});
  spec.kinds.pop_back();
  EXPECT_NE(creation_error(spec).message.find("255 token types"), std::string::npos);
  spec = byte_spec("gpt-2", {});
  spec.kinds[7] = 7;
  EXPECT_EQ(creation_error(spec).code, Code::kCorrupt);
  for (const int64_t id : {int64_t{256}, int64_t{-2}, int64_t{1} << 40}) {
    spec = byte_spec("gpt-2", {});
    spec.eos = id;
    EXPECT_NE(creation_error(spec).message.find("eos"), std::string::npos) << id;
    spec.eos.reset();
    spec.fim_pad = id;
    EXPECT_NE(creation_error(spec).message.find("fim_pad"), std::string::npos) << id;
  }
  spec = byte_spec("gpt-2", {});
  spec.padding = -1;
  spec.bos = 0xFFFFFFFF;
  EXPECT_FALSE(make(spec)->bos().has_value());
}

// Goal: sizes are bounded, models and merges are checked, and every refusal says what is wrong.
TEST(HostileVocabulary, LimitsAndShapes) {
  VocabSpec spec = byte_spec("gpt-2", {});
  spec.tokens[3] = std::string(1024 * 1024, 'a');
  EXPECT_EQ(creation_error(spec).code, Code::kExhausted);
  EXPECT_EQ(creation_error(VocabSpec{}).code, Code::kUnsupported);
  spec = byte_spec("gpt-2", {});
  spec.model = "rwkv";
  EXPECT_NE(creation_error(spec).message.find("rwkv"), std::string::npos);
  spec.model = "gpt2";
  spec.tokens.clear();
  EXPECT_EQ(creation_error(spec).code, Code::kCorrupt);
  for (const char* merge : {"", "ab", " ", "a ", " a"}) {
    spec = byte_spec("gpt-2", {});
    spec.merges = {merge};
    EXPECT_EQ(creation_error(spec).code, Code::kCorrupt) << merge;
  }
}

// Goal: empty, duplicate and over-long special tokens are harmless.
TEST(HostileVocabulary, OddTokensAreHarmless) {
  VocabSpec spec = byte_spec("gpt-2", {"a|b"});
  add_token(spec, "", kControlKind);
  add_token(spec, "", kUserKind);
  add_token(spec, "ab", kNormalKind);
  add_token(spec, "<x>", kControlKind);
  add_token(spec, "<x>", kControlKind);
  add_token(spec, std::string(limits::kTokenBytes, '<'), kControlKind);
  spec.merges.push_back(spec.merges[0]);
  const auto t = make(spec);
  EXPECT_EQ(t->encode("ab<x>", Specials::kParse), (Ids{256, 260}));
  EXPECT_EQ(t->encode(std::string(100000, '<'), Specials::kParse).size(), 100000u);
  EXPECT_EQ(t->encode("", Specials::kParse), Ids{});
}

}  // namespace
}  // namespace hadal
