// Goal: on virtual time, turn by turn: requests wait no longer than they may, leave within one
// step, and decoding rows get their next token in time while long prompts come in.
#include "engine/schedule/loop.h"

#include <algorithm>
#include <deque>

#include "engine/testing/harness.h"

namespace hadal {
namespace {

using testing::expected_ids;
using testing::FakeModel;
using testing::make_request;
using testing::Received;
using testing::RecordingSink;
using testing::VirtualEnv;

constexpr int64_t kSecond = 1'000'000;

/// An engine's loop whose steps take a second, and a millisecond more for each token.
class LoopTest : public ::testing::Test {
 protected:
  void start(EngineOptions options) {
    model_.hook = [this](const Batch& batch) {
      ++passes_;
      const auto rows = static_cast<int64_t>(batch.rows.size());
      longest_ = std::max(longest_, step_micros_ + 1000 * rows);
      env_.advance(step_micros_ + 1000 * rows);
      return Status();
    };
    loop_ = std::make_unique<EngineLoop>(model_, options, env_);
  }
  RequestId submit(GenerateRequest request, Received& received) {
    const Result<RequestId> id =
        loop_->submit(std::move(request), std::make_unique<RecordingSink>(received));
    EXPECT_TRUE(id.ok()) << id.error().text();
    return id.value();
  }
  EngineStats stats() { return loop_->inbox().stats(env_.now_micros()); }
  /// Turns until nothing is left to do.
  void run() {
    while (!loop_->idle()) {
      ASSERT_TRUE(loop_->turn());
      loop_->check_integrity();
    }
  }

