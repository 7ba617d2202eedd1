// Goal: requests join and leave the batch without changing each other's tokens, end for the right
// reason at the right step, and leave pages, counters and clocks in order.
#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <deque>
#include <future>
#include <thread>

#include "engine/testing/harness.h"

namespace hadal {
namespace {

using testing::expected_ids;
using testing::FakeModel;
using testing::Gate;
using testing::make_request;
using testing::Received;
using testing::RecordingSink;
using testing::VirtualEnv;

const EngineOptions kSmall = {.n_ctx = 64, .max_batch = 4, .max_step_tokens = 8, .max_queue = 64};

std::unique_ptr<RecordingSink> sink(Received& received, RecordingSink::OnToken on_token = {},
                                    RecordingSink::OnFinish on_finish = {}) {
  return std::make_unique<RecordingSink>(received, std::move(on_token), std::move(on_finish));
}

/// A model whose forward passes wait for the test's permits. Declare it before the engine; the gate
/// opens when the test ends, so that the engine's destructor can join.
struct GatedModel {
  GatedModel() {
    model.hook = [this](const Batch&) {
      gate.pass();
      return Status();
    };
  }
  FakeModel model;
  Gate gate;
};

TEST(Engine, TokensAreThoseOfTheModelAndSampler) {
  FakeModel model;
  VirtualEnv env;
  Engine engine(model, kSmall, env);
  for (int salt = 0; salt < 6; ++salt) {
    const GenerateRequest request = make_request(1 + 7 * salt, 20, salt);
    Received got;
    ASSERT_TRUE(engine.submit(request, sink(got)).ok());
    const FinishEvent end = got.wait_finish();
    EXPECT_EQ(end.reason, FinishReason::kLength);
    EXPECT_EQ(end.prompt_tokens, 1 + 7 * salt);
    EXPECT_EQ(end.completion_tokens, 20);
    EXPECT_EQ(got.ids(), expected_ids(request, 20));
  }
}

TEST(Engine, SameTokensAloneAndInABatchOfEight) {
  // Prompts of different lengths in chunks of one to a few tokens, all at once, over few rows.
  for (const int step_tokens : {8, 11, 64, 512}) {
    FakeModel model;
    VirtualEnv env;
    Engine engine(model, {.n_ctx = 96, .max_batch = 8, .max_step_tokens = step_tokens}, env);
    std::deque<Received> got(8);
    std::vector<GenerateRequest> requests;
    for (int i = 0; i < 8; ++i) requests.push_back(make_request(1 + 9 * i, 5 + 3 * (7 - i), i));
    for (size_t i = 0; i < 8; ++i) ASSERT_TRUE(engine.submit(requests[i], sink(got[i])).ok());
    for (size_t i = 0; i < 8; ++i) {
      EXPECT_EQ(got[i].wait_finish().reason, FinishReason::kLength);
      EXPECT_EQ(got[i].ids(), expected_ids(requests[i], requests[i].max_tokens)) << i;
    }
  }
}

TEST(Engine, JoiningLeavingAndCancellingChangesNobodyElse) {
  // 60 requests over 4 slots, every fifth cancelled by its own sink after some tokens.
  FakeModel model;
  VirtualEnv env;
  std::deque<Received> got(60);
  std::deque<std::atomic<RequestId>> ids(60);
  std::vector<GenerateRequest> requests;
  Engine engine(model, kSmall, env);
  for (int i = 0; i < 60; ++i) {
    requests.push_back(make_request(1 + (i * 13) % 40, 1 + (i * 7) % 20, i));
    const size_t at = static_cast<size_t>(i);
    RecordingSink::OnToken leave;
    if (i % 5 == 0) {
      leave = [&engine, &ids, at, left = 1 + i % 4](const TokenEvent&) mutable {
        if (--left <= 0) engine.cancel(ids[at]);  // 0 until submit returned: ignored
      };
    }
    Result<RequestId> id = engine.submit(requests.back(), sink(got[at], leave));
    ASSERT_TRUE(id.ok()) << id.error().text();
    ids[at] = id.value();
  }
  for (size_t i = 0; i < 60; ++i) {
    const FinishEvent end = got[i].wait_finish();
    const std::vector<TokenId> expected = expected_ids(requests[i], requests[i].max_tokens);
    const std::vector<TokenId> mine = got[i].ids();
    if (end.reason == FinishReason::kLength) {
      EXPECT_EQ(mine, expected) << i;
    } else {
      EXPECT_EQ(end.reason, FinishReason::kCancelled) << end.error;
      EXPECT_EQ(i % 5, 0u);
      ASSERT_LE(mine.size(), expected.size());
      EXPECT_TRUE(std::equal(mine.begin(), mine.end(), expected.begin())) << i;
    }
  }
  EXPECT_EQ(engine.stats().running, 0);
  EXPECT_EQ(engine.stats().waiting, 0);
}

TEST(Engine, NoSeedMeansRandomnessOfTheEnvironment) {
  FakeModel model;
  VirtualEnv env;
  Engine engine(model, kSmall, env);
  GenerateRequest request = make_request(3, 30, 0);
  request.sampling.temperature = 1;
  Received a;
  Received b;
  ASSERT_TRUE(engine.submit(request, sink(a)).ok());
  ASSERT_TRUE(engine.submit(request, sink(b)).ok());
  a.wait_finish();
  b.wait_finish();
  EXPECT_NE(a.ids(), b.ids());
}

TEST(EngineFinish, StopIdsEndWithoutBeingDelivered) {
  FakeModel model;
  VirtualEnv env;
  Engine engine(model, kSmall, env);
  GenerateRequest request = make_request(5, 30, 2);
  const std::vector<TokenId> free_run = expected_ids(request, 30);
  request.stop_ids = {free_run[9], -7, 100000};  // ids the model does not have never match
  const auto first = std::find(free_run.begin(), free_run.end(), free_run[9]) - free_run.begin();

  Received stopped;
  ASSERT_TRUE(engine.submit(request, sink(stopped)).ok());
  FinishEvent end = stopped.wait_finish();
  EXPECT_EQ(end.reason, FinishReason::kStop);
  EXPECT_EQ(end.completion_tokens, first + 1);
  EXPECT_EQ(stopped.ids(), std::vector<TokenId>(free_run.begin(), free_run.begin() + first));

  request.ignore_eos = true;
  Received ignored;
  ASSERT_TRUE(engine.submit(request, sink(ignored)).ok());
  EXPECT_EQ(ignored.wait_finish().reason, FinishReason::kLength);
  EXPECT_EQ(ignored.ids(), free_run);

  request.ignore_eos = false;
  request.min_tokens = first + 5;
  Received longer;
  ASSERT_TRUE(engine.submit(request, sink(longer)).ok());
  longer.wait_finish();
  const std::vector<TokenId> ids = longer.ids();
  EXPECT_GE(ids.size(), static_cast<size_t>(first) + 5);
  EXPECT_EQ(ids, expected_ids(request, 30));
  EXPECT_EQ(std::count(ids.begin(), ids.end(), free_run[9]), 0);
}

TEST(EngineFinish, FullContextEndsWithLength) {
  FakeModel model;
  VirtualEnv env;
  Engine engine(model, kSmall, env);
  for (const int prompt_tokens : {1, 40, 63}) {
    for (const int max_tokens : {0, 1000}) {
      const GenerateRequest request = make_request(prompt_tokens, max_tokens, 3);
      Received got;
      ASSERT_TRUE(engine.submit(request, sink(got)).ok());
      EXPECT_EQ(got.wait_finish().reason, FinishReason::kLength);
      EXPECT_EQ(got.ids(), expected_ids(request, 64 - prompt_tokens));
    }
  }
}

TEST(EngineFinish, CancelWhileDecodingTakesOneStep) {
  GatedModel gated;
  VirtualEnv env;
  Received got;
  Engine engine(gated.model, kSmall, env);
  const RequestId id = engine.submit(make_request(3, 40, 0), sink(got)).value();
  gated.gate.permit(5);  // the prompt and four more
  gated.gate.wait_arrived(6);
  EXPECT_EQ(got.ids().size(), 5u);
  engine.cancel(id);  // in the middle of the sixth pass
  gated.gate.open();
  EXPECT_EQ(got.wait_finish().reason, FinishReason::kCancelled);
  EXPECT_EQ(got.ids().size(), 6u);
  engine.drain(60'000'000);
  EXPECT_EQ(engine.stats().steps, 6u);
}

TEST(EngineFinish, CancelFromItsOwnSinkDeliversNothingMore) {
  GatedModel gated;
  VirtualEnv env;
  Received got;
  RequestId id = 0;
  Engine engine(gated.model, kSmall, env);
  const auto leave = [&](const TokenEvent&) {
    if (got.ids().size() == 3) engine.cancel(id);
  };
  id = engine.submit(make_request(3, 40, 0), sink(got, leave)).value();
  gated.gate.open();
  const FinishEvent end = got.wait_finish();
  EXPECT_EQ(end.reason, FinishReason::kCancelled);
  EXPECT_EQ(end.completion_tokens, 3);
  EXPECT_EQ(got.ids().size(), 3u);
}

TEST(EngineFinish, CancelInTheMiddleOfAPromptAndInTheQueue) {
  GatedModel gated;
  VirtualEnv env;
  Received prefill;
  Received queued;
  Engine engine(gated.model, {.n_ctx = 64, .max_batch = 1, .max_step_tokens = 4}, env);
  const RequestId first = engine.submit(make_request(40, 5, 0), sink(prefill)).value();
  gated.gate.wait_arrived(1);
  const RequestId second = engine.submit(make_request(40, 5, 1), sink(queued)).value();
  EXPECT_EQ(engine.stats().running, 1);
  EXPECT_EQ(engine.stats().waiting, 1);
  env.advance(500);
  engine.cancel(second);
  gated.gate.permit(1);
  FinishEvent end = queued.wait_finish();  // at the next step, though no slot is free
  EXPECT_EQ(end.reason, FinishReason::kCancelled);
  EXPECT_EQ(end.completion_tokens, 0);
  EXPECT_EQ(end.queue_micros, 500);
  EXPECT_EQ(end.prefill_micros, 0);
  EXPECT_FALSE(prefill.finished());
  engine.cancel(first);
  gated.gate.open();
  end = prefill.wait_finish();
  EXPECT_EQ(end.reason, FinishReason::kCancelled);
  EXPECT_EQ(end.completion_tokens, 0);
  EXPECT_TRUE(prefill.ids().empty());
  engine.drain(60'000'000);
  EXPECT_LE(engine.stats().steps, 2u);
  EXPECT_EQ(engine.stats().completion_tokens, 0u);
}

TEST(EngineFinish, CancellingUnknownOrEndedIdsIsIgnored) {
  FakeModel model;
  VirtualEnv env;
  Engine engine(model, kSmall, env);
  Received a;
  const RequestId id = engine.submit(make_request(2, 3, 0), sink(a)).value();
  EXPECT_EQ(a.wait_finish().reason, FinishReason::kLength);
  engine.cancel(id);
  engine.cancel(0);
  engine.cancel(id + 1);  // not yet given out: must not hit the next request
  Received b;
  EXPECT_EQ(engine.submit(make_request(2, 3, 0), sink(b)).value(), id + 1);
  EXPECT_EQ(b.wait_finish().reason, FinishReason::kLength);
}

TEST(EngineErrors, ForwardErrorEndsTheRowsOfThatBatchOnly) {
  FakeModel model;
  VirtualEnv env;
  std::atomic<int> passes = 0;
  model.hook = [&](const Batch&) {
    if (++passes == 4) return Status(Error{Code::kExhausted, "no memory for activations"});
    return Status();
  };
  Received hit;
  Received next;
  Engine engine(model, {.n_ctx = 64, .max_batch = 1}, env);
  const GenerateRequest request = make_request(3, 20, 1);
  ASSERT_TRUE(engine.submit(request, sink(hit)).ok());
  ASSERT_TRUE(engine.submit(request, sink(next)).ok());  // waits: not in that batch
  const FinishEvent end = hit.wait_finish();
  EXPECT_EQ(end.reason, FinishReason::kError);
  EXPECT_EQ(end.error, "no memory for activations");
  EXPECT_EQ(end.completion_tokens, 3);
  EXPECT_EQ(next.wait_finish().reason, FinishReason::kLength);
  EXPECT_EQ(next.ids(), expected_ids(request, 20));
}

/// Breaks the logits of one row of each forward pass that has more than one.
class NanModel : public FakeModel {
 public:
  Status forward(const Batch& batch, KvPool& kv, std::span<float> logits) override {
    TRY_STATUS(FakeModel::forward(batch, kv, logits));
    size_t next = 0;
    for (const BatchRow& row : batch.rows) {
      if (!row.wants_logits) continue;
      if (row.token == kPoison) logits[next * kVocab + 50] = std::nanf("");
      ++next;
    }
    return {};
  }
  static constexpr TokenId kPoison = 96;
};

TEST(EngineErrors, LogitsThatAreNotNumbersEndTheirRowOnly) {
  NanModel model;
  VirtualEnv env;
  Engine engine(model, kSmall, env);
  GenerateRequest good = make_request(6, 20, 1);
  good.prompt.back() = 1;
  good.sampling.logit_bias = {{NanModel::kPoison, -100.0f}};
  GenerateRequest bad = good;
  bad.prompt.back() = NanModel::kPoison;
  Received a;
  Received b;
  Received c;
  ASSERT_TRUE(engine.submit(good, sink(a)).ok());
  ASSERT_TRUE(engine.submit(bad, sink(b)).ok());
  ASSERT_TRUE(engine.submit(good, sink(c)).ok());
  EXPECT_EQ(b.wait_finish().reason, FinishReason::kError);
  EXPECT_NE(b.wait_finish().error, "");
  EXPECT_TRUE(b.ids().empty());
  EXPECT_EQ(a.wait_finish().reason, FinishReason::kLength);
  EXPECT_EQ(c.wait_finish().reason, FinishReason::kLength);
  EXPECT_EQ(a.ids(), expected_ids(good, 20));
  EXPECT_EQ(c.ids(), expected_ids(good, 20));
}

TEST(EngineErrors, MaskingEverythingIsAnErrorOfTheRequest) {
  FakeModel model;
  VirtualEnv env;
  Engine engine(model, kSmall, env);
  GenerateRequest request = make_request(3, 9, 1);
  request.min_tokens = 2;
  for (TokenId id = 0; id < FakeModel::kVocab; ++id) request.stop_ids.push_back(id);
  Received got;
  ASSERT_TRUE(engine.submit(request, sink(got)).ok());
  EXPECT_EQ(got.wait_finish().reason, FinishReason::kError);
}

TEST(EngineSubmit, SaysWhatIsWrong) {
  FakeModel model;
  VirtualEnv env;
  Engine engine(model, kSmall, env);
  const auto message = [&](auto change) {
    GenerateRequest request = make_request(3, 5, 0);
    change(request);
    Received got;
    Result<RequestId> id = engine.submit(std::move(request), sink(got));
    if (id.ok()) got.wait_finish();
    EXPECT_TRUE(id.ok() || id.error().code == Code::kInvalidArgument);
    return id.ok() ? std::string() : id.error().message;
  };
  using R = GenerateRequest;
  EXPECT_EQ(message([](R&) {}), "");
  EXPECT_EQ(message([](R& r) { r.prompt.resize(63); }), "");
  EXPECT_EQ(message([](R& r) { r.prompt.clear(); }), "the prompt is empty");
  EXPECT_EQ(message([](R& r) { r.prompt.resize(64); }),
            "the prompt has 64 tokens, the context holds 64 with the answer");
  EXPECT_EQ(message([](R& r) { r.prompt[1] = 97; }),
            "the prompt has token 97, the vocabulary has 0 to 96");
  EXPECT_NE(message([](R& r) { r.prompt[2] = -1; }), "");
  EXPECT_NE(message([](R& r) { r.max_tokens = -1; }), "");
  EXPECT_NE(message([](R& r) { r.min_tokens = -1; }), "");
  EXPECT_NE(message([](R& r) { r.stop_ids.resize(limits::kStopIds + 1); }), "");
  EXPECT_EQ(message([](R& r) { r.sampling.top_p = 2; }),
            "top_p must be above 0 and at most 1, got 2");
  EXPECT_NE(message([](R& r) { r.sampling.logit_bias = {{97, 1.0f}}; }), "");
}

TEST(EngineSubmit, FullQueueRefusesAndRecovers) {
  GatedModel gated;
  VirtualEnv env;
  std::deque<Received> got(4);
  Engine engine(gated.model, {.n_ctx = 64, .max_batch = 1, .max_queue = 2}, env);
  ASSERT_TRUE(engine.submit(make_request(3, 2, 0), sink(got[0])).ok());
  gated.gate.wait_arrived(1);
  ASSERT_TRUE(engine.submit(make_request(3, 2, 0), sink(got[1])).ok());
  ASSERT_TRUE(engine.submit(make_request(3, 2, 0), sink(got[2])).ok());
  Received refused;
  const Result<RequestId> full = engine.submit(make_request(3, 2, 0), sink(refused));
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, Code::kExhausted);
  EXPECT_FALSE(refused.finished());  // a refused request's sink hears nothing
  EXPECT_EQ(engine.stats().waiting, 2);
  gated.gate.open();
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(got[i].wait_finish().reason, FinishReason::kLength);
  ASSERT_TRUE(engine.submit(make_request(3, 2, 0), sink(got[3])).ok());
  EXPECT_EQ(got[3].wait_finish().reason, FinishReason::kLength);
  EXPECT_EQ(engine.stats().requests, 4u);
}

TEST(EngineSubmit, EightThreadsSubmitAndCancel) {
  FakeModel model;
  VirtualEnv env;
  constexpr int kThreads = 8;
  constexpr int kEach = 20;
  std::deque<Received> got(kThreads * kEach);
  std::deque<std::atomic<bool>> cancelled(kThreads * kEach);
  Engine engine(model, {.n_ctx = 64, .max_batch = 8, .max_step_tokens = 16, .max_queue = 512}, env);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const int n = t * kEach + i;
        const auto at = static_cast<size_t>(n);
        const GenerateRequest request = make_request(1 + n % 30, 1 + n % 17, n);
        Result<RequestId> id = engine.submit(request, sink(got[at]));
        CHECK(id.ok());
        if (n % 6 == 0) {
          cancelled[at] = true;
          engine.cancel(id.value());
        }
        if (engine.stats().running > 8) cancelled[at] = false;  // reported as a failure below
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  engine.drain(60'000'000);
  for (int n = 0; n < kThreads * kEach; ++n) {
    const auto at = static_cast<size_t>(n);
    ASSERT_TRUE(got[at].finished());
    const GenerateRequest request = make_request(1 + n % 30, 1 + n % 17, n);
    const std::vector<TokenId> expected = expected_ids(request, request.max_tokens);
    const std::vector<TokenId> mine = got[at].ids();
    ASSERT_LE(mine.size(), expected.size());
    EXPECT_TRUE(std::equal(mine.begin(), mine.end(), expected.begin()));
    if (got[at].wait_finish().reason == FinishReason::kCancelled) {
      EXPECT_TRUE(cancelled[at]);
    } else {
      EXPECT_EQ(mine.size(), expected.size());
    }
  }
}

TEST(EngineSubmit, AFinishedSinkMaySubmitTheNextRequest) {
  FakeModel model;
  VirtualEnv env;
  Received second;
  Received first;
  Engine engine(model, {.n_ctx = 64, .max_batch = 1, .max_queue = 1}, env);
  const GenerateRequest request = make_request(4, 6, 1);
  bool accepted = false;
  const auto chain = [&](const FinishEvent&) {
    EXPECT_EQ(engine.stats().running, 0);  // already counted out
    EXPECT_EQ(engine.stats().completion_tokens, 6u);
    accepted = engine.submit(request, sink(second)).ok();
  };
  ASSERT_TRUE(engine.submit(request, sink(first, {}, chain)).ok());
  EXPECT_EQ(second.wait_finish().reason, FinishReason::kLength);
  EXPECT_TRUE(accepted);
  EXPECT_EQ(second.ids(), expected_ids(request, 6));
}

TEST(EngineShutdown, DrainFinishesWhatWasAcceptedAndRefusesMore) {
  FakeModel model;
  VirtualEnv env;
  std::deque<Received> got(9);
  Engine engine(model, {.n_ctx = 64, .max_batch = 2}, env);
  for (auto& received : got) ASSERT_TRUE(engine.submit(make_request(5, 9, 1), sink(received)).ok());
  engine.drain(60'000'000);
  for (auto& received : got) {
    ASSERT_TRUE(received.finished());
    EXPECT_EQ(received.wait_finish().reason, FinishReason::kLength);
  }
  Received late;
  const Result<RequestId> refused = engine.submit(make_request(5, 9, 1), sink(late));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  engine.drain(0);  // again: nothing to wait for
}

TEST(EngineShutdown, DrainGivesUpWhenItsTimeIsOver) {
  GatedModel gated;
  VirtualEnv env;
  Received got;
  Engine engine(gated.model, kSmall, env);
  ASSERT_TRUE(engine.submit(make_request(5, 9, 1), sink(got)).ok());
  gated.gate.wait_arrived(1);
  std::atomic<bool> drained = false;
  std::thread clock([&] {
    while (!drained) {
      env.advance(1000);
      std::this_thread::yield();
    }
  });
  engine.drain(1'000'000);  // the forward pass never ends by itself
  drained = true;
  clock.join();
  EXPECT_FALSE(got.finished());
  gated.gate.open();
  EXPECT_EQ(got.wait_finish().reason, FinishReason::kLength);
}

TEST(EngineShutdown, DrainInsideASinkDoesNotWait) {
  FakeModel model;
  VirtualEnv env;
  Received got;
  Engine engine(model, kSmall, env);
  const auto drain = [&](const TokenEvent&) { engine.drain(60'000'000); };
  ASSERT_TRUE(engine.submit(make_request(5, 3, 1), sink(got, drain)).ok());
  EXPECT_EQ(got.wait_finish().reason, FinishReason::kLength);
}

TEST(EngineShutdown, DestructorCancelsRunningAndWaiting) {
  GatedModel gated;
  VirtualEnv env;
  std::deque<Received> got(6);
  std::atomic<bool> destroying = false;
  std::atomic<bool> destroyed = false;
  // Lets passes through one by one, so that the destructor comes long before 150 of them are done.
  std::thread opener([&] {
    while (!destroyed) {
      while (!destroying) std::this_thread::yield();
      gated.gate.permit(1);
      std::this_thread::sleep_for(std::chrono::microseconds(100));  // the engine gets the mutex
    }
  });
  {
    Engine engine(gated.model, {.n_ctx = 64, .max_batch = 2}, env);
    for (auto& received : got) {
      ASSERT_TRUE(engine.submit(make_request(5, 50, 1), sink(received)).ok());
    }
    gated.gate.permit(3);
    got[0].wait_tokens(1);
    destroying = true;
  }
  destroyed = true;
  opener.join();
  for (auto& received : got) ASSERT_TRUE(received.finished());
  EXPECT_EQ(got[5].wait_finish().reason, FinishReason::kCancelled);
  EXPECT_EQ(got[5].wait_finish().completion_tokens, 0);
  { Engine idle(gated.model, kSmall, env); }
}

TEST(EngineTiming, QueuePrefillAndDecodeTimesAreThoseOfTheClock) {
  FakeModel model;
  VirtualEnv env;
  Gate gate;
  model.hook = [&](const Batch&) {
    gate.pass();
    env.advance(1000);
    return Status();
  };
  Received first;
  Received second;
  Engine engine(model, {.n_ctx = 64, .max_batch = 1, .max_step_tokens = 4}, env);
  ASSERT_TRUE(engine.submit(make_request(10, 5, 0), sink(first)).ok());
  gate.wait_arrived(1);
  ASSERT_TRUE(engine.submit(make_request(3, 2, 0), sink(second)).ok());
  gate.open();
  FinishEvent end = first.wait_finish();
  EXPECT_EQ(end.queue_micros, 0);
  EXPECT_EQ(end.prefill_micros, 3000);  // 4 + 4 + 2 tokens
  EXPECT_EQ(end.decode_micros, 4000);   // four more passes
  end = second.wait_finish();
  EXPECT_EQ(end.queue_micros, 7000);
  EXPECT_EQ(end.prefill_micros, 1000);
  EXPECT_EQ(end.decode_micros, 1000);
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.requests, 2u);
  EXPECT_EQ(stats.prompt_tokens, 13u);
  EXPECT_EQ(stats.completion_tokens, 7u);
  EXPECT_EQ(stats.steps, 9u);
}

