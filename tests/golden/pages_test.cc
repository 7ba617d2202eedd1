// Goal: with real weights too, a request gets the same tokens whether its prompt is computed, found
// in the prefix cache, or computed again after it was parked for want of pages.
#include <deque>
#include <filesystem>

#include "engine/engine.h"
#include "engine/testing/harness.h"
#include "models.h"

namespace hadal {
namespace {

using testing::Received;
using testing::RecordingSink;

constexpr int64_t kPageTokens = 32;  // as KvStats says, which is checked

/// Three texts with one beginning; half greedy, half seeded with filters and penalties.
std::vector<GenerateRequest> three_requests(int64_t n_vocab) {
  std::vector<GenerateRequest> out;
  for (int i = 0; i < 3; ++i) {
    GenerateRequest request = testing::make_request(75 + 20 * i, 3 * kPageTokens, i);
    uint64_t hash = 9;
    for (size_t at = 0; at < request.prompt.size(); ++at) {
      hash = testing::hash_step(hash, at < 70 ? 3 : static_cast<uint64_t>(i) + 5);
      request.prompt[at] = static_cast<TokenId>((hash >> 8) % static_cast<uint64_t>(n_vocab));
    }
    out.push_back(std::move(request));
  }
  return out;
}

/// All at once, over so many pages.
struct Outcome {
  std::vector<std::vector<TokenId>> tokens;
  std::vector<int64_t> cached;
  KvStats kv;
};
Outcome together(ForwardModel& model, const std::vector<GenerateRequest>& requests, int64_t pages,
                 int rounds) {
  const uint64_t page_bytes = model.kv_layout().bytes_per_token() * kPageTokens;
  Engine engine(model,
                {.n_ctx = 256,
                 .max_batch = 4,
                 .max_step_tokens = 50,
                 .kv_bytes = page_bytes * static_cast<uint64_t>(pages)},
                Env::real());
  Outcome out;
  for (int round = 0; round < rounds; ++round) {
    std::deque<Received> got(requests.size());
    for (size_t i = 0; i < requests.size(); ++i) {
      const auto id = engine.submit(requests[i], std::make_unique<RecordingSink>(got[i]));
      EXPECT_TRUE(id.ok());
    }
    out = {};
    for (Received& received : got) {
      const FinishEvent end = received.wait_finish();
      EXPECT_EQ(end.reason, FinishReason::kLength);
      out.tokens.push_back(received.ids());
      out.cached.push_back(end.cached_tokens);
    }
  }
  out.kv = engine.stats().kv;
  EXPECT_EQ(out.kv.page_tokens, kPageTokens);
  return out;
}

void expect_same_from_everywhere(const std::filesystem::path& path, const LoadOptions& how = {}) {
  SCOPED_TRACE(path);
  testing::LoadedModel loaded(path, how);
  ASSERT_NE(loaded.model, nullptr);
  ForwardModel& model = *loaded.model;
  const std::vector<GenerateRequest> requests = three_requests(model.n_vocab());
  std::vector<std::vector<TokenId>> alone;
  for (const GenerateRequest& request : requests) {
    const Outcome one = together(model, {request}, 8, 1);
    EXPECT_EQ(one.cached[0], 0);
    alone.push_back(one.tokens[0]);
    EXPECT_EQ(alone.back().size(), static_cast<size_t>(request.max_tokens));
  }

  const Outcome first = together(model, requests, 32, 1);
  EXPECT_EQ(first.tokens, alone);
  const Outcome second = together(model, requests, 32, 2);
  EXPECT_EQ(second.tokens, alone);
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto before_last = static_cast<int64_t>(requests[i].prompt.size()) - 1;
    EXPECT_EQ(second.cached[i], before_last / kPageTokens * kPageTokens);
  }
  const Outcome tight = together(model, requests, 8, 1);
  EXPECT_GT(tight.kv.preemptions, 0u);
  EXPECT_EQ(tight.tokens, alone);
}

TEST(PagesGolden, TinyModelsGiveTheSameTokensFromEverywhere) {
  for (const char* name : {"qwen3.gguf", "llama_q8_0.gguf", "deepseek4.gguf"}) {
    expect_same_from_everywhere(testing::tiny_model(name));
  }
}

// Goal: the same where keys and values are rounded, and blocks of them share scales.
TEST(PagesGolden, RoundedKeysAndValuesGiveTheSameTokensFromEverywhere) {
  for (const char* name : {"qwen3.gguf", "llama_q8_0.gguf"}) {
    expect_same_from_everywhere(testing::tiny_model(name), {.kv_type = KvType::kQ8_0});
  }
}

TEST(PagesGolden, StarterModelGivesTheSameTokensFromEverywhere) {
  const std::filesystem::path path = testing::starter_model();
  if (path.empty()) GTEST_SKIP() << testing::no_starter_model("the prefix cache");
  expect_same_from_everywhere(path);
}

}  // namespace
}  // namespace hadal
