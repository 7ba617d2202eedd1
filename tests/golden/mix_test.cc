// Goal: over random mixes of requests on real models, alone = batched = in chunks = parked = found
// in the cache = from memory or disk = after a restart = with guesses, token for token.
// HADAL_MIXES=1000 asks for so many mixes; every twentieth is the starter model's.
#include <cstdlib>
#include <deque>
#include <random>

#include <fmt/core.h>

#include "engine/engine.h"
#include "engine/testing/harness.h"
#include "engine/testing/kv_pages.h"
#include "engine/tiered_pages.h"
#include "models.h"

namespace hadal {
namespace {

using testing::Received;
using testing::RecordingSink;
using Ids = std::vector<TokenId>;

constexpr int64_t kContext = 384;
constexpr int kStarterEvery = 20;

class Mix {
 public:
  Mix(uint32_t seed, int64_t n_vocab) : random_(seed) {
    std::vector<Ids> begins;
    for (int i = 0; i < 3; ++i) begins.push_back(some_ids(draw(100), n_vocab));
    for (int i = 0; i < 6; ++i) {
      GenerateRequest request = testing::make_request(1, 1 + draw(120), draw(1000));
      request.prompt = begins[static_cast<size_t>(draw(3))];
      const Ids own = some_ids(1 + draw(60), n_vocab);
      request.prompt.insert(request.prompt.end(), own.begin(), own.end());
      if (draw(3) == 0) {  // says something again, which n-grams guess
        request.prompt.insert(request.prompt.end(), own.begin(), own.end());
      }
      if (draw(4) == 0) request.tenant = draw(2) == 0 ? "a" : "b";
      requests.push_back(std::move(request));
    }
  }
  int draw(int64_t n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }

  std::vector<GenerateRequest> requests;

