// Goal: guesses come from where they should, are checked only where they pay, and never change a
// token: with speculation = without, greedy and sampled, whatever the drafter.
#include <algorithm>
#include <cmath>
#include <deque>

#include "engine/engine.h"
#include "engine/speculate/ngram_index.h"
#include "engine/speculate/speculator.h"
#include "engine/testing/harness.h"
#include "engine/testing/oracle_drafter.h"

namespace hadal {
namespace {

using testing::expected_ids;
using testing::FakeModel;
using testing::hash_step;
using testing::make_prompt;
using testing::make_request;
using testing::OracleDrafter;
using testing::Received;
using testing::RecordingSink;
using testing::VirtualEnv;

/// NgramIndex::find() as one would write it on a whiteboard.
NgramIndex::Match naive_find(const std::vector<TokenId>& text) {
  const auto size = static_cast<int64_t>(text.size());
  NgramIndex::Match best;
  int64_t seen = 0;
  for (int64_t next = size - 1; next >= 1 && seen < NgramIndex::kCandidates; --next) {
    int64_t length = 0;
    while (length < NgramIndex::kMatchMax && length < next &&
           text[static_cast<size_t>(next - 1 - length)] ==
               text[static_cast<size_t>(size - 1 - length)]) {
      ++length;
    }
    if (length < NgramIndex::kNgram) continue;
    ++seen;
    if (length > best.length) best = {next, length};
  }
  return best;
}

TEST(NgramIndex, FindsWhatTheNaiveTwinFinds) {
  // Small alphabets give many matches, copied stretches long ones; pieces of any size.
  for (uint64_t round = 0; round < 60; ++round) {
    uint64_t h = round + 1;
    const auto below = [&](uint64_t n) { return (h = hash_step(h, 9)) % n; };
    const uint64_t alphabet = 2 + below(round % 3 == 0 ? 40 : 4);
    NgramIndex index;
    std::vector<TokenId> text;
    while (text.size() < 700) {
      std::vector<TokenId> piece;
      const size_t from = text.empty() ? 0 : below(text.size());
      const bool copy = below(4) == 0;
      for (size_t i = 0, n = below(copy ? 60 : 8); i < n; ++i) {
        piece.push_back(copy && from + i < text.size() ? text[from + i]
                                                       : static_cast<TokenId>(below(alphabet)));
      }
      index.append(piece);
      text.insert(text.end(), piece.begin(), piece.end());
      const NgramIndex::Match got = index.find();
      const NgramIndex::Match expected = naive_find(text);
      ASSERT_EQ(got.length, expected.length) << "round " << round << " size " << text.size();
      ASSERT_EQ(got.next, expected.next) << "round " << round << " size " << text.size();
    }
  }
}

Draft propose(Drafter& drafter, RequestId id, const std::vector<TokenId>& tokens, int64_t most) {
  Draft draft;
  const Sampler sampler({}, tokens, 1);
  const DraftTask task = {
      .id = id, .tokens = tokens, .sampler = &sampler, .most = most, .draft = &draft};
  drafter.propose(std::span(&task, 1));
  return draft;
}

std::vector<TokenId> ids_of(const Draft& draft) {
  return {draft.ids.begin(), draft.ids.begin() + draft.count};
}

TEST(NgramDrafter, CopiesWhatCameBehindTheSameTokens) {
  const auto drafter = make_ngram_drafter();
  using V = std::vector<TokenId>;
  EXPECT_EQ(ids_of(propose(*drafter, 1, {1, 2, 3, 4, 5, 6, 7, 8, 2, 3}, 4)), V{});
  EXPECT_EQ(ids_of(propose(*drafter, 1, {1, 2, 3, 4, 5, 6, 7, 8, 2, 3, 4}, 4)), (V{5, 6, 7, 8}));
  EXPECT_EQ(ids_of(propose(*drafter, 1, {1, 2, 3, 4, 5, 6, 7, 8, 2, 3, 4, 5}, 2)), (V{6, 7}));
  // Another row has its own text, and a pattern goes on behind the end of what is there.
  EXPECT_EQ(ids_of(propose(*drafter, 2, {2, 3, 4}, 4)), V{});
  EXPECT_EQ(ids_of(propose(*drafter, 3, {9, 1, 2, 1, 2, 1}, 7)), (V{2, 1, 2, 1, 2, 1, 2}));
  drafter->forget(1);
  drafter->forget(77);
  EXPECT_EQ(ids_of(propose(*drafter, 1, {6, 6, 1, 2, 3, 4}, 4)), V{});
}

TEST(StepWorth, ChecksMoreTheBetterTheGuessesAndTheEmptierTheStep) {
  EXPECT_EQ(StepWorth(1, 0.25).add(0, 0, 16), 0);
  EXPECT_EQ(StepWorth(1, 0.25).add(1, 0, 16), 16);  // always right: always worth a row
  EXPECT_EQ(StepWorth(1, 0.25).add(1, 0, 3), 3);
  EXPECT_EQ(StepWorth(1, 0.25).add(0.19, 0, 16), 0);  // one row: pays above 0.25 / 1.25 = 0.2
  EXPECT_EQ(StepWorth(1, 0.25).add(0.21, 0, 16), 1);
  EXPECT_EQ(StepWorth(1, 0.25).add(0.5, 2.0, 16), 0);  // guesses that cost two passes each
  EXPECT_EQ(StepWorth(512, 0.25).add(0.9, 0, 16), 0);  // a prompt is being computed
  int64_t last = 16;
  for (const int64_t rows : {1, 2, 4, 8, 16, 32, 64}) {
    const int64_t depth = StepWorth(rows, 0.25).add(0.8, 0, 16);
    EXPECT_LE(depth, last) << rows;
    last = depth;
  }
  EXPECT_EQ(last, 0);
}

SamplingParams greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

/// Prompts that repeat themselves, so that an n-gram drafter has something to say.
GenerateRequest any_request(int salt) {
  GenerateRequest request = make_request(1 + (salt * 11) % 40, 1 + (salt * 5) % 30, salt);
  if (salt % 3 == 0) {
    for (TokenId& id : request.prompt) id %= 3;
  }
  if (salt % 4 == 0) request.stop_ids = {1, 2, 3};
  if (salt % 8 == 0) request.min_tokens = 6;
  if (salt % 5 == 0) request.sampling.top_logprobs = 2;
  if (salt % 7 == 0) {
    // One token or two, so that the output repeats itself too.
    request.sampling.logit_bias = {{5, 100.0f}};
    if (salt % 2 == 0) request.sampling.logit_bias.push_back({6, 100.0f});
  }
  return request;
}

EngineStats run_mix(std::unique_ptr<Drafter> drafter, const EngineOptions& options) {
  FakeModel model;
  VirtualEnv env;
  constexpr int kRequests = 48;
  std::deque<Received> got(kRequests);
  std::vector<GenerateRequest> requests;
  Engine engine(model, options, env, std::move(drafter));
  for (int i = 0; i < kRequests; ++i) {
    requests.push_back(any_request(i));
    EXPECT_TRUE(
        engine.submit(requests.back(), std::make_unique<RecordingSink>(got[static_cast<size_t>(i)]))
            .ok());
  }
  uint64_t tokens = 0;
  for (size_t i = 0; i < kRequests; ++i) {
    const FinishEvent end = got[i].wait_finish();
    EXPECT_NE(end.reason, FinishReason::kError) << end.error;
    EXPECT_EQ(got[i].ids(), expected_ids(requests[i], requests[i].max_tokens)) << i;
    tokens += static_cast<uint64_t>(end.completion_tokens);
    for (const TokenEvent& event : got[i].events()) {
      EXPECT_EQ(event.top.size(), i % 5 == 0 ? 2u : 0u);
    }
  }
  EXPECT_EQ(engine.stats().completion_tokens, tokens);
  return engine.stats();
}

TEST(Speculation, TokensAreTheSameWhateverTheDrafter) {
  const EngineOptions many = {.n_ctx = 96, .max_batch = 8, .max_step_tokens = 24};
  const EngineOptions one = {.n_ctx = 96, .max_batch = 1, .max_step_tokens = 32};
  EngineOptions tight = many;  // rows wait for pages, and the cache is cut
  tight.kv_bytes = 9 * 32 * FakeModel().kv_layout().bytes_per_token();
  for (const EngineOptions& options : {many, one, tight}) {
    const EngineStats plain = run_mix(nullptr, options);
    EXPECT_EQ(plain.drafted_tokens, 0u);
    for (const double truth : {0.0, 0.3, 0.7, 1.0}) {
      for (const double cost : {0.0, 0.05}) {
        const EngineStats stats = run_mix(std::make_unique<OracleDrafter>(truth, cost), options);
        EXPECT_LE(stats.accepted_tokens, stats.drafted_tokens);
        if (truth < 1) continue;
        EXPECT_GT(stats.accepted_tokens, 0u);
        EXPECT_LT(stats.steps, plain.steps);
      }
    }
    const EngineStats ngram = run_mix(make_ngram_drafter(), options);
    EXPECT_GT(ngram.accepted_tokens, 0u);
    EXPECT_LE(ngram.steps, plain.steps);
    FakeModel small;
    const EngineStats model = run_mix(
        make_model_drafter(
            small, {.n_vocab = FakeModel::kVocab, .n_ctx = 80, .rows = 3, .cost_per_token = 0.05}),
        options);
    EXPECT_GT(model.accepted_tokens, 0u);
    EXPECT_LT(model.steps, plain.steps);
  }
}

/// Knows fewer ids than the served model, or more of them.
class OtherVocabulary final : public FakeModel {
 public:
  explicit OtherVocabulary(int64_t n_vocab) : n_vocab_(n_vocab) {}
  int64_t n_vocab() const override { return n_vocab_; }
  Status forward(const Batch& batch, KvPool& kv, std::span<float> logits) override {
    const size_t width = static_cast<size_t>(n_vocab_);
    for (const BatchRow& row : batch.rows) CHECK(row.token < n_vocab_);
    std::vector<float> own(logits.size() / width * kVocab);
    TRY_STATUS(FakeModel::forward(batch, kv, own));
    for (size_t i = 0; i < logits.size(); ++i) {
      const size_t id = i % width;
      logits[i] = id < kVocab ? own[i / width * kVocab + id] : 9.0f;
    }
    return {};
  }

