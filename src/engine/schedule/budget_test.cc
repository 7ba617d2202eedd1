// Goal: prompts get their fair share of a step, and decoding rows a step that ends in time.
#include "engine/schedule/budget.h"

#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace hadal {
namespace {

using Shares = std::vector<int64_t>;

Shares share_asks(const std::vector<PrefillAsk>& asks, int64_t budget) {
  Shares shares(asks.size());
  share_budget(asks, budget, shares);
  return shares;
}

Shares share(const Shares& pending, int64_t budget) {
  std::vector<PrefillAsk> asks;
  for (const int64_t tokens : pending) asks.push_back({.tokens = tokens});
  return share_asks(asks, budget);
}

TEST(ShareBudget, EqualSharesThenTheOldest) {
  EXPECT_EQ(share(Shares{}, 8), Shares{});
  EXPECT_EQ(share({5}, 8), Shares{5});
  EXPECT_EQ(share({100}, 8), Shares{8});
  EXPECT_EQ(share({100, 100}, 8), (Shares{4, 4}));
  EXPECT_EQ(share({100, 100, 100}, 8), (Shares{4, 2, 2}));  // 2 each, the rest to the oldest
  EXPECT_EQ(share({100, 1}, 8), (Shares{7, 1}));            // a short prompt does not wait
  EXPECT_EQ(share({1, 100, 100}, 9), (Shares{1, 5, 3}));
  EXPECT_EQ(share({100, 100, 100}, 2), (Shares{2, 0, 0}));
  EXPECT_EQ(share({3, 4}, 0), (Shares{0, 0}));
}

TEST(ShareBudget, UrgentPromptsGetMore) {
  const std::vector<PrefillAsk> asks = {{.tokens = 100, .priority = Priority::kBatch},
                                        {.tokens = 100, .priority = Priority::kNormal},
                                        {.tokens = 100, .priority = Priority::kInteractive}};
  EXPECT_EQ(share_asks(asks, 70), (Shares{10, 20, 40}));
  EXPECT_EQ(share_asks(asks, 72), (Shares{10, 20, 42}));  // what is left goes to the most urgent
  EXPECT_EQ(share_asks(asks, 4), (Shares{1, 1, 2}));      // nobody stands still
}

TEST(ShareBudget, NeverMoreThanAskedAndNothingWasted) {
  for (int64_t budget = 0; budget < 40; ++budget) {
    for (int64_t a = 0; a < 12; a += 3) {
      const Shares pending = {a + 1, 17 - a, 5, 2 * a + 1};
      const Shares shares = share(pending, budget);
      for (size_t i = 0; i < pending.size(); ++i) EXPECT_LE(shares[i], pending[i]);
      const int64_t wanted = std::accumulate(pending.begin(), pending.end(), int64_t{0});
      EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), int64_t{0}),
                std::min(budget, wanted));
    }
  }
}

const EngineOptions kOptions = {.max_step_tokens = 512, .step_target_micros = 50'000};
constexpr DecodeLoad kWaiting = {.rows = 4, .reads = 4000, .someone_waits = true};

/// 1 ms a step and a prompt token, 2 ms a decoding row, as `scale` says.
void teach(StepBudget& budget, double scale = 1) {
  for (int64_t i = 0; i < 200; ++i) {
    const StepLoad load = {.prompt_tokens = i % 7 * 20, .decode_rows = i % 5};
    const int64_t micros = 1000 + 1000 * load.prompt_tokens + 2000 * load.decode_rows;
    budget.observe(load, static_cast<int64_t>(static_cast<double>(micros) * scale));
  }
}

TEST(StepBudget, NobodyWaitsNoLimit) {
  StepBudget budget(kOptions);
  teach(budget);
  const std::vector<PrefillAsk> asks = {{.tokens = 8000}};
  EXPECT_EQ(budget.prompt_tokens(asks, {}), 512);
  EXPECT_EQ(budget.prompt_tokens(asks, {.rows = 12, .reads = 9}), 500);  // batch rows only
  EXPECT_EQ(budget.prompt_tokens({}, kWaiting), 0);
  StepBudget unlimited({.max_step_tokens = 512, .step_target_micros = 0});
  teach(unlimited);
  EXPECT_EQ(unlimited.prompt_tokens(asks, kWaiting), 508);
}

TEST(StepBudget, TheStepStaysWithinItsTarget) {
  StepBudget budget(kOptions);
  teach(budget);
  const std::vector<PrefillAsk> asks = {{.tokens = 8000}};
  // 50 ms less 1 for the step and 8 for four rows leave 41.
  EXPECT_NEAR(static_cast<double>(budget.prompt_tokens(asks, kWaiting)), 41, 2);
  EXPECT_EQ(budget.prompt_tokens(std::vector<PrefillAsk>{{.tokens = 7}}, kWaiting), 7);
}

TEST(StepBudget, PromptsGoOnWhereDecodingAloneIsTooSlow) {
  const std::vector<PrefillAsk> asks = {{.tokens = 8000}};
  StepBudget slow(kOptions);
  teach(slow, 30);  // four rows take 270 ms: prompts get half as much again, 135 ms, 4 tokens
  EXPECT_EQ(slow.prompt_tokens(asks, kWaiting), 16);
  StepBudget unknown(kOptions);
  EXPECT_EQ(unknown.prompt_tokens(asks, kWaiting), 64);
}

TEST(StepBudget, LongContextsTakeFewerTokens) {
  StepBudget budget(kOptions);
  for (int64_t i = 0; i < 400; ++i) {
    StepLoad load = {.prompt_tokens = 1 + i % 7 * 20, .decode_rows = i % 5};
    load.prompt_reads = prompt_reads(load.prompt_tokens, i % 11 * 800);
    budget.observe(load, 1000 + 500 * load.prompt_tokens + load.prompt_reads / 10);
  }
  const auto at = [&](int64_t position) {
    return budget.prompt_tokens(std::vector<PrefillAsk>{{.tokens = 8000, .position = position}},
                                kWaiting);
  };
  EXPECT_NEAR(static_cast<double>(at(0)), 97, 8);
  EXPECT_NEAR(static_cast<double>(at(8000)), 38, 4);    // a token costs 0.5 + 0.8 ms
  EXPECT_NEAR(static_cast<double>(at(100'000)), 5, 1);  // 0.5 + 10 ms: the step keeps its length
  EXPECT_EQ(at(10'000'000), 1);                         // and the prompt goes on
}

}  // namespace
}  // namespace hadal
