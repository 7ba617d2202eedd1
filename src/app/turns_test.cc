// Goal: models that compute take turns: never two at once, none left out, nothing changed by it.
#include "app/turns.h"

#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace hadal {
namespace {

/// Counts how many of its kind compute at once.
class CountingModel final : public ForwardModel {
 public:
  CountingModel(std::atomic<int>& inside, std::atomic<int>& most) : inside_(inside), most_(most) {}
  int64_t n_vocab() const override { return 7; }
  int64_t n_ctx_train() const override { return 9; }
  KvLayout kv_layout() const override { return {.n_layers = 3}; }
  bool predicts() const override { return true; }
  Status forward(const Batch&, KvPool&, std::span<float> logits) override {
    const int now = ++inside_;
    if (now > most_) most_ = now;
    std::this_thread::yield();
    logits.front() += 1;
    --inside_;
    return {};
  }
  Status predict(const Batch& batch, KvPool& kv, std::span<float> logits) override {
    return forward(batch, kv, logits);
  }

 private:
  std::atomic<int>& inside_;
  std::atomic<int>& most_;
};

TEST(Turns, OneAtATimeAndAllPasses) {
  // Goal: passes and guesses of several models exclude each other, and all of them happen.
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  Turns turns;
  constexpr int kThreads = 4;
  constexpr int kPasses = 500;
  std::vector<float> done(kThreads, 0.0f);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      CountingModel model(inside, most);
      TurnTakingModel turned(model, turns);
      KvPool kv({.n_layers = 1, .n_kv_heads = 1, .d_head = 32}, 32, 1);
      const std::span<float> logits(&done[static_cast<size_t>(t)], 1);
      for (int i = 0; i < kPasses; ++i) {
        const Status status =
            i % 2 == 0 ? turned.forward({}, kv, logits) : turned.predict({}, kv, logits);
        CHECK(status.ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(most, 1);
  for (const float passes : done) EXPECT_EQ(passes, kPasses);
}

TEST(Turns, ShapesArePassedOn) {
  // Goal: an engine sees of a model with turns what it would see of the model.
  std::atomic<int> unused{0};
  CountingModel model(unused, unused);
  Turns turns;
  const TurnTakingModel turned(model, turns);
  EXPECT_EQ(turned.n_vocab(), 7);
  EXPECT_EQ(turned.n_ctx_train(), 9);
  EXPECT_EQ(turned.kv_layout().n_layers, 3);
  EXPECT_TRUE(turned.predicts());
  EXPECT_EQ(take_turns(nullptr, turns), nullptr);
}

}  // namespace
}  // namespace hadal
