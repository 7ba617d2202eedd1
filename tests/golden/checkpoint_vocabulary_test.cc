#include <filesystem>

#include <gtest/gtest.h>

#include "app/app.h"

// tokenizer.json files as tools/fetch_test_data.py brings them, against the GGUF vocabularies that
// tools/make_vocab_gguf.py made of them.

namespace hadal {
namespace {

const std::filesystem::path kTestData = std::filesystem::path(HADAL_SOURCE_DIR) / "build/testdata";

constexpr const char* kTexts[] = {
    "Hello, y'all! How are you 😁 ?我想在apple工作1314151天～",
    "ied 4 ½ months\r\n\r\n\t x  3333333 3.14159 × 2²",
    "naïve café don't I'LL e\u0301 こんにちは世界123456 нещо на Български",
    "<｜User｜>hi<｜Assistant｜><think>\n</think><|im_start|>user\n<|eot_id|>",
    "  int main() {\n\treturn 0;\n}\n"};

// Goal: a directory with tokenizer.json has the same tokens, kinds, merges and rules as the GGUF
// vocabulary, so that every text gives the same ids, with and without special tokens.
TEST(CheckpointVocabulary, EqualsGguf) {
  int compared = 0;
  for (const char* name : {"deepseek-v3", "deepseek-v4", "qwen3", "llama3"}) {
    if (!std::filesystem::exists(kTestData / name / "tokenizer.json") ||
        !std::filesystem::exists(kTestData / (std::string(name) + ".gguf"))) {
      continue;
    }
    const auto directory = GgufFile::open(kTestData / name);
    ASSERT_TRUE(directory.ok()) << directory.error().text();
    const auto file = GgufFile::open(kTestData / (std::string(name) + ".gguf"));
    VocabSpec ours = vocab_from_gguf(directory.value()).value();
    VocabSpec theirs = vocab_from_gguf(file.value()).value();
    EXPECT_EQ(ours.tokens, theirs.tokens) << name;
    EXPECT_EQ(ours.kinds, theirs.kinds) << name;
    EXPECT_EQ(ours.merges, theirs.merges) << name;
    const auto one = Tokenizer::create(std::move(ours)).value();
    const auto two = Tokenizer::create(std::move(theirs)).value();
    for (const char* text : kTexts) {
      EXPECT_EQ(one->encode(text, Specials::kText), two->encode(text, Specials::kText)) << text;
      EXPECT_EQ(one->encode(text, Specials::kParse), two->encode(text, Specials::kParse)) << text;
    }
    ++compared;
  }
  if (compared == 0) {
    GTEST_SKIP() << "SKIPPED: no vocabularies; `python3 tools/fetch_test_data.py` brings them";
  }
}

}  // namespace
}  // namespace hadal