 private:
  int64_t n_vocab_;
};

TEST(Speculation, ADraftModelMayKnowFewerOrMoreIds) {
  for (const int64_t n_vocab : {40, 90, 140}) {
    OtherVocabulary small(n_vocab);
    const EngineStats stats = run_mix(
        make_model_drafter(
            small, {.n_vocab = FakeModel::kVocab, .n_ctx = 96, .rows = 4, .cost_per_token = 0.05}),
        {.n_ctx = 96, .max_batch = 1, .max_step_tokens = 24});
    EXPECT_GT(stats.accepted_tokens, 0u) << n_vocab;
  }
}

TEST(Speculation, ADraftModelThatFailsCostsGuessesOnly) {
  FakeModel small;
  int passes = 0;
  small.hook = [&](const Batch&) {
    if (++passes % 3 == 0) return Status(Error{Code::kExhausted, "no memory"});
    return Status();
  };
  const EngineStats stats = run_mix(
      make_model_drafter(
          small, {.n_vocab = FakeModel::kVocab, .n_ctx = 96, .rows = 4, .cost_per_token = 0.05}),
      {.n_ctx = 96, .max_batch = 4, .max_step_tokens = 24});
  EXPECT_GT(stats.accepted_tokens, 0u);
}

TEST(Speculation, AModelThatAgreesIsAlwaysRight) {
  // The drafter's model is the served one: every guess must come true, sampled with penalties too,
  // or its keys and values do not follow the row.
  FakeModel served;
  FakeModel small;
  VirtualEnv env;
  GenerateRequest request = make_request(30, 60, 1);
  Engine engine(
      served, {.n_ctx = 96, .max_batch = 2}, env,
      make_model_drafter(
          small, {.n_vocab = FakeModel::kVocab, .n_ctx = 96, .rows = 2, .cost_per_token = 0.01}));
  Received got;
  ASSERT_TRUE(engine.submit(request, std::make_unique<RecordingSink>(got)).ok());
  EXPECT_EQ(got.wait_finish().reason, FinishReason::kLength);
  EXPECT_EQ(got.ids(), expected_ids(request, 60));
  EXPECT_EQ(engine.stats().accepted_tokens, engine.stats().drafted_tokens);
  EXPECT_LT(engine.stats().steps, 20u);
}

TEST(Speculation, StopsWhenGuessesAreWrongAndComesBackWhenTheyAreRight) {
  // A row's own record decides: guesses that cost are tried rarely once they fail, free ones are
  // compared without being checked until they begin to come true.
  for (const double cost : {0.0, 0.05}) {
    Speculator speculator(std::make_unique<OracleDrafter>(1.0, cost));
    RowDraft state;
    const std::vector<TokenId> tokens = make_prompt(6, 1);
    const Sampler sampler(greedy(), tokens, 1);
    const auto plan = [&] {
      SpeculatedRow row = {.task = {.id = 1, .tokens = tokens, .sampler = &sampler, .most = 10},
                           .state = &state};
      speculator.plan(std::span(&row, 1), 1, 100, 0.25);
      return state.planned().size();
    };
    size_t checked = 0;
    for (int step = 0; step < 200; ++step) {
      checked += plan();
      EXPECT_FALSE(state.confirm(FakeModel::kVocab));  // never the guess
    }
    EXPECT_LT(checked, 20u) << cost;
    size_t deepest = 0;
    for (int step = 0; step < 400; ++step) {
      deepest = std::max(deepest, plan());
      std::vector<TokenId> text = tokens;
      for (bool more = true; more;) {  // the text goes on as guessed
        std::vector<float> logits = FakeModel::logits_after(text);
        text.push_back(Sampler(greedy(), {}, 1).sample(logits, {}).value().id);
        more = state.confirm(text.back());
      }
    }
    EXPECT_EQ(deepest, 10u) << cost;
  }
}

TEST(Speculation, NeverMoreRowsThanTheStepHolds) {
  Speculator speculator(std::make_unique<OracleDrafter>(1.0, 0.0));
  const std::vector<TokenId> tokens = make_prompt(6, 1);
  const Sampler sampler(greedy(), tokens, 1);
  for (const int64_t budget : {0, 1, 5, 1000}) {
    std::deque<RowDraft> states(4);
    std::vector<SpeculatedRow> rows;
    for (RowDraft& state : states) {
      rows.push_back(
          {.task = {.id = rows.size() + 1, .tokens = tokens, .sampler = &sampler, .most = 1000},
           .state = &state});
    }
    speculator.plan(rows, 4, budget, 0.01);
    int64_t planned = 0;
    for (const RowDraft& state : states) {
      planned += static_cast<int64_t>(state.planned().size());
      EXPECT_LE(state.planned().size(), size_t{limits::kDraftTokens});
    }
    EXPECT_LE(planned, budget);
    EXPECT_EQ(planned > 0, budget > 0);
  }
}

}  // namespace
}  // namespace hadal
