// Goal: wherever a request's keys and values come from -- computed, another request's pages, pages
// of its own from before it was parked, a tier -- its tokens are the same, and no page is lost.
// FakeModel's logits hash what it reads back from the pages, so a wrong page gives wrong tokens;
// the engine checks the ledger and the tree whenever it is idle.
#include <cmath>
#include <deque>
#include <random>

#include "engine/engine.h"
#include "engine/kv/kv_cache.h"
#include "engine/testing/harness.h"
#include "engine/testing/memory_tier.h"
#include "engine/testing/oracle_drafter.h"

namespace hadal {
namespace {

using testing::expected_ids;
using testing::FakeModel;
using testing::Gate;
using testing::make_prompt;
using testing::make_request;
using testing::MemoryTier;
using testing::Received;
using testing::RecordingSink;
using testing::VirtualEnv;

constexpr int kPage = static_cast<int>(kKvPageTokens);

std::unique_ptr<RecordingSink> sink(Received& received, RecordingSink::OnToken on_token = {}) {
  return std::make_unique<RecordingSink>(received, std::move(on_token));
}

uint64_t bytes_of(int pages) {
  return FakeModel().kv_layout().bytes_per_token() * static_cast<uint64_t>(kPage * pages);
}

FinishEvent run(Engine& engine, const GenerateRequest& request, Received& got) {
  const Result<RequestId> id = engine.submit(request, sink(got));
  EXPECT_TRUE(id.ok()) << id.error().text();
  return id.ok() ? got.wait_finish() : FinishEvent{};
}

/// Holds the first forward pass until the test has submitted everything.
struct HeldModel {
  HeldModel() {
    model.hook = [this](const Batch&) {
      gate.pass();
      return Status();
    };
  }
  FakeModel model;
  Gate gate;
};

TEST(Pages, TheSecondRequestComputesWhatIsNew) {
  FakeModel model;
  VirtualEnv env;
  Engine engine(model, {.n_ctx = 512, .max_batch = 2}, env);
  const GenerateRequest request = make_request(5 * kPage + 3, 10, 1);
  Received first;
  Received second;
  EXPECT_EQ(run(engine, request, first).cached_tokens, 0);
  EXPECT_EQ(run(engine, request, second).cached_tokens, 5 * kPage);
  EXPECT_EQ(first.ids(), expected_ids(request, 10));
  EXPECT_EQ(second.ids(), expected_ids(request, 10));
  EXPECT_EQ(engine.stats().prompt_tokens, static_cast<uint64_t>(5 * kPage + 3 + 3));

  // A prompt that ends with a page leaves that page to compute: logits must come from somewhere.
  GenerateRequest whole = request;
  whole.prompt.resize(static_cast<size_t>(5 * kPage));
  Received third;
  EXPECT_EQ(run(engine, whole, third).cached_tokens, 4 * kPage);
  EXPECT_EQ(third.ids(), expected_ids(whole, 10));

  // The next turn of a chat finds the answer, too.
  GenerateRequest turn = request;
  turn.max_tokens = 2 * kPage;
  Received fourth;
  run(engine, turn, fourth);
  const std::vector<TokenId> answer = fourth.ids();
  turn.prompt.insert(turn.prompt.end(), answer.begin(), answer.end());
  turn.prompt.push_back(3);
  Received fifth;
  EXPECT_EQ(run(engine, turn, fifth).cached_tokens, 7 * kPage);
  EXPECT_EQ(fifth.ids(), expected_ids(turn, turn.max_tokens));
  const KvStats kv = engine.stats().kv;
  EXPECT_EQ(kv.lookups, 5u);
  EXPECT_EQ(kv.hit_tokens, static_cast<uint64_t>((5 + 4 + 5 + 7) * kPage));
  EXPECT_EQ(kv.pages, 2 * 512 / kPage);
  EXPECT_EQ(kv.evictions, 0u);
}

TEST(Pages, ConcurrentRequestsComputeASharedPromptOnce) {
  // n = 4 choices, and four users with one system prompt.
  for (const int own_tokens : {0, 9}) {
    HeldModel held;
    VirtualEnv env;
    std::deque<Received> got(4);
    std::vector<GenerateRequest> requests;
    for (int i = 0; i < 4; ++i) {
      GenerateRequest request = make_request(4 * kPage + 5, 8, 7);
      const std::vector<TokenId> own = make_prompt(own_tokens, i);
      request.prompt.insert(request.prompt.end(), own.begin(), own.end());
      request.sampling.seed = static_cast<uint64_t>(i);
      requests.push_back(std::move(request));
    }
    Engine engine(held.model, {.n_ctx = 512, .max_batch = 4, .max_step_tokens = 50}, env);
    for (size_t i = 0; i < 4; ++i) ASSERT_TRUE(engine.submit(requests[i], sink(got[i])).ok());
    held.gate.open();
    int64_t cached = 0;
    for (size_t i = 0; i < 4; ++i) {
      cached += got[i].wait_finish().cached_tokens;
      EXPECT_EQ(got[i].ids(), expected_ids(requests[i], 8)) << i;
    }
    engine.drain(60'000'000);
    // The first may have begun alone, before the others were there.
    EXPECT_EQ(cached, 3 * 4 * kPage);
    EXPECT_EQ(engine.stats().prompt_tokens,
              static_cast<uint64_t>(4 * kPage + 4 * (5 + own_tokens)));
  }
}

TEST(Pages, TenantsShareNothing) {
  FakeModel model;
  VirtualEnv env;
  Engine engine(model, {.n_ctx = 512, .max_batch = 2}, env);
  GenerateRequest request = make_request(4 * kPage + 1, 5, 0);
  int64_t cached[6];
  const char* tenants[] = {"", "a", "b", "a", "b", ""};
  for (size_t i = 0; i < 6; ++i) {
    request.tenant = tenants[i];
    Received got;
    cached[i] = run(engine, request, got).cached_tokens;
    EXPECT_EQ(got.ids(), expected_ids(request, 5));
  }
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(cached[i], i < 3 ? 0 : 4 * kPage) << i;
}

TEST(Pages, TheOldestPrefixGoesWhenMemoryIsFull) {
  FakeModel model;
  VirtualEnv env;
  Engine engine(model, {.n_ctx = 512, .max_batch = 2, .kv_bytes = bytes_of(10)}, env);
  EXPECT_EQ(engine.options().n_ctx, 10 * kPage);  // one sequence may take all
  const auto cached = [&](int salt) {
    Received got;
    const GenerateRequest request = make_request(4 * kPage + 1, 3, salt);
    const int64_t tokens = run(engine, request, got).cached_tokens;
    EXPECT_EQ(got.ids(), expected_ids(request, 3));
    return tokens;
  };
  EXPECT_EQ(cached(0), 0);
  EXPECT_EQ(cached(2), 0);
  EXPECT_EQ(cached(0), 4 * kPage);
  EXPECT_EQ(cached(4), 0);  // takes pages of 2, from its end
  EXPECT_EQ(cached(0), 4 * kPage);
  EXPECT_LT(cached(2), 4 * kPage);
  EXPECT_GT(engine.stats().kv.evictions, 0u);
  EXPECT_EQ(engine.stats().kv.preemptions, 0u);

  Received refused;
  const auto too_long = engine.submit(make_request(10 * kPage, 3, 0), sink(refused));
  ASSERT_FALSE(too_long.ok());
  EXPECT_EQ(too_long.error().code, Code::kInvalidArgument);
  Received longest;
  EXPECT_EQ(run(engine, make_request(10 * kPage - 1, 3, 0), longest).completion_tokens, 1);
}

// Goal: rows that are parked for want of pages go on with their tokens and their sampler, and
// nobody hears a token twice.
TEST(Pages, ParkedRowsGoOnAsIfNothingHadHappened) {
  HeldModel held;
  VirtualEnv env;
  std::deque<Received> got(4);
  Engine engine(held.model, {.n_ctx = 512, .max_batch = 4, .kv_bytes = bytes_of(12)}, env);
  std::vector<GenerateRequest> requests;
  for (int i = 0; i < 4; ++i) requests.push_back(make_request(10 + i, 5 * kPage, 2 * i + 1));
  for (size_t i = 0; i < 4; ++i) ASSERT_TRUE(engine.submit(requests[i], sink(got[i])).ok());
  held.gate.open();
  for (size_t i = 0; i < 4; ++i) {
    const FinishEvent end = got[i].wait_finish();
    EXPECT_EQ(end.reason, FinishReason::kLength);
    EXPECT_EQ(end.cached_tokens, 0);  // its own pages are no hit
    EXPECT_EQ(got[i].ids(), expected_ids(requests[i], 5 * kPage)) << i;
  }
  engine.drain(60'000'000);
  EXPECT_GT(engine.stats().kv.preemptions, 0u);
  EXPECT_EQ(engine.stats().completion_tokens, static_cast<uint64_t>(4 * 5 * kPage));
}

struct ScoreSink final : RecordingSink {
  ScoreSink(Received& received, std::vector<TokenEvent>& out)
      : RecordingSink(received), scores(out) {}
  void on_prompt_token(const TokenEvent& event) override { scores.push_back(event); }
  std::vector<TokenEvent>& scores;
};

TEST(Pages, ScoredPromptsAreScoredOnceWhateverIsCached) {
  FakeModel model;
  VirtualEnv env;
  GenerateRequest request = make_request(5 * kPage, 4, 2);
  request.sampling.top_logprobs = 0;
  request.prompt_logprobs = true;
  const GenerateRequest older = make_request(3, 5 * kPage, 1);
  std::vector<TokenEvent> first;
  std::vector<TokenEvent> second;
  Received a;
  Received b;
  Received c;
  Engine engine(model, {.n_ctx = 512, .max_batch = 2, .kv_bytes = bytes_of(8)}, env);
  ASSERT_TRUE(engine.submit(request, std::make_unique<ScoreSink>(a, first)).ok());
  EXPECT_EQ(a.wait_finish().reason, FinishReason::kLength);
  ASSERT_TRUE(engine.submit(older, sink(c)).ok());  // grows into the pages of the second
  ASSERT_TRUE(engine.submit(request, std::make_unique<ScoreSink>(b, second)).ok());
  const FinishEvent end = b.wait_finish();
  EXPECT_EQ(end.cached_tokens, 0);  // each position's logits are wanted
  EXPECT_EQ(a.ids(), expected_ids(request, 4));
  EXPECT_EQ(b.ids(), a.ids());
  EXPECT_EQ(c.wait_finish().reason, FinishReason::kLength);
  EXPECT_EQ(c.ids(), expected_ids(older, 5 * kPage));
  ASSERT_EQ(first.size(), static_cast<size_t>(5 * kPage - 1));
  ASSERT_EQ(second.size(), first.size());
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(second[i].id, request.prompt[i + 1]);
    EXPECT_EQ(second[i].logprob, first[i].logprob);
  }
}

/// Logits are no numbers for sequences whose first token is kPoison, while `broken`.
class PoisonModel : public FakeModel {
 public:
  static constexpr TokenId kPoison = 96;
  std::atomic<bool> broken = true;
  Status forward(const Batch& batch, KvPool& kv, std::span<float> logits) override {
    TRY_STATUS(FakeModel::forward(batch, kv, logits));
    size_t next = 0;
    for (const BatchRow& row : batch.rows) {
      if (!row.wants_logits) continue;
      if (broken && row.token == kPoison) logits[next * kVocab + 50] = std::nanf("");
      ++next;
    }
    return {};
  }
};

TEST(Pages, WhatGaveNoNumbersIsNotFoundAgain) {
  PoisonModel model;
  VirtualEnv env;
  Engine engine(model, {.n_ctx = 512, .max_batch = 2}, env);
  GenerateRequest request = make_request(3 * kPage + 2, 4, 0);
  request.prompt.back() = PoisonModel::kPoison;
  Received bad;
  EXPECT_EQ(run(engine, request, bad).reason, FinishReason::kError);
  model.broken = false;
  Received good;
  EXPECT_EQ(run(engine, request, good).cached_tokens, 0);
  EXPECT_EQ(good.ids(), expected_ids(request, 4));
  Received again;
  EXPECT_EQ(run(engine, request, again).cached_tokens, 3 * kPage);
}

TEST(PagesTier, EvictedPagesComeBackAndOutliveTheEngine) {
  FakeModel model;
  VirtualEnv env;
  MemoryTier tier(2);
  const EngineOptions options = {
      .n_ctx = 512, .max_batch = 2, .kv_bytes = bytes_of(6), .tier = &tier};
  const GenerateRequest a = make_request(4 * kPage + 1, 3, 1);
  const GenerateRequest b = make_request(4 * kPage + 1, 3, 3);
  {
    Engine engine(model, options, env);
    for (const GenerateRequest* request : {&a, &b, &a}) {
      Received got;
      const FinishEvent end = run(engine, *request, got);
      EXPECT_EQ(got.ids(), expected_ids(*request, 3));
      EXPECT_EQ(end.cached_tokens, request == &a && tier.fetched > 0 ? 4 * kPage : 0);
    }
  }
  EXPECT_GT(tier.fetched, 0);
  const int fetched = tier.fetched;
  Engine restarted(model, options, env);
  Received got;
  EXPECT_EQ(run(restarted, b, got).cached_tokens, 4 * kPage);
  EXPECT_EQ(got.ids(), expected_ids(b, 3));
  restarted.drain(60'000'000);
  EXPECT_EQ(tier.fetched, fetched + 4);
}

TEST(PagesTier, ARowThatLoadsHoldsUpNobody) {
  FakeModel model;
  VirtualEnv env;
  MemoryTier tier(1'000'000'000);  // never there
  const EngineOptions options = {.n_ctx = 512, .max_batch = 2, .tier = &tier};
  const GenerateRequest request = make_request(3 * kPage + 1, 3, 1);
  {
    Engine engine(model, options, env);
    Received got;
    run(engine, request, got);
  }
  Engine engine(model, options, env);
  Received loads;
  Received other;
  const RequestId id = engine.submit(request, sink(loads)).value();
  const GenerateRequest small = make_request(20, 20, 3);
  EXPECT_EQ(run(engine, small, other).reason, FinishReason::kLength);
  EXPECT_EQ(other.ids(), expected_ids(small, 20));
  EXPECT_FALSE(loads.finished());
  engine.cancel(id);
  EXPECT_EQ(loads.wait_finish().reason, FinishReason::kCancelled);
}

TEST(Pages, CancelInEveryState) {
  // Prefilling, decoding, waiting for pages, parked: cancelled at any step of a tight mix.
  for (int cancel_at = 1; cancel_at < 60; ++cancel_at) {
    FakeModel model;
    VirtualEnv env;
    std::deque<Received> got(4);
    std::deque<std::atomic<RequestId>> ids(4);
    Engine* target = nullptr;
    int steps = 0;
    Gate gate;
    model.hook = [&](const Batch&) {
      gate.pass();
      if (++steps == cancel_at) target->cancel(ids[static_cast<size_t>(cancel_at) % 4]);
      return Status();
    };
    std::vector<GenerateRequest> requests;
    for (int i = 0; i < 4; ++i) requests.push_back(make_request(20 + 9 * i, 2 * kPage, i));
    Engine engine(
        model, {.n_ctx = 512, .max_batch = 3, .max_step_tokens = 16, .kv_bytes = bytes_of(6)}, env);
    target = &engine;
    for (size_t i = 0; i < 4; ++i) ids[i] = engine.submit(requests[i], sink(got[i])).value();
    gate.open();
    for (size_t i = 0; i < 4; ++i) {
      const FinishEvent end = got[i].wait_finish();
      const std::vector<TokenId> expected = expected_ids(requests[i], 2 * kPage);
      const std::vector<TokenId> mine = got[i].ids();
      ASSERT_LE(mine.size(), expected.size());
      EXPECT_TRUE(std::equal(mine.begin(), mine.end(), expected.begin())) << cancel_at;
      if (end.reason == FinishReason::kLength) {
        EXPECT_EQ(mine, expected);
      }
      EXPECT_NE(end.reason, FinishReason::kError);
    }
  }
}

/// Requests that share beginnings with each other; a few are cancelled by their own sinks.
struct Mix {
  explicit Mix(uint32_t seed) : random(seed) {
    for (int i = 0; i < 10; ++i) {
      GenerateRequest request = make_request(1, 1 + draw(5 * kPage), draw(1000));
      request.prompt = make_prompt(1 + draw(4 * kPage), draw(3));  // one of three beginnings
      const std::vector<TokenId> own = make_prompt(draw(2 * kPage), draw(4));
      request.prompt.insert(request.prompt.end(), own.begin(), own.end());
      if (draw(4) == 0) request.tenant = draw(2) == 0 ? "a" : "b";
      if (draw(8) == 0) {
        request.prompt_logprobs = true;
        request.sampling.top_logprobs = 0;
      }
      if (draw(4) == 0) request.stop_ids = {draw(FakeModel::kVocab), draw(FakeModel::kVocab)};
      cancel_after.push_back(draw(6) == 0 ? 1 + draw(20) : 0);
      requests.push_back(std::move(request));
    }
  }
  int draw(int64_t n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); }
  std::mt19937 random;
  std::vector<GenerateRequest> requests;
  std::vector<int> cancel_after;
};

void run_mix(Mix& mix, Engine& engine) {
  const size_t count = mix.requests.size();
  std::deque<Received> got(count);
  std::deque<std::atomic<RequestId>> ids(count);
  for (size_t i = 0; i < count; ++i) {
    RecordingSink::OnToken leave;
    if (mix.cancel_after[i] > 0) {
      leave = [&, i, left = mix.cancel_after[i]](const TokenEvent&) mutable {
        if (--left <= 0) engine.cancel(ids[i]);
      };
    }
    Result<RequestId> id = engine.submit(mix.requests[i], sink(got[i], leave));
    ASSERT_TRUE(id.ok()) << id.error().text();
    ids[i] = id.value();
  }
  for (size_t i = 0; i < count; ++i) {
    const FinishEvent end = got[i].wait_finish();
    const std::vector<TokenId> expected = expected_ids(mix.requests[i], mix.requests[i].max_tokens);
    std::vector<TokenId> mine = got[i].ids();
    ASSERT_NE(end.reason, FinishReason::kError) << end.error;
    if (end.reason == FinishReason::kCancelled) {
      ASSERT_LE(mine.size(), expected.size());
      mine.resize(std::min(mine.size(), expected.size()));
      EXPECT_TRUE(std::equal(mine.begin(), mine.end(), expected.begin()));
    } else {
      EXPECT_EQ(mine, expected);
    }
  }
}

// Goal: alone = batched = chunked = preempted = cache hit = from a tier = with guesses, over random
// mixes.
TEST(PagesMix, TokensDoNotDependOnWhereKeysAndValuesComeFrom) {
  KvStats total;
  int fetched = 0;
  uint64_t accepted = 0;
  for (uint32_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    Mix mix(seed);
    FakeModel model;
    VirtualEnv env;
    MemoryTier tier(mix.draw(3), mix.draw(5));
    EngineOptions options = {.n_ctx = 12 * kPage,
                             .max_batch = 1 + mix.draw(8),
                             .max_step_tokens = 4 + mix.draw(200),
                             .kv_bytes = bytes_of(12 + mix.draw(12))};
    if (seed % 2 == 0) options.tier = &tier;
    {
      std::unique_ptr<Drafter> drafter;
      if (seed % 3 == 1) drafter = std::make_unique<testing::OracleDrafter>(0.8, 0);
      Engine engine(model, options, env, std::move(drafter));
      run_mix(mix, engine);
      if (seed % 4 == 0) run_mix(mix, engine);  // now everything is a hit
      engine.drain(60'000'000);
      const EngineStats stats = engine.stats();
      EXPECT_EQ(stats.running, 0);
      accepted += stats.accepted_tokens;
      total.preemptions += stats.kv.preemptions;
      total.hit_tokens += stats.kv.hit_tokens;
      total.evictions += stats.kv.evictions;
    }
    fetched += tier.fetched;
    if (HasFailure()) return;
  }
  // All of it happened, often.
  EXPECT_GT(total.preemptions, 100u);
  EXPECT_GT(total.hit_tokens, 10000u);
  EXPECT_GT(total.evictions, 1000u);
  EXPECT_GT(fetched, 100);
  EXPECT_GT(accepted, 1000u);
}

}  // namespace
}  // namespace hadal
