// Goal: llama.cpp's native requests become the prompts and limits they ask for, and answers have
// its shape, with figures also where a stop string ended them.
#include <gtest/gtest.h>

#include "engine/testing/harness.h"
#include "serve/dialects/llama_cpp.h"
#include "serve/dialects/tokens.h"
#include "serve/testing/service_fixture.h"

namespace hadal {
namespace {

/// Bytes, and tokens for gaps: 256 <|end|>, 257 and 258 reasoning, then these.
std::unique_ptr<Tokenizer> fim_tokenizer(bool repositories) {
  VocabSpec spec = byte_tokenizer()->spec();
  for (const char* special : {"<pre>", "<suf>", "<mid>", "<rep>", "<sep>"}) {
    spec.tokens.emplace_back(special);
    spec.kinds.push_back(static_cast<uint8_t>(TokenKind::kControl));
  }
  spec.fim_prefix = 259;
  spec.fim_suffix = 260;
  spec.fim_middle = 261;
  if (repositories) {
    spec.fim_repo = 262;
    spec.fim_separator = 263;
  }
  auto created = Tokenizer::create(std::move(spec));
  CHECK(created.ok());
  return std::move(created).value();
}

class Natives : public ::testing::Test {
 protected:
  void SetUp() override {
    tokenizer_ = fim_tokenizer(true);
    model_.id = "m";
    model_.tokenizer = tokenizer_.get();
    model_.n_ctx = 500;
  }
  Checked plan(Planner planner, const std::string& text) {
    auto body = parse_json(text);
    CHECK(body.ok());
    plan_ = {};
    return planner(model_, body.value().get_object(), env_, plan_);
  }
  std::string prompt(size_t index = 0) const {
    return tokenizer_->decode(plan_.prompts[index], true);
  }
  /// The field at fault.
  std::string fault(Planner planner, const std::string& text) {
    const Checked problem = plan(planner, text);
    return problem ? problem->param : "none";
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  ServedModel model_;
  testing::VirtualEnv env_;
  GenerationPlan plan_;
};

TEST_F(Natives, PromptsAreTextsIdsOrBoth) {
  ASSERT_FALSE(plan(plan_llama_completion, R"({"prompt": "ab"})"));
  EXPECT_EQ(prompt(), "ab");
  ASSERT_FALSE(plan(plan_llama_completion, R"({"prompt": [97, "bc", 100]})"));
  ASSERT_EQ(plan_.prompts.size(), 1u);
  EXPECT_EQ(prompt(), "abcd");
  ASSERT_FALSE(plan(plan_llama_completion, R"({"prompt": ["ab", [99, 100], ["e", 102]]})"));
  ASSERT_EQ(plan_.prompts.size(), 3u);
  EXPECT_EQ(prompt(1), "cd");
  EXPECT_EQ(prompt(2), "ef");
  for (const char* bad : {"5", "null", "[]", "[null]", "[[[1]]]", "[-1]", "[99999]", "{}", "[1.5]",
                          "[true]", "\"\"", "[1, [2]]"}) {
    EXPECT_EQ(fault(plan_llama_completion, std::string(R"({"prompt": )") + bad + "}"), "prompt")
        << bad;
  }
}

TEST_F(Natives, CountsMeanWhatTheyMeanThere) {
  ASSERT_FALSE(plan(plan_llama_completion, R"({"prompt": "a", "n_predict": -1})"));
  EXPECT_EQ(plan_.params.max_tokens, 0);
  EXPECT_FALSE(plan_.params.prompt_only);
  ASSERT_FALSE(plan(plan_llama_completion, R"({"prompt": "a", "n_predict": 0})"));
  EXPECT_TRUE(plan_.params.prompt_only);
  ASSERT_FALSE(plan(plan_llama_completion, R"({"prompt": "a", "n_predict": 7, "n_probs": 3})"));
  EXPECT_EQ(plan_.params.max_tokens, 7);
  EXPECT_EQ(plan_.params.sampling.top_logprobs, 3);
  EXPECT_EQ(fault(plan_llama_completion, R"({"prompt": "a", "n_predict": -3})"), "n_predict");
  EXPECT_EQ(fault(plan_llama_completion, R"({"prompt": "a", "json_schema": 7})"), "json_schema");
}

TEST_F(Natives, InfillPutsFilesBeforeTheGap) {
  constexpr const char* kBody = R"({"input_prefix": "A<suf>", "input_suffix": "Z", "prompt": "M",
      "input_extra": [{"filename": "x.py", "text": "one"}, {"text": "two"}]})";
  ASSERT_FALSE(plan(plan_llama_infill, kBody));
  EXPECT_EQ(prompt(),
            "<rep>myproject\n<sep>x.py\none<sep>tmp\ntwo<sep>filename\n"
            "<pre>A<suf><suf>Z<mid>M");
  // The caller's "<suf>" is text, ours is the token.
  EXPECT_EQ(std::ranges::count(plan_.prompts[0], 260), 1);
  tokenizer_ = fim_tokenizer(false);
  model_.tokenizer = tokenizer_.get();
  ASSERT_FALSE(plan(plan_llama_infill, kBody));
  EXPECT_EQ(prompt(),
            "\n\n--- snippet ---\n\none\n\n--- snippet ---\n\ntwo\n\n--- snippet ---\n\n"
            "<pre>A<suf><suf>Z<mid>M");
  for (const char* field : {"input_prefix", "input_suffix", "input_extra", "prompt"}) {
    EXPECT_EQ(fault(plan_llama_infill, std::string("{\"") + field + "\": 5}"), field);
  }
}

TEST_F(Natives, InfillNeedsTheTokens) {
  tokenizer_ = byte_tokenizer();
  model_.tokenizer = tokenizer_.get();
  EXPECT_EQ(fault(plan_llama_infill, R"({"input_prefix": "a"})"), "input_prefix");
}

TEST_F(Natives, TokenizerInfoNamesSpecialTokens) {
  auto info = parse_json(tokenizer_info_body(model_));
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info.value().at("eos_token").get_string(), "<|end|>");
  EXPECT_TRUE(info.value().at("bos_token").is_null());
  EXPECT_TRUE(info.value().at("chat_template").is_null());
  EXPECT_EQ(info.value().at("vocab_size").get_int64(), tokenizer_->size());
}

TEST_F(Natives, SlotsAreRowsOfTheBatch) {
  auto slots = parse_json(slots_body(model_, {.running = 1, .rows_max = 3}));
  ASSERT_TRUE(slots.ok());
  ASSERT_EQ(slots.value().get_array().size(), 3u);
  EXPECT_TRUE(slots.value().at(0).at("is_processing").get_bool());
  EXPECT_FALSE(slots.value().at(1).at("is_processing").get_bool());
}

}  // namespace
}  // namespace hadal