TEST(EngineBatch, DecodingRowsComeFirstAndNoStepIsTooLong) {
  FakeModel model;
  VirtualEnv env;
  Mutex mu;
  std::vector<Batch> batches;
  model.hook = [&](const Batch& batch) {
    MutexLock lock(mu);
    batches.push_back(batch);
    return Status();
  };
  std::deque<Received> got(12);
  {
    Engine engine(model, kSmall, env);
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_TRUE(engine.submit(make_request(30, 10, static_cast<int>(i)), sink(got[i])).ok());
    }
    for (auto& received : got) received.wait_finish();
  }
  for (const Batch& batch : batches) {
    ASSERT_FALSE(batch.rows.empty());
    EXPECT_LE(batch.rows.size(), 8u);
    EXPECT_LE(batch.sequences.size(), 4u);
    bool prompt_seen = false;
    for (size_t i = 0; i < batch.rows.size(); ++i) {
      const bool decoding = batch.rows[i].position >= 30;
      EXPECT_FALSE(decoding && prompt_seen);
      EXPECT_TRUE(!decoding || batch.rows[i].wants_logits);
      prompt_seen = prompt_seen || !decoding;
      if (i == 0 || batch.rows[i].sequence != batch.rows[i - 1].sequence) continue;
      EXPECT_EQ(batch.rows[i].position, batch.rows[i - 1].position + 1);
    }
  }
}

