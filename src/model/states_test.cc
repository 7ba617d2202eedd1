/// Hidden states of decoders, which embeddings are made of.
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "model/test_model.h"

namespace hadal {
namespace {

using testing_model::load_from;
using testing_model::LoadedModel;

// Goal: states() gives what the head reads: the head's matrix times it are the logits that
// forward() gives for the same rows, for rows that want them only, and forward() is the same after
// it.
TEST(States, TimesTheHeadAreTheLogits) {
  const std::string tiny = std::string(HADAL_SOURCE_DIR) + "/tests/golden/tiny/";
  for (const char* name : {"llama_gqa_tied", "llama_mha", "qwen3", "deepseek_v2", "deepseek_v3",
                           "deepseek_v32", "deepseek4"}) {
    const LoadedModel m =
        load_from(GgufFile::open(tiny + name + ".gguf").value(), 2, {.kv_type = KvType::kF32});
    const auto n_vocab = static_cast<size_t>(m.model->n_vocab());
    const auto d = static_cast<size_t>(m.model->config().d_model);
    std::vector<PageId> pages = {0, 1};
    Batch batch{{}, {{pages}}};
    for (int32_t i = 0; i < 20; ++i) batch.rows.push_back({1 + i % 7, i, 0, i % 3 == 1});
    KvPool kv(m.model->kv_layout(), 32, 2);
    std::vector<float> logits(7 * n_vocab);
    std::vector<float> states(7 * d);
    std::vector<float> again(7 * n_vocab);
    ASSERT_TRUE(m.model->forward(batch, kv, logits).ok()) << name;
    ASSERT_TRUE(m.model->states(batch, kv, states).ok()) << name;
    ASSERT_TRUE(m.model->forward(batch, kv, again).ok()) << name;
    EXPECT_EQ(logits, again) << name;
    const TensorView* head = m.file->find_tensor("output.weight");
    if (head == nullptr) head = m.file->find_tensor("token_embd.weight");
    std::vector<float> weights(d);
    for (size_t token = 0; token < n_vocab; ++token) {
      dequantize_row(*head, static_cast<int64_t>(token), weights.data());
      for (size_t row = 0; row < 7; ++row) {
        double logit = 0;
        for (size_t k = 0; k < d; ++k) {
          logit += static_cast<double>(weights[k]) * static_cast<double>(states[row * d + k]);
        }
        ASSERT_NEAR(logit, logits[row * n_vocab + token], 2e-3 + 1e-3 * std::abs(logit))
            << name << " row " << row;
      }
    }
  }
}

// Goal: tokens outside the vocabulary are an error, as in forward().
TEST(States, WrongTokensAreErrors) {
  const LoadedModel m = load_from(
      GgufFile::open(std::string(HADAL_SOURCE_DIR) + "/tests/golden/tiny/llama_mha.gguf").value(),
      1, {.kv_type = KvType::kF32});
  std::vector<PageId> pages = {0};
  KvPool kv(m.model->kv_layout(), 32, 1);
  std::vector<float> out(static_cast<size_t>(m.model->config().d_model));
  const auto token = static_cast<TokenId>(m.model->n_vocab());
  EXPECT_FALSE(m.model->states({{{token, 0, 0, true}}, {{pages}}}, kv, out).ok());
}

}  // namespace
}  // namespace hadal
