// Goal: a row with a TokenFilter gets exactly the tokens that sampling from the allowed ones gives,
// alone or in a batch, with any drafter or none; what the filter forces is computed in fewer
// passes.
#include <cmath>

#include <gtest/gtest.h>

#include "engine/testing/harness.h"

namespace hadal::testing {
namespace {

/// By the number of tokens so far: free, free, even ids, then three forced ones, over and over.
class Rhythm final : public TokenFilter {
 public:
  static constexpr int64_t kPeriod = 6;
  static bool free(int64_t at) { return at % kPeriod < 2; }
  static bool is_forced(int64_t at) { return at % kPeriod > 2; }
  static TokenId forced_at(int64_t at) { return static_cast<TokenId>(at * 31 % FakeModel::kVocab); }
  static bool may(int64_t at, TokenId id) {
    if (free(at)) return true;
    return is_forced(at) ? id == forced_at(at) : id % 2 == 0;
  }

  std::span<const uint64_t> allowed() override {
    if (free(at_)) return {};
    mask_.assign(2, 0);
    for (TokenId id = 0; id < FakeModel::kVocab; ++id) {
      if (may(at_, id)) mask_[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64);
    }
    return mask_;
  }
  bool accept(TokenId id) override { return may(at_++, id); }
  void forced(int64_t most, std::vector<TokenId>& out) override {
    for (int64_t at = at_; is_forced(at) && most > 0; ++at, --most) out.push_back(forced_at(at));
  }
  std::unique_ptr<TokenFilter> fork() const override { return std::make_unique<Rhythm>(*this); }

 private:
  int64_t at_ = 0;
  std::vector<uint64_t> mask_;
};

GenerateRequest filtered(int salt) {
  GenerateRequest request = make_request(20 + salt, 50, salt);
  request.filter = std::make_unique<Rhythm>();
  return request;
}

/// Without filter and engine: what may not come is cut out of the logits.
std::vector<TokenId> expected_filtered(const GenerateRequest& request, int64_t count) {
  std::vector<TokenId> sequence = request.prompt;
  std::vector<TokenId> out;
  Sampler sampler(request.sampling, request.prompt, 0);
  for (int64_t at = 0; at < count; ++at) {
    std::vector<float> logits = FakeModel::logits_after(sequence);
    for (TokenId id = 0; id < FakeModel::kVocab; ++id) {
      if (!Rhythm::may(at, id)) logits[static_cast<size_t>(id)] = -INFINITY;
    }
    out.push_back(sampler.sample(logits, {}).value().id);
    sequence.push_back(out.back());
  }
  return out;
}

/// Four rows at once, every other one without a filter.
EngineStats run_rows(std::unique_ptr<Drafter> drafter) {
  FakeModel model;
  VirtualEnv env;
  Engine engine(model, {.n_ctx = 128, .max_batch = 4}, env, std::move(drafter));
  std::vector<Received> got(4);
  for (int salt = 0; salt < 4; ++salt) {
    GenerateRequest request = salt % 3 == 0 ? make_request(20, 50, salt) : filtered(salt);
    EXPECT_TRUE(engine
                    .submit(std::move(request),
                            std::make_unique<RecordingSink>(got[static_cast<size_t>(salt)]))
                    .ok());
  }
  for (int salt = 0; salt < 4; ++salt) {
    Received& row = got[static_cast<size_t>(salt)];
    EXPECT_EQ(row.wait_finish().reason, FinishReason::kLength);
    const std::vector<TokenId> expected = salt % 3 == 0
                                              ? expected_ids(make_request(20, 50, salt), 50)
                                              : expected_filtered(filtered(salt), 50);
    EXPECT_EQ(row.ids(), expected) << salt;
  }
  return engine.stats();
}

TEST(TokenFilter, TokensAreThoseOfTheAllowedLogits) {
  const EngineStats stats = run_rows(nullptr);
  EXPECT_GT(stats.accepted_tokens, 0u);
  EXPECT_EQ(stats.accepted_tokens, stats.drafted_tokens);  // what is forced always comes true
}

TEST(TokenFilter, DraftersChangeNothing) {
  run_rows(make_ngram_drafter());
  FakeModel small;
  const ModelDrafterOptions options = {
      .n_vocab = FakeModel::kVocab, .n_ctx = 128, .rows = 4, .cost_per_token = 0.01};
  EXPECT_GT(run_rows(make_model_drafter(small, options)).accepted_tokens, 0u);
}

// Goal: forced tokens take no pass of their own: half of the tokens are forced, three in a run.
TEST(TokenFilter, ForcedTokensAreSkippedAhead) {
  FakeModel model;
  VirtualEnv env;
  Engine engine(model, {.n_ctx = 128, .max_batch = 1}, env);
  Received got;
  ASSERT_TRUE(engine.submit(filtered(1), std::make_unique<RecordingSink>(got)).ok());
  EXPECT_EQ(got.wait_finish().reason, FinishReason::kLength);
  EXPECT_LT(engine.stats().steps, 34u);
}

/// Bans all, or cannot go on after its first token.
class DeadEnd final : public TokenFilter {
 public:
  explicit DeadEnd(bool at_once) : at_once_(at_once) {}
  std::span<const uint64_t> allowed() override {
    return at_once_ ? std::span<const uint64_t>(&kNone, 1) : std::span<const uint64_t>();
  }
  bool accept(TokenId) override { return false; }
  void forced(int64_t, std::vector<TokenId>&) override {}
  std::unique_ptr<TokenFilter> fork() const override { return std::make_unique<DeadEnd>(*this); }

 private:
  static constexpr uint64_t kNone = 0;
  bool at_once_;
};

// Goal: a filter without a way on fails its own row, with a reason; others go on.
TEST(TokenFilter, ADeadEndFailsOneRow) {
  for (const bool at_once : {true, false}) {
    FakeModel model;
    VirtualEnv env;
    Engine engine(model, {.n_ctx = 128, .max_batch = 2}, env);
    Received dead, fine;
    GenerateRequest request = make_request(10, 20, 0);
    request.filter = std::make_unique<DeadEnd>(at_once);
    ASSERT_TRUE(engine.submit(std::move(request), std::make_unique<RecordingSink>(dead)).ok());
    ASSERT_TRUE(engine.submit(make_request(10, 20, 2), std::make_unique<RecordingSink>(fine)).ok());
    const FinishEvent end = dead.wait_finish();
    EXPECT_EQ(end.reason, FinishReason::kError);
    EXPECT_NE(end.error, "");
    EXPECT_EQ(fine.wait_finish().reason, FinishReason::kLength);
    EXPECT_EQ(fine.ids(), expected_ids(make_request(10, 20, 2), 20));
  }
}

}  // namespace
}  // namespace hadal::testing