TEST(EngineBatch, LogprobsReachTheSink) {
  FakeModel model;
  VirtualEnv env;
  Received got;
  Engine engine(model, kSmall, env);
  GenerateRequest request = make_request(4, 3, 0);
  request.sampling.top_logprobs = 5;
  ASSERT_TRUE(engine.submit(request, sink(got)).ok());
  got.wait_finish();
  for (const TokenEvent& event : got.events()) {
    ASSERT_EQ(event.top.size(), 5u);
    EXPECT_EQ(event.top[0].id, event.id);  // greedy
    EXPECT_EQ(event.top[0].logprob, event.logprob);
    EXPECT_LT(event.logprob, 0);
  }
}

// Goal: scored prompts get the model's own log-probability of every token, however the prompt is
// cut, and the same answer as without.
TEST(EngineBatch, PromptLogprobsAreThoseOfTheModel) {
  struct ScoreSink final : RecordingSink {
    ScoreSink(Received& received, std::vector<TokenEvent>& out)
        : RecordingSink(received), scores(out) {}
    void on_prompt_token(const TokenEvent& event) override { scores.push_back(event); }
    std::vector<TokenEvent>& scores;
  };
  FakeModel model;
  VirtualEnv env;
  Received got;
  std::vector<TokenEvent> scores;
  GenerateRequest request = make_request(75, 4, 2);
  request.sampling.top_logprobs = 1;
  request.prompt_logprobs = true;
  {
    Engine engine(model, {.n_ctx = 96, .max_batch = 2, .max_step_tokens = 40}, env);
    ASSERT_TRUE(engine.submit(request, std::make_unique<ScoreSink>(got, scores)).ok());
    EXPECT_EQ(got.wait_finish().reason, FinishReason::kLength);
  }
  EXPECT_EQ(got.ids(), expected_ids(request, 4));
  ASSERT_EQ(scores.size(), 74u);
  for (size_t i = 0; i < scores.size(); ++i) {
    const auto before = request.prompt.begin() + static_cast<ptrdiff_t>(i) + 1;
    const std::vector<float> logits = FakeModel::logits_after({request.prompt.begin(), before});
    double total = 0;
    for (const float x : logits) total += std::exp(static_cast<double>(x));
    const TokenId id = request.prompt[i + 1];
    EXPECT_EQ(scores[i].id, id);
    EXPECT_NEAR(scores[i].logprob, logits[static_cast<size_t>(id)] - std::log(total), 1e-4) << i;
    ASSERT_EQ(scores[i].top.size(), 1u);
  }
}

