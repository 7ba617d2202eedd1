// Goal: windows cover the text once, and the two scores equal their definitions.
#include "app/scoring.h"

#include <cmath>

#include <gtest/gtest.h>

namespace hadal {
namespace {

std::unique_ptr<Tokenizer> three_tokens(bool add_bos) {
  VocabSpec spec;
  spec.model = "gpt2";
  spec.pre = "gpt-2";
  spec.tokens = {"a", "b", "<s>"};
  spec.kinds = {1, 1, 3};
  spec.bos = 2;
  spec.eos = 2;
  spec.add_bos = add_bos;
  auto created = Tokenizer::create(std::move(spec));
  EXPECT_TRUE(created.ok());
  return created.ok() ? std::move(created).value() : nullptr;
}

TEST(CutWindows, CoverEveryTokenOnce) {
  const std::vector<TokenId> ids = {0, 1, 0, 1, 0, 1, 1};
  for (const bool bos : {false, true}) {
    const auto tokenizer = three_tokens(bos);
    ASSERT_NE(tokenizer, nullptr);
    for (int64_t ctx = 2; ctx < 10; ++ctx) {
      std::vector<TokenId> all;
      for (const auto& window : cut_windows(ids, *tokenizer, ctx)) {
        EXPECT_LE(window.size(), static_cast<size_t>(ctx));
        EXPECT_GE(window.size(), 2u);
        EXPECT_EQ(window.front() == 2, bos);
        all.insert(all.end(), window.begin() + (bos ? 1 : 0), window.end());
      }
      // Only a last token that nothing precedes may be missing.
      const size_t dropped = ids.size() - all.size();
      EXPECT_LE(dropped, bos ? 0u : 1u) << ctx;
      EXPECT_EQ(all, std::vector<TokenId>(ids.begin(), ids.end() - static_cast<long>(dropped)));
    }
  }
}

TEST(Scores, NegativeLogLikelihoodOfKnownDistribution) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.25f), std::log(0.25f)};
  EXPECT_NEAR(negative_log_likelihood(logits, 0), std::log(2.0), 1e-6);
  EXPECT_NEAR(negative_log_likelihood(logits, 2), std::log(4.0), 1e-6);
  // A shift of all logits changes nothing, also where exp would overflow.
  const std::vector<float> shifted = {1000.0f, 1000.0f};
  EXPECT_NEAR(negative_log_likelihood(shifted, 1), std::log(2.0), 1e-6);
}

TEST(Scores, DivergenceOfKnownDistributions) {
  const std::vector<float> p = {std::log(0.5f), std::log(0.5f)};
  const std::vector<float> q = {std::log(0.9f), std::log(0.1f)};
  EXPECT_NEAR(kl_divergence(p, q), 0.5 * std::log(0.5 / 0.9) + 0.5 * std::log(0.5 / 0.1), 1e-6);
  EXPECT_NEAR(kl_divergence(q, p), 0.9 * std::log(0.9 / 0.5) + 0.1 * std::log(0.1 / 0.5), 1e-6);
  EXPECT_EQ(kl_divergence(p, p), 0);
}

}  // namespace
}  // namespace hadal
