#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "kernels/testing/scoped_isa.h"
#include "model/test_model.h"
#include "model/testing/reference_logits.h"

namespace hadal {
namespace {

using testing_model::largest_difference;
using testing_model::load_from;
using testing_model::LoadedModel;
using testing_model::read_reference;
using testing_model::Reference;
using testing_model::Runner;

const std::string kDirectory = std::string(HADAL_SOURCE_DIR) + "/tests/golden/tiny/";

/// Largest |difference| of a logit (they range over about -8 to 8); NaN fails.
double max_difference(const std::string& name, KvType type,
                      LatentForm form = LatentForm::kAbsorbed) {
  const Reference reference = read_reference(kDirectory + name + ".ref");
  LoadedModel m = load_from(GgufFile::open(kDirectory + name + ".gguf").value(), 2,
                            {.latent_form = form, .activations = Activations::kInt16});
  const std::vector<float> logits = Runner(*m.model, 1, 48, type).append({{0, reference.tokens}});
  EXPECT_EQ(logits.size(), reference.logits.size()) << name;
  return largest_difference(logits, reference.logits);
}

// Goal: with F32 weights and an F32 cache every architecture is within 1e-4 of transformers
// (float64), on every instruction set.
TEST(TinyModels, FloatWeightsMatchReference) {
  for (Isa isa : available_isas()) {
    IsaScope scope(isa);
    for (const char* name :
         {"llama_mha", "llama_gqa_tied", "llama_rope_freqs", "llama_linear_bias",
          "llama_partial_rope", "qwen2_bias", "qwen2_fused", "qwen3", "qwen3_yarn", "llama_f16",
          "qwen3_bf16", "deepseek_v1", "deepseek_v1_bf16", "deepseek_v2_lite", "deepseek_v2",
          "deepseek_v3", "deepseek_v3_kv_b", "deepseek_v32"}) {
      const double difference = max_difference(name, KvType::kF32);
      std::printf("%-20s %-10s max difference %.1e\n", name, std::string(isa_name(isa)).c_str(),
                  difference);
      EXPECT_LE(difference, 1e-4) << name << " on " << isa_name(isa);
    }
  }
}

// Goal: quantised weights match the reference on the decoded weights; what remains is the rounding
// of activations to 16 bits per 32 columns. Rounding them so in the numpy twin moves these logits
// by 6e-4 to 1.7e-3.
TEST(TinyModels, QuantisedWeightsMatchReference) {
  for (Isa isa : available_isas()) {
    IsaScope scope(isa);
    for (const char* name :
         {"llama_q8_0", "llama_q4_1", "qwen2_q4_0", "qwen2_mixed_k", "deepseek_v3_q8_0"}) {
      const double difference = max_difference(name, KvType::kF32);
      std::printf("%-20s %-10s max difference %.1e\n", name, std::string(isa_name(isa)).c_str(),
                  difference);
      EXPECT_LE(difference, 3e-3) << name << " on " << isa_name(isa);
    }
  }
}

// Goal: a half-precision cache costs no more than its rounding (2^-11 relative per key and value).
TEST(TinyModels, HalfPrecisionCacheStaysClose) {
  for (const char* name : {"llama_mha", "qwen2_bias", "qwen3_yarn", "llama_q4_1", "deepseek_v3"}) {
    EXPECT_LE(max_difference(name, KvType::kF16), 2e-2) << name;
  }
}

// Goal: queries taken into the latent space, or keys and values taken out of it: the same logits.
TEST(TinyModels, BothFormsOfLatentAttentionMatchReference) {
  for (const char* name :
       {"deepseek_v2_lite", "deepseek_v2", "deepseek_v3", "deepseek_v3_kv_b", "deepseek_v32"}) {
    for (const LatentForm form :
         {LatentForm::kAbsorbed, LatentForm::kExpanded, LatentForm::kAuto}) {
      EXPECT_LE(max_difference(name, KvType::kF32, form), 1e-4) << name;
    }
  }
}

// Goal: the prediction layer's logits match the twin's at every position: its keys and the states
// it joins come from forward(), in pieces of any size, or from its own guesses.
TEST(TinyModels, PredictionLayerMatchesReference) {
  const Reference reference = read_reference(kDirectory + "deepseek_v3.next.ref");
  const std::vector<TokenId> tokens = read_reference(kDirectory + "deepseek_v3.ref").tokens;
  for (const size_t piece : {size_t{48}, size_t{7}}) {
    LoadedModel m = load_from(GgufFile::open(kDirectory + "deepseek_v3.gguf").value(), 2,
                              {.predict = true, .activations = Activations::kInt16});
    Runner runner(*m.model, 1, 48, KvType::kF32);
    for (size_t begin = 0; begin < tokens.size(); begin += piece) {
      const size_t end = std::min(begin + piece, tokens.size());
      runner.append({{0,
                      {tokens.begin() + static_cast<ptrdiff_t>(begin),
                       tokens.begin() + static_cast<ptrdiff_t>(end)}}});
    }
    Batch batch;
    batch.sequences.push_back({runner.pages(0)});
    for (size_t i = 1; i < tokens.size(); ++i) {
      batch.rows.push_back({tokens[i], static_cast<int32_t>(i), 0, true});
    }
    std::vector<float> logits(reference.logits.size());
    ASSERT_TRUE(m.model->predict(batch, runner.kv(), logits).ok());
    double worst = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      worst = std::max<double>(worst, std::abs(logits[i] - reference.logits[i]));
    }
    std::printf("prediction layer, pieces of %zu: max difference %.1e\n", piece, worst);
    EXPECT_LE(worst, 1e-2);  // states are kept in half precision
  }
}

}  // namespace
}  // namespace hadal