  FakeModel model_;
  VirtualEnv env_;
  std::unique_ptr<EngineLoop> loop_;
  int64_t step_micros_ = kSecond;
  int64_t longest_ = 0;
  int passes_ = 0;
};

TEST_F(LoopTest, AWaitThatIsTooLongEndsWithAnEstimate) {
  start({.n_ctx = 64, .max_batch = 1, .max_queue_micros = 60 * kSecond});
  Received running;
  Received hasty;
  Received patient;
  submit(make_request(3, 30, 0), running);
  loop_->turn();
  GenerateRequest request = make_request(3, 2, 0);
  request.max_queue_micros = 5 * kSecond;
  submit(request, hasty);
  submit(make_request(3, 2, 0), patient);
  EXPECT_EQ(stats().waiting_by_class, (std::array<int, 3>{0, 2, 0}));
  while (!hasty.finished()) loop_->turn();
  const FinishEvent end = hasty.wait_finish();
  EXPECT_EQ(end.reason, FinishReason::kExpired);
  EXPECT_GE(end.queue_micros, 5 * kSecond);
  EXPECT_LT(end.queue_micros, 7 * kSecond);  // noticed at the next step
  EXPECT_NE(end.error.find("waited"), std::string::npos);
  EXPECT_GT(end.retry_after_micros, 0);
  EXPECT_EQ(end.completion_tokens, 0);
  EXPECT_FALSE(running.finished());
  run();
  EXPECT_EQ(running.wait_finish().reason, FinishReason::kLength);
  EXPECT_EQ(patient.wait_finish().reason, FinishReason::kLength);
  EXPECT_EQ(stats().expired, 1u);
}

TEST_F(LoopTest, CancellingTakesNoFurtherPass) {
  start({.n_ctx = 64, .max_batch = 2});
  Received one;
  Received two;
  const RequestId first = submit(make_request(3, 30, 0), one);
  submit(make_request(3, 30, 1), two);
  for (int i = 0; i < 4; ++i) loop_->turn();
  ASSERT_EQ(one.ids().size(), 4u);
  loop_->inbox().cancel(first);
  loop_->turn();
  EXPECT_EQ(one.wait_finish().reason, FinishReason::kCancelled);
  EXPECT_EQ(one.ids().size(), 4u);
  EXPECT_EQ(two.ids().size(), 5u);  // the others went on in that step
  run();
  EXPECT_EQ(two.ids(), expected_ids(make_request(3, 30, 1), 30));
}

TEST_F(LoopTest, UrgentRequestsOvertakeInTheQueueOnly) {
  start({.n_ctx = 64, .max_batch = 1});
  std::deque<Received> got(4);
  const Priority classes[] = {Priority::kBatch, Priority::kBatch, Priority::kNormal,
                              Priority::kInteractive};
  std::vector<size_t> order;
  for (size_t i = 0; i < 4; ++i) {
    GenerateRequest request = make_request(3, 3, 0);
    request.priority = classes[i];
    auto note = [&order, i](const FinishEvent&) { order.push_back(i); };
    ASSERT_TRUE(
        loop_
            ->submit(std::move(request), std::make_unique<RecordingSink>(
                                             got[i], RecordingSink::OnToken(), std::move(note)))
            .ok());
    if (i == 0) loop_->turn();  // the first one runs already
  }
  run();
  EXPECT_EQ(order, (std::vector<size_t>{0, 3, 2, 1}));
}

TEST_F(LoopTest, DrainLetsRunningOnesEndAndWaitingOnesWaitNoLonger) {
  start({.n_ctx = 64, .max_batch = 1});
  Received running;
  Received lucky;
  Received late;
  submit(make_request(3, 10, 0), running);
  submit(make_request(3, 20, 0), lucky);
  submit(make_request(3, 2, 0), late);
  loop_->turn();
  loop_->inbox().close_door(env_.now_micros() + 15 * kSecond);
  Received refused;
  const auto after = loop_->submit(make_request(3, 2, 0), std::make_unique<RecordingSink>(refused));
  ASSERT_FALSE(after.ok());
  EXPECT_EQ(after.error().code, Code::kUnavailable);
  run();
  EXPECT_EQ(running.wait_finish().reason, FinishReason::kLength);
  EXPECT_EQ(lucky.wait_finish().reason, FinishReason::kLength);  // began in time, and may end
  EXPECT_EQ(late.wait_finish().reason, FinishReason::kExpired);
}

TEST_F(LoopTest, StopEndsEveryoneInOneTurn) {
  start({.n_ctx = 64, .max_batch = 2});
  std::deque<Received> got(5);
  for (Received& received : got) submit(make_request(3, 30, 0), received);
  for (int i = 0; i < 3; ++i) loop_->turn();
  loop_->inbox().stop();
  const int passes = passes_;
  EXPECT_FALSE(loop_->turn());
  EXPECT_EQ(passes_, passes);
  for (Received& received : got) EXPECT_EQ(received.wait_finish().reason, FinishReason::kCancelled);
}

TEST_F(LoopTest, RefusalsAreCounted) {
  start({.n_ctx = 64, .max_batch = 1, .max_queue = 1});
  Received one;
  Received two;
  submit(make_request(3, 2, 0), one);
  EXPECT_FALSE(loop_->submit(make_request(3, 2, 0), std::make_unique<RecordingSink>(two)).ok());
  EXPECT_EQ(stats().refused, 1u);
  run();
}

TEST_F(LoopTest, ALongPromptDoesNotHoldUpTheOthers) {
  step_micros_ = 2000;
  start({.n_ctx = 8192, .max_batch = 4, .max_step_tokens = 512, .step_target_micros = 50'000});
  std::deque<Received> got(4);
  for (size_t i = 0; i < 3; ++i) submit(make_request(20, 400, static_cast<int>(i)), got[i]);
  while (got[2].ids().size() < 20) loop_->turn();
  longest_ = 0;
  GenerateRequest request = make_request(4000, 2, 3);
  submit(request, got[3]);
  while (got[3].ids().empty()) loop_->turn();
  EXPECT_LT(longest_, 80'000);  // the first chunks are a guess
  EXPECT_GT(longest_, 40'000);  // and the target is used
  EXPECT_FALSE(got[0].finished());
  EXPECT_EQ(got[3].ids()[0], expected_ids(request, 1)[0]);
}

TEST_F(LoopTest, WithoutATargetPromptsComeFirst) {
  step_micros_ = 2000;
  start({.n_ctx = 8192, .max_batch = 4, .max_step_tokens = 512, .step_target_micros = 0});
  Received one;
  Received two;
  submit(make_request(20, 40, 0), one);
  loop_->turn();
  submit(make_request(4000, 2, 1), two);
  while (two.ids().empty()) loop_->turn();
  EXPECT_GE(longest_, 500'000);
}

}  // namespace
}  // namespace hadal
