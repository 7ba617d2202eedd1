// Goal: with real weights too, a request gets the same tokens whether its keys and values are
// computed, come from memory beside the pool, or from the files that another process left.
#include <filesystem>

#include "engine/engine.h"
#include "engine/testing/harness.h"
#include "engine/testing/kv_pages.h"
#include "engine/tiered_pages.h"
#include "models.h"

namespace hadal {
namespace {

using testing::Received;
using testing::RecordingSink;

constexpr int kPromptTokens = 200;

/// Greedy for even numbers, seeded sampling with every filter for odd ones.
GenerateRequest request_of(int number, int64_t n_vocab) {
  GenerateRequest request = testing::make_request(kPromptTokens, 24, number);
  uint64_t hash = static_cast<uint64_t>(number);
  for (TokenId& token : request.prompt) {
    hash = testing::hash_step(hash, 7);
    token = static_cast<TokenId>((hash >> 8) % static_cast<uint64_t>(n_vocab));
  }
  return request;
}

struct Answer {
  std::vector<TokenId> ids;
  int64_t cached = 0;
};
Answer ask(Engine& engine, const GenerateRequest& request) {
  Received got;
  EXPECT_TRUE(engine.submit(request, std::make_unique<RecordingSink>(got)).ok());
  const FinishEvent end = got.wait_finish();
  EXPECT_EQ(end.reason, FinishReason::kLength);
  return {got.ids(), end.cached_tokens};
}

/// One process's life: asks all requests one after the other. The pool holds one of them.
std::vector<Answer> live(ForwardModel& model, const std::filesystem::path& directory,
                         bool with_memory, const std::vector<GenerateRequest>& requests) {
  const PageShape shape = kv_page_shape(model.kv_layout());
  TieredPages pages({.shape = shape,
                     .ram_bytes = with_memory ? 40 * shape.bytes : 0,
                     .disk_bytes = 100 * (shape.bytes + 8192),
                     .directory = directory,
                     .fingerprint = "golden"},
                    Env::real());
  Engine engine(model,
                {.n_ctx = 256,
                 .max_batch = 2,
                 .kv_bytes = 8 * shape.bytes,
                 .model_fingerprint = pages.fingerprint(),
                 .tier = &pages},
                Env::real());
  std::vector<Answer> answers;
  for (const GenerateRequest& request : requests) answers.push_back(ask(engine, request));
  pages.begin_drain(Env::real().now_micros() + 60'000'000);
  return answers;
}

void expect_same_from_tiers(const std::filesystem::path& path) {
  SCOPED_TRACE(path);
  testing::LoadedModel loaded(path);
  ASSERT_NE(loaded.model, nullptr);
  Model& model = *loaded.model;
  std::vector<GenerateRequest> requests;
  for (const int number : {0, 1, 2, 0, 1, 2}) {
    requests.push_back(request_of(number, model.n_vocab()));
  }
  testing::TempDirectory directory;
  // Computed at first; the second time most of it comes from memory, as the pool holds one.
  const std::vector<Answer> first = live(model, directory / "kv", true, requests);
  ASSERT_EQ(first.size(), requests.size());
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(first[i].cached, 0);
    EXPECT_EQ(first[i + 3].ids, first[i].ids);
    EXPECT_EQ(first[i + 3].cached, kPromptTokens / 32 * 32);
  }
  // Another process without memory: all of it comes from files.
  const std::vector<Answer> restarted = live(model, directory / "kv", false, requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(restarted[i].ids, first[i].ids);
    EXPECT_EQ(restarted[i].cached, kPromptTokens / 32 * 32);
  }
}

TEST(TiersGolden, TinyModelsGiveTheSameTokensFromTiers) {
  for (const char* name : {"qwen3.gguf", "llama_q8_0.gguf"}) {
    expect_same_from_tiers(testing::tiny_model(name));
  }
}

TEST(TiersGolden, StarterModelGivesTheSameTokensFromTiers) {
  const std::filesystem::path path = testing::starter_model();
  if (path.empty())
    GTEST_SKIP() << testing::no_starter_model("the way of keys and values through memory and disk");
  expect_same_from_tiers(path);
}

}  // namespace
}  // namespace hadal
