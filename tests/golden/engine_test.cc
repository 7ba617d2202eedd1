// Goal: with real weights too, a request gets the same tokens alone, in a batch of eight, with its
// prompt in small chunks, and while others join, leave and are cancelled.
#include "engine/engine.h"

#include <deque>
#include <filesystem>

#include "engine/testing/harness.h"
#include "models.h"

namespace hadal {
namespace {

using testing::Received;
using testing::RecordingSink;

std::unique_ptr<RecordingSink> sink(Received& received) {
  return std::make_unique<RecordingSink>(received);
}

/// Half greedy, half seeded with filters and penalties; prompts from one token to several chunks.
std::vector<GenerateRequest> eight_requests(int64_t n_vocab) {
  std::vector<GenerateRequest> out;
  for (int i = 0; i < 8; ++i) {
    GenerateRequest request = testing::make_request(1 + 6 * i, 10 + (5 * i) % 8, i);
    uint64_t hash = static_cast<uint64_t>(i) + 1;
    for (TokenId& id : request.prompt) {
      hash = testing::hash_step(hash, 3);
      id = static_cast<TokenId>((hash >> 8) % static_cast<uint64_t>(n_vocab));
    }
    out.push_back(std::move(request));
  }
  return out;
}

std::vector<std::vector<TokenId>> one_by_one(ForwardModel& model,
                                             const std::vector<GenerateRequest>& requests) {
  Engine engine(model, {.n_ctx = 128, .max_batch = 1}, Env::real());
  std::vector<std::vector<TokenId>> out;
  for (const GenerateRequest& request : requests) {
    Received got;
    EXPECT_TRUE(engine.submit(request, sink(got)).ok());
    EXPECT_EQ(got.wait_finish().reason, FinishReason::kLength);
    out.push_back(got.ids());
    EXPECT_EQ(out.back().size(), static_cast<size_t>(request.max_tokens));
  }
  return out;
}

/// Four at first, the rest and one that is cancelled once these decode; steps of `step_tokens`.
std::vector<std::vector<TokenId>> together(ForwardModel& model,
                                           const std::vector<GenerateRequest>& requests,
                                           int step_tokens) {
  std::deque<Received> got(requests.size());
  Received leaver;
  Engine engine(model, {.n_ctx = 128, .max_batch = 8, .max_step_tokens = step_tokens}, Env::real());
  const auto submit = [&](size_t i) { EXPECT_TRUE(engine.submit(requests[i], sink(got[i])).ok()); };
  for (size_t i = 0; i < 4; ++i) submit(i);
  got[0].wait_tokens(3);
  GenerateRequest endless = requests[5];
  endless.max_tokens = 0;
  const RequestId id = engine.submit(endless, sink(leaver)).value();
  for (size_t i = 4; i < requests.size(); ++i) submit(i);
  leaver.wait_tokens(2);
  engine.cancel(id);
  EXPECT_NE(leaver.wait_finish().reason, FinishReason::kError);  // a fast model may be done first
  std::vector<std::vector<TokenId>> out;
  for (Received& received : got) {
    EXPECT_EQ(received.wait_finish().reason, FinishReason::kLength);
    out.push_back(received.ids());
  }
  return out;
}

void expect_same_alone_and_together(const std::filesystem::path& path) {
  testing::LoadedModel loaded(path);
  ASSERT_NE(loaded.model, nullptr);
  const auto requests = eight_requests(loaded.model->n_vocab());
  const auto alone = one_by_one(*loaded.model, requests);
  for (const int step_tokens : {8, 13, 512}) {
    const auto mixed = together(*loaded.model, requests, step_tokens);
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(mixed[i], alone[i]) << path << " request " << i << " steps of " << step_tokens;
    }
  }
}

/// Texts that repeat themselves: a stretch, the same again, and its beginning. Half greedy, half
/// sampled with penalties.
std::vector<GenerateRequest> copying_requests(int64_t n_vocab) {
  std::vector<GenerateRequest> out = eight_requests(n_vocab);
  for (size_t i = 0; i < out.size(); ++i) {
    std::vector<TokenId> stretch;
    uint64_t hash = i + 40;
    for (size_t n = 0; n < 24 + i; ++n) {
      hash = testing::hash_step(hash, 5);
      stretch.push_back(static_cast<TokenId>((hash >> 8) % static_cast<uint64_t>(n_vocab)));
    }
    std::vector<TokenId>& prompt = out[i].prompt;
    prompt = stretch;
    prompt.insert(prompt.end(), stretch.begin(), stretch.end());
    prompt.insert(prompt.end(), stretch.begin(), stretch.begin() + 6);
    out[i].max_tokens = 16 + static_cast<int64_t>(i);
  }
  return out;
}

struct Speculated {
  std::vector<std::vector<TokenId>> ids;
  EngineStats stats;
};

Speculated speculated(ForwardModel& model, const std::vector<GenerateRequest>& requests,
                      int max_batch, std::unique_ptr<Drafter> drafter) {
  std::deque<Received> got(requests.size());
  Engine engine(model, {.n_ctx = 128, .max_batch = max_batch}, Env::real(), std::move(drafter));
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(engine.submit(requests[i], sink(got[i])).ok());
  }
  Speculated out;
  for (Received& received : got) {
    EXPECT_EQ(received.wait_finish().reason, FinishReason::kLength);
    out.ids.push_back(received.ids());
  }
  out.stats = engine.stats();
  return out;
}

