#include "text/tokenizer/pretokenizer.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace hadal {
namespace {

/// The pieces with "|" between them.
std::string cut(PreTokenizer kind, std::string_view text) {
  std::vector<size_t> ends;
  pre_tokenize(kind, text, ends);
  std::string out;
  size_t start = 0;
  for (const size_t end : ends) {
    EXPECT_GT(end, start);
    out += std::string(text.substr(start, end - start)) + "|";
    start = end;
  }
  EXPECT_EQ(start, text.size());
  return out;
}

struct Case {
  const char* text;
  const char* pieces;
};

void expect_cuts(PreTokenizer kind, const std::vector<Case>& cases) {
  for (const Case& c : cases) EXPECT_EQ(cut(kind, c.text), c.pieces) << c.text;
}

// Goal: words take one blank; runs of white space leave their last character to what follows.
TEST(PreTokenizer, Gpt2) {
  expect_cuts(PreTokenizer::kGpt2, {{"Hello world", "Hello| world|"},
                                    {"a  b", "a| | b|"},
                                    {"a\n\nb", "a|\n|\n|b|"},
                                    {"a   ", "a|   |"},
                                    {"\t\tx", "\t|\t|x|"},
                                    {"I'm we'LL", "I|'m| we|'|LL|"},
                                    {"x1234y", "x|1234|y|"},
                                    {"\u00a0x", "\u00a0|x|"},
                                    {" 你好，世界", " 你好|，|世界|"}});
}

// Goal: digits stand alone and end white space like the end of the text.
TEST(PreTokenizer, SmolLm) {
  expect_cuts(PreTokenizer::kSmolLm,
              {{"x 12", "x| |1|2|"}, {"a  1", "a|  |1|"}, {"½x", "½|x|"}, {"a b", "a| b|"}});
}

// Goal: Llama 3: contractions in any case, up to three digits, punctuation keeps line breaks.
TEST(PreTokenizer, Llama3) {
  expect_cuts(PreTokenizer::kLlama3, {{"I'LL", "I|'LL|"},
                                      {"'\u017fx", "'\u017f|x|"},
                                      {"3333333", "333|333|3|"},
                                      {"a!!\n\nb", "a|!!\n\n|b|"},
                                      {"(x", "(x|"},
                                      {"\tx", "\tx|"},
                                      {"a \n \n  b", "a| \n \n| | b|"},
                                      {"x 1", "x| |1|"},
                                      {"\nx", "\n|x|"}});
}

// Goal: Qwen 2 differs from Llama 3 in single digits.
TEST(PreTokenizer, Qwen2) {
  expect_cuts(PreTokenizer::kQwen2, {{"a123", "a|1|2|3|"}, {"I'LL ½", "I|'LL| |½|"}});
}

// Goal: DeepSeek V3: three digits, CJK and kana apart, marks with words, gaps for controls.
TEST(PreTokenizer, DeepSeekV3) {
  expect_cuts(PreTokenizer::kDeepSeekV3, {{"3333", "333|3|"},
                                          {"我在apple工作", "我在|apple|工作|"},
                                          {"ア・イ", "ア|・|イ|"},
                                          {"don't", "don|'t|"},
                                          {"_name(x", "_name|(x|"},
                                          {"e\u0301 x", "e\u0301| x|"},
                                          {"  1", "  |1|"},
                                          {"\x01\x01", "\x01\x01|"},
                                          {"\x01\x01x", "\x01|\x01x|"},
                                          {"\r\n\r\n x", "\r\n\r\n| x|"},
                                          {"a。\n\nb", "a|。\n\n|b|"}});
}

// Goal: DeepSeek LLM: the punctuation step cuts words again wherever they hold other letters,
// because its range ":-~" covers ASCII letters too.
TEST(PreTokenizer, DeepSeekLlm) {
  expect_cuts(PreTokenizer::kDeepSeekLlm, {{"naïve", "na|ï|ve|"},
                                           {"Hello world", "Hello| world|"},
                                           {"a  b", "a| | b|"},
                                           {"\n\nx", "\n|\n|x|"},
                                           {"x  ", "x|  |"},
                                           {"1234", "1234|"},
                                           {"你好world", "你好|world|"},
                                           {"한국a", "한국|a|"},
                                           {"a\u3000\u3000b", "a|\u3000|\u3000|b|"}});
}

// Goal: DeepSeek Coder: letters and punctuation with one blank, every digit alone.
TEST(PreTokenizer, DeepSeekCoder) {
  expect_cuts(PreTokenizer::kDeepSeekCoder,
              {{"naïve (x)", "naïve| (|x|)|"}, {"12+x", "1|2|+|x|"}, {"你好，x", "你好|，|x|"}});
}

// Goal: every invalid byte counts as one symbol.
TEST(PreTokenizer, InvalidBytesAreSymbols) {
  expect_cuts(PreTokenizer::kGpt2, {{"a\xFF\xFE z\x80", "a|\xFF\xFE| z|\x80|"}});
  expect_cuts(PreTokenizer::kLlama3, {{"\xE4\xBDx \xFFy", "\xE4\xBD|x| \xFF|y|"}});
}

// Goal: long runs of anything take linear time (a quadratic scanner would need hours here).
TEST(PreTokenizer, LongRunsAreLinear) {
  for (const PreTokenizer kind :
       {PreTokenizer::kGpt2, PreTokenizer::kSmolLm, PreTokenizer::kLlama3, PreTokenizer::kQwen2,
        PreTokenizer::kDeepSeekLlm, PreTokenizer::kDeepSeekCoder, PreTokenizer::kDeepSeekV3,
        PreTokenizer::kDefault}) {
    for (const std::string unit :
         {" ", "\n", " \n", "a", "1", "!", "\x01", "'", "你", " a", "\xFF"}) {
      std::string text;
      while (text.size() < 300000) text += unit;
      std::vector<size_t> ends;
      pre_tokenize(kind, text, ends);
      EXPECT_EQ(ends.back(), text.size());
    }
  }
}

// Goal: names of model files are known, others are not.
TEST(PreTokenizer, Names) {
  EXPECT_EQ(find_pre_tokenizer("joyai-llm"), PreTokenizer::kDeepSeekV3);
  EXPECT_EQ(find_pre_tokenizer("deepseek-r1-qwen"), PreTokenizer::kQwen2);
  EXPECT_FALSE(find_pre_tokenizer("").has_value());
}

}  // namespace
}  // namespace hadal
