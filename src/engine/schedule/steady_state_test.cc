// Goal: once every row decodes, a step allocates nothing. (Penalties count what was sampled, in a
// table that grows with an answer; all else has its room from the start.)
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HADAL_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HADAL_SANITIZED
#endif
#endif

#ifndef HADAL_SANITIZED  // sanitizers bring their own operator new
#include "base/testing/count_allocations.h"
#include "engine/schedule/loop.h"
#include "engine/testing/harness.h"

namespace hadal {
namespace {

class NullSink final : public TokenSink {
 public:
  void on_token(const TokenEvent&) override {}
  void on_finish(const FinishEvent&) override {}
};

TEST(SteadyState, AStepAllocatesNothing) {
  constexpr int kRows = 16;
  testing::FakeModel model;
  testing::VirtualEnv env;
  EngineLoop loop(model, {.n_ctx = 512, .max_batch = kRows}, env);
  for (int i = 0; i < kRows; ++i) {  // pages end in different steps
    GenerateRequest request = testing::make_request(20 + i, 400, i);
    request.sampling.repetition_penalty = 1;
    request.sampling.frequency_penalty = 0;
    ASSERT_TRUE(loop.submit(std::move(request), std::make_unique<NullSink>()).ok());
  }
  constexpr int kWarmSteps = 100;
  constexpr int kSteps = 200;
  for (int i = 0; i < kWarmSteps; ++i) loop.turn();
  const uint64_t before = testing::allocations.load();
  for (int i = 0; i < kSteps; ++i) loop.turn();
  EXPECT_EQ(testing::allocations.load() - before, 0u);
  EXPECT_EQ(loop.inbox().stats(0).running, kRows);
}

}  // namespace
}  // namespace hadal
#endif