void expect_same_with_guesses(const std::filesystem::path& path, bool copies) {
  testing::LoadedModel loaded(path);
  ASSERT_NE(loaded.model, nullptr);
  const auto requests = copying_requests(loaded.model->n_vocab());
  const auto alone = one_by_one(*loaded.model, requests);
  for (const int max_batch : {1, 4}) {
    const Speculated got = speculated(*loaded.model, requests, max_batch, make_ngram_drafter());
    EXPECT_EQ(got.ids, alone) << path;
    EXPECT_GE(got.stats.accepted_tokens, copies ? 10u : 0u);
  }
  // A model that drafts for itself is always right, sampled or not.
  const std::unique_ptr<Model> same = loaded.load();
  ASSERT_NE(same, nullptr);
  const ModelDrafterOptions options = {
      .n_vocab = loaded.model->n_vocab(), .n_ctx = 128, .rows = 4, .cost_per_token = 0.01};
  const Speculated got = speculated(*loaded.model, requests, 4, make_model_drafter(*same, options));
  EXPECT_EQ(got.ids, alone) << path;
  EXPECT_GT(got.stats.drafted_tokens, 0u);
  EXPECT_EQ(got.stats.accepted_tokens, got.stats.drafted_tokens) << path;
}

void expect_prediction_changes_nothing(const char* name, LoadOptions options) {
  const auto path = testing::tiny_model(name);
  testing::LoadedModel plain(path, options);
  options.predict = true;
  testing::LoadedModel predicting(path, options);
  ASSERT_TRUE(plain.model != nullptr && predicting.model != nullptr);
  ASSERT_TRUE(predicting.model->predicts() && !plain.model->predicts());
  const auto requests = copying_requests(plain.model->n_vocab());
  const auto alone = one_by_one(*plain.model, requests);
  for (const int max_batch : {1, 4}) {
    const Speculated got = speculated(*predicting.model, requests, max_batch,
                                      make_prediction_drafter(*predicting.model, 0.01));
    EXPECT_EQ(got.ids, alone);
    EXPECT_GT(got.stats.drafted_tokens, 10u);  // how many pay is decided by what came true
  }
}

// Goal: a model with a prediction layer gives the tokens that it gives without, through prefix
// cache and all, and its guesses are computed from the right states: a random layer is right by
// chance alone, so the model test checks its logits.
TEST(EngineGolden, PredictionLayerNeverChangesAToken) {
  expect_prediction_changes_nothing("deepseek_v3.gguf", {.latent_form = LatentForm::kAbsorbed});
}

// Goal: the same with DeepSeek V4's block, which lies in a file of its own.
TEST(EngineGolden, PredictionBlockNeverChangesAToken) {
  const Result<GgufFile> block = GgufFile::open(testing::tiny_model("deepseek4_mtp.block"));
  ASSERT_TRUE(block.ok()) << block.error().text();
  expect_prediction_changes_nothing("deepseek4.gguf", {.prediction_file = &block.value()});
}

// Goal: the same with that block out of the directory that a model is published as.
TEST(EngineGolden, PredictionBlockOfADirectoryNeverChangesAToken) {
  expect_prediction_changes_nothing("../checkpoints/deepseek_v4", {});
}

TEST(EngineGolden, TinyModelsGiveTheSameTokensAloneAndInABatch) {
  for (const auto& path : testing::tiny_models()) expect_same_alone_and_together(path);
}

// Goal: guesses, of the n-gram drafter or a model, never change a token.
TEST(EngineGolden, TinyModelsGiveTheSameTokensWithGuesses) {
  for (const auto& path : testing::tiny_models()) expect_same_with_guesses(path, false);
}

TEST(EngineGolden, StarterModelGivesTheSameTokensWithGuesses) {
  const std::filesystem::path path = testing::starter_model();
  if (path.empty()) GTEST_SKIP() << testing::no_starter_model("speculation");
  expect_same_with_guesses(path, true);
}

TEST(EngineGolden, StarterModelGivesTheSameTokensAloneAndInABatch) {
  const std::filesystem::path path = testing::starter_model();
  if (path.empty()) GTEST_SKIP() << testing::no_starter_model("the batch");
  expect_same_alone_and_together(path);
}

}  // namespace
}  // namespace hadal