 private:
  Ids some_ids(int count, int64_t n_vocab) {
    Ids ids;
    for (int i = 0; i < count; ++i) ids.push_back(static_cast<TokenId>(draw(n_vocab)));
    return ids;
  }
  std::mt19937 random_;
};

/// All at once.
std::vector<Ids> answers(Engine& engine, std::span<const GenerateRequest> requests) {
  std::deque<Received> got(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(engine.submit(requests[i], std::make_unique<RecordingSink>(got[i])).ok());
  }
  std::vector<Ids> out;
  for (Received& received : got) {
    EXPECT_EQ(received.wait_finish().reason, FinishReason::kLength);
    out.push_back(received.ids());
  }
  return out;
}

/// Each in an engine of its own, which has seen nothing.
std::vector<Ids> alone(ForwardModel& model, const Mix& mix) {
  std::vector<Ids> out;
  for (const GenerateRequest& request : mix.requests) {
    Engine engine(model, {.n_ctx = kContext, .max_batch = 1}, Env::real());
    out.push_back(answers(engine, {&request, 1}).front());
  }
  return out;
}

/// A model, and the same with its layer that predicts, if it has one.
struct Subject {
  explicit Subject(const std::filesystem::path& path)
      : plain(path, {.latent_form = LatentForm::kAbsorbed}) {
    if (path.filename() != "deepseek_v3.gguf") return;
    predicting = std::make_unique<testing::LoadedModel>(
        path, LoadOptions{.latent_form = LatentForm::kAbsorbed, .predict = true});
  }
  testing::LoadedModel plain;
  std::unique_ptr<testing::LoadedModel> predicting;
};

/// What happened over all mixes.
struct Sum {
  void add(const EngineStats& stats) {
    preemptions += stats.kv.preemptions;
    hit_tokens += stats.kv.hit_tokens;
    evictions += stats.kv.evictions;
    drafted += stats.drafted_tokens;
    accepted += stats.accepted_tokens;
  }
  uint64_t preemptions = 0;
  uint64_t hit_tokens = 0;
  uint64_t evictions = 0;
  uint64_t drafted = 0;
  uint64_t accepted = 0;
  uint64_t from_memory = 0;  ///< pages
  uint64_t from_disk = 0;
  uint64_t after_restart = 0;  ///< from disk, of another engine
};

/// In a crowd, twice, and once more by an engine that starts where this one left its pages.
void check(Subject& subject, Mix& mix, Sum& sum) {
  Model& plain = *subject.plain.model;
  const std::vector<Ids> expected = alone(plain, mix);
  const bool predicts = subject.predicting != nullptr && mix.draw(2) == 0;
  Model& model = predicts ? *subject.predicting->model : plain;
  const PageShape shape = kv_page_shape(model.kv_layout());
  const testing::TempDirectory directory;
  const int64_t memory = mix.draw(2) == 0 ? 0 : 20;
  EngineOptions options = {.n_ctx = kContext,
                           .max_batch = 1 + mix.draw(6),
                           .max_step_tokens = 6 + mix.draw(200),
                           .kv_bytes = shape.bytes * static_cast<uint64_t>(12 + mix.draw(10))};
  const bool guesses = predicts || mix.draw(2) == 0;
  for (int life = 0; life < 2; ++life) {
    TieredPages pages({.shape = shape,
                       .ram_bytes = static_cast<uint64_t>(memory) * shape.bytes,
                       .disk_bytes = 200 * (shape.bytes + 8192),
                       .directory = directory.path() / "kv",
                       .fingerprint = "mix"},
                      Env::real());
    options.model_fingerprint = pages.fingerprint();
    options.tier = &pages;
    std::unique_ptr<Drafter> drafter;
    if (guesses) drafter = predicts ? make_prediction_drafter(model, 0.01) : make_ngram_drafter();
    Engine engine(model, options, Env::real(), std::move(drafter));
    for (int round = 0; round < 2 - life; ++round) {
      EXPECT_EQ(answers(engine, mix.requests), expected) << "life " << life << " round " << round;
    }
    engine.drain(60'000'000);
    sum.add(engine.stats());
    sum.from_memory += pages.ram_stats().hits;
    (life == 0 ? sum.from_disk : sum.after_restart) += pages.disk_stats().hits;
    pages.begin_drain(Env::real().now_micros() + 60'000'000);
  }
}

TEST(Mixes, TokensDoNotDependOnCompanyOrPlace) {
  const char* asked = std::getenv("HADAL_MIXES");
  const int count = asked == nullptr ? 40 : std::atoi(asked);
  std::vector<std::unique_ptr<Subject>> tiny;
  for (const char* name : {"qwen3.gguf", "llama_q8_0.gguf", "deepseek_v2_lite.gguf",
                           "deepseek_v3.gguf", "deepseek_v32.gguf", "deepseek4.gguf"}) {
    tiny.push_back(std::make_unique<Subject>(testing::tiny_model(name)));
    ASSERT_NE(tiny.back()->plain.model, nullptr);
  }
  std::unique_ptr<Subject> starter;
  const std::filesystem::path path = testing::starter_model();
  if (!path.empty()) starter = std::make_unique<Subject>(path);
  Sum sum;
  for (int seed = 0; seed < count && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    const bool real = starter != nullptr && seed % kStarterEvery == 7;
    Subject& subject = real ? *starter : *tiny[static_cast<size_t>(seed) % tiny.size()];
    Mix mix(static_cast<uint32_t>(seed), subject.plain.model->n_vocab());
    check(subject, mix, sum);
  }
  fmt::print(
      "  {} mixes: {} times parked, {} tokens found, {} pages evicted, {} back from memory, {} "
      "from disk, {} after a restart, {} of {} guesses right\n",
      count, sum.preemptions, sum.hit_tokens, sum.evictions, sum.from_memory, sum.from_disk,
      sum.after_restart, sum.accepted, sum.drafted);
  EXPECT_GT(sum.preemptions, 0u);
  EXPECT_GT(sum.hit_tokens, 1000u);
  EXPECT_GT(sum.evictions, 100u);
  EXPECT_GT(sum.from_memory, 10u);
  EXPECT_GT(sum.after_restart, 100u);
  EXPECT_GT(sum.drafted, 100u);
  if (path.empty()) GTEST_SKIP() << testing::no_starter_model("a random mix");
}

}  // namespace
}  // namespace hadal