TEST(EngineOptions, UnusableOnesAreRaised) {
  FakeModel model;
  VirtualEnv env;
  Engine engine(model, {.n_ctx = 0, .max_batch = 0, .max_step_tokens = 0, .max_queue = 0}, env);
  EXPECT_EQ(engine.options().n_ctx, 2);
  EXPECT_EQ(engine.options().max_batch, 1);
  EXPECT_EQ(engine.options().max_step_tokens, 1);
  EXPECT_EQ(engine.options().max_queue, 1);
  Received got;
  ASSERT_TRUE(engine.submit(make_request(1, 9, 0), sink(got)).ok());
  EXPECT_EQ(got.wait_finish().completion_tokens, 1);
}

// Other work with the model: on the engine's thread, between steps, also while requests run or none
// is there; what was accepted runs when the engine stops, and nothing is accepted afterwards.
TEST(Engine, WorkBetweenSteps) {
  GatedModel gated;
  VirtualEnv env;
  std::atomic<int> in_pass{0};
  gated.model.hook = [&](const Batch&) {
    ++in_pass;
    gated.gate.pass();
    --in_pass;
    return Status();
  };
  std::vector<int> ran;
  Received got;
  {
    Engine engine(gated.model, kSmall, env);
    std::promise<void> idle;
    ASSERT_TRUE(engine.between_steps([&] { idle.set_value(); }).ok());
    idle.get_future().wait();
    ASSERT_TRUE(engine.submit(make_request(4, 8, 0), sink(got)).ok());
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(engine
                      .between_steps([&, i] {
                        EXPECT_EQ(in_pass, 0);
                        ran.push_back(i);
                      })
                      .ok());
    }
    gated.gate.open();
    EXPECT_EQ(got.wait_finish().completion_tokens, 8);
    ASSERT_TRUE(engine.between_steps([&] { ran.push_back(3); }).ok());
    engine.stop();
    EXPECT_FALSE(engine.between_steps([&] { ran.push_back(4); }).ok());
  }
  EXPECT_EQ(ran, (std::vector<int>{0, 1, 2, 3}));
}

}  // namespace
}  // namespace hadal
