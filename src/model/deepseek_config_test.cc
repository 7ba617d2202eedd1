// Goal: files of V1 to V3.2 whose keys contradict each other or the tensors are refused with one
// error that names the key or tensor; keys that old files lack get the published models' values.
#include <cmath>

#include "model/testing/changed_file.h"

namespace hadal {
namespace {

using testing_model::Changed;

void expect_refused(Changed changed, const std::string& part) {
  const std::string error = changed.error();
  EXPECT_NE(error.find(part), std::string::npos) << "\"" << error << "\" lacks " << part;
}

ModelConfig config_of(Changed& changed) {
  const Result<GgufFile> file = GgufFile::from_memory(changed.bytes());
  return ModelConfig::from_gguf(file.value()).value();
}

TEST(DeepseekConfig, ReadsBothFormsOfFiles) {
  Changed newer("deepseek_v3");
  const ModelConfig v3 = config_of(newer);
  EXPECT_EQ(v3.n_layers, 2);
  EXPECT_TRUE(v3.predicts);
  EXPECT_EQ(v3.latent.q_lora_rank, 24);
  EXPECT_EQ(v3.latent.kv_lora_rank, 32);
  EXPECT_EQ(v3.latent.d_nope, 16);
  EXPECT_EQ(v3.latent.d_rope, 8);
  EXPECT_EQ(v3.latent.d_value, 12);
  EXPECT_EQ(v3.moe.router.gating, Gating::kSigmoid);
  EXPECT_EQ(v3.moe.router.n_groups_used, 2);
  EXPECT_TRUE(v3.moe.router.norm_weights);
  EXPECT_EQ(v3.moe.d_shared, 16);
  EXPECT_FALSE(v3.has_experts(0));
  EXPECT_TRUE(v3.has_experts(1));
  const double magnitude = 1 + 0.1 * std::log(40.0);
  EXPECT_NEAR(v3.attention_scale, magnitude * magnitude / std::sqrt(24.0), 1e-6);
  EXPECT_EQ(v3.rope_magnitude, 1.0f);

  Changed older("deepseek_v2");
  EXPECT_EQ(config_of(older).latent.d_nope, 16);
  EXPECT_EQ(config_of(older).latent.d_value, 12);
  Changed lite("deepseek_v2_lite");
  EXPECT_EQ(config_of(lite).latent.q_lora_rank, 0);
  Changed sparse("deepseek_v32");
  EXPECT_EQ(config_of(sparse).indexer.top_k, 6);
}

TEST(DeepseekConfig, RefusesNumbersThatCannotBe) {
  ASSERT_EQ(Changed("deepseek_v3").error(), "");
  ASSERT_EQ(Changed("deepseek_v32").error(), "");
  for (const auto& [key, value] : {std::pair<const char*, uint32_t>{"expert_used_count", 9},
                                   {"expert_used_count", 0},
                                   {"expert_count", 2'000'000'000},
                                   {"expert_group_count", 3},
                                   {"expert_group_used_count", 5},
                                   {"expert_gating_func", 3},
                                   {"nextn_predict_layers", 3},
                                   {"attention.kv_lora_rank", 0},
                                   {"attention.key_length_mla", 8},
                                   {"rope.dimension_count", 7}}) {
    expect_refused(Changed("deepseek_v3").set(std::string("deepseek2.") + key, value), key);
  }
  expect_refused(Changed("deepseek_v32").set("deepseek32.attention.indexer.top_k", 0u), "top_k");
  expect_refused(Changed("deepseek_v32").set("deepseek32.attention.indexer.key_length", 4u),
                 "key_length");
}

TEST(DeepseekConfig, NamesTensorsThatAreMissingOrOfAnotherShape) {
  for (const char* name :
       {"blk.1.ffn_gate_exps.weight", "blk.1.ffn_down_exps.weight", "blk.1.ffn_gate_inp.weight",
        "blk.1.ffn_up_shexp.weight", "blk.0.attn_kv_a_mqa.weight", "blk.0.attn_q_a_norm.weight",
        "blk.1.attn_k_b.weight", "blk.1.attn_v_b.weight", "blk.2.nextn.enorm.weight"}) {
    std::string other = name;
    other[4] = '9';
    expect_refused(Changed("deepseek_v3").rename(name, other), name);
  }
  expect_refused(Changed("deepseek_v32").rename("blk.1.indexer.proj", "blk.9.indexer.proj"),
                 "blk.1.indexer.proj");
  expect_refused(Changed("deepseek_v3").set("deepseek2.expert_feed_forward_length", 24u),
                 "blk.1.ffn_gate_exps.weight");
  expect_refused(Changed("deepseek_v3").set("deepseek2.attention.kv_lora_rank", 40u),
                 "blk.0.attn_kv_a");
  expect_refused(Changed("deepseek_v3").set("deepseek2.attention.head_count", 8u),
                 "blk.0.attn_q_b");
}

}  // namespace
}  // namespace hadal
