// Goal: the model finds the law that step times follow, stays with it under noise and outliers, and
// keeps its predictions where steps of late say nothing.
#include "engine/schedule/latency_model.h"

#include <cmath>
#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include "engine/testing/numbers.h"

namespace hadal {
namespace {

using testing::Numbers;

struct Law {
  double step, prompt, row, decode_reads, prompt_reads;  // microseconds; reads per 1,000
  double operator()(const StepLoad& load) const {
    return step + prompt * static_cast<double>(load.prompt_tokens) +
           row * static_cast<double>(load.decode_rows) +
           decode_reads * static_cast<double>(load.decode_reads) / 1000 +
           prompt_reads * static_cast<double>(load.prompt_reads) / 1000;
  }
};

StepLoad mixed_load(Numbers& numbers) {
  StepLoad load;
  load.decode_rows = numbers.below(9);
  load.decode_reads = load.decode_rows * (1 + numbers.below(4000));
  load.prompt_tokens = numbers.below(3) == 0 || load.decode_rows == 0 ? 1 + numbers.below(512) : 0;
  load.prompt_reads = load.prompt_tokens * (1 + numbers.below(4000));
  return load;
}

constexpr Law kSmallModel = {2000, 900, 700, 40, 3};
constexpr Law kLargeModel = {60'000, 25'000, 9000, 900, 70};

/// Mean relative error over fresh loads.
double error_after(LatencyModel& model, const Law& law, int steps, double noise, Numbers& numbers) {
  for (int i = 0; i < steps; ++i) {
    const StepLoad load = mixed_load(numbers);
    const double factor = 1 + noise * (2 * numbers.unit() - 1);
    model.observe(load, static_cast<int64_t>(law(load) * factor));
  }
  double sum = 0;
  for (int i = 0; i < 200; ++i) {
    const StepLoad load = mixed_load(numbers);
    sum += std::abs(model.predict(load) / law(load) - 1);
  }
  return sum / 200;
}

TEST(LatencyModel, FindsTheLaw) {
  for (const Law& law : {kSmallModel, kLargeModel}) {
    Numbers numbers(7);
    LatencyModel model;
    EXPECT_EQ(model.predict({.prompt_tokens = 5}), 0);
    EXPECT_LT(error_after(model, law, 400, 0, numbers), 0.02);
    EXPECT_LT(error_after(model, law, 400, 0.1, numbers), 0.05);
    EXPECT_LT(model.relative_error(), 0.1);
  }
}

TEST(LatencyModel, IsUsefulAfterAFewSteps) {
  Numbers numbers(3);
  LatencyModel model;
  EXPECT_LT(error_after(model, kSmallModel, 12, 0.05, numbers), 0.35);
}

TEST(LatencyModel, OutliersHardlyMoveIt) {
  Numbers numbers(11);
  LatencyModel model;
  error_after(model, kSmallModel, 300, 0.03, numbers);
  for (int i = 0; i < 300; ++i) {  // every twentieth step the machine pauses for a second
    const StepLoad load = mixed_load(numbers);
    const double pause = i % 20 == 0 ? 1e6 : 0;
    model.observe(load, static_cast<int64_t>(kSmallModel(load) + pause));
  }
  EXPECT_LT(error_after(model, kSmallModel, 1, 0, numbers), 0.1);
}

TEST(LatencyModel, FollowsAMachineThatBecomesSlower) {
  Numbers numbers(5);
  LatencyModel model;
  error_after(model, kSmallModel, 300, 0.03, numbers);
  Law slower = kSmallModel;
  for (double* cost :
       {&slower.step, &slower.prompt, &slower.row, &slower.decode_reads, &slower.prompt_reads}) {
    *cost *= 2;
  }
  EXPECT_LT(error_after(model, slower, 300, 0.03, numbers), 0.1);
}

TEST(LatencyModel, CostsAreNeverNegative) {
  Numbers numbers(13);
  LatencyModel model;
  for (int i = 0; i < 500; ++i) {  // times that have nothing to do with the loads
    model.observe(mixed_load(numbers), numbers.below(100'000));
    for (const double cost : model.costs()) {
      ASSERT_GE(cost, 0);
      ASSERT_TRUE(std::isfinite(cost));
    }
  }
}

TEST(LatencyModel, RemembersPromptsThroughALongStretchOfDecoding) {
  Numbers numbers(17);
  LatencyModel model;
  error_after(model, kSmallModel, 300, 0.03, numbers);
  for (int i = 0; i < 50'000; ++i) {
    const StepLoad load = {.decode_rows = 8, .decode_reads = 8 * (500 + i % 700)};
    model.observe(load, static_cast<int64_t>(kSmallModel(load) * (0.97 + 0.06 * numbers.unit())));
  }
  const StepLoad prompt = {.prompt_tokens = 256, .prompt_reads = 256 * 128};
  EXPECT_NEAR(model.predict(prompt) / kSmallModel(prompt), 1, 0.15);
}

}  // namespace
}  // namespace hadal
