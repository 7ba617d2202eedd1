/// Which type each matrix gets.
#include "tuning/quantise/recipe.h"

#include <gtest/gtest.h>

#include "tensor/quantize.h"
#include "tuning/tuning.h"

namespace hadal {
namespace {

DType type_of(const char* recipe, const char* name, ModelShape shape = {32, 1, false}) {
  const Recipe* found = find_recipe(recipe);
  EXPECT_NE(found, nullptr) << recipe;
  return recipe_type(*found, name, shape);
}

// Goal: Q4_K_M's exceptions are those of the field: more bits in the first and last eighth and
// every third layer between for attention values and ffn_down, experts included.
TEST(Recipe, Q4KM) {
  EXPECT_EQ(type_of("q4_k_m", "blk.0.attn_v.weight"), DType::kQ6_K);
  EXPECT_EQ(type_of("Q4_K_M", "blk.4.attn_v.weight"), DType::kQ4_K);
  EXPECT_EQ(type_of("Q4_K_M", "blk.6.ffn_down.weight"), DType::kQ6_K);
  EXPECT_EQ(type_of("Q4_K_M", "blk.6.ffn_down_exps.weight"), DType::kQ6_K);
  EXPECT_EQ(type_of("Q4_K_M", "blk.7.ffn_down_shexp.weight"), DType::kQ4_K);
  EXPECT_EQ(type_of("Q4_K_M", "blk.28.attn_kv_b.weight"), DType::kQ6_K);
  EXPECT_EQ(type_of("Q4_K_M", "blk.28.attn_q.weight"), DType::kQ4_K);
  EXPECT_EQ(type_of("Q4_K_M", "output.weight"), DType::kQ6_K);
  EXPECT_EQ(type_of("Q4_K_M", "token_embd.weight"), DType::kQ4_K);
  EXPECT_EQ(type_of("Q4_K_M", "token_embd.weight", {32, 1, true}), DType::kQ6_K);
  EXPECT_EQ(type_of("Q4_K_M", "blk.3.attn_qkv.weight"), DType::kQ5_K);
}

// Goal: the other mixes, and the plain ones that have no exceptions at all.
TEST(Recipe, Others) {
  EXPECT_EQ(type_of("Q2_K", "blk.9.attn_v.weight"), DType::kQ3_K);
  EXPECT_EQ(type_of("Q2_K", "blk.9.attn_v.weight", {32, 4, false}), DType::kQ4_K);
  EXPECT_EQ(type_of("Q2_K", "blk.9.attn_output.weight"), DType::kQ3_K);
  EXPECT_EQ(type_of("Q2_K", "blk.9.ffn_up.weight"), DType::kQ2_K);
  EXPECT_EQ(type_of("Q3_K_M", "blk.1.ffn_down.weight"), DType::kQ5_K);
  EXPECT_EQ(type_of("Q3_K_M", "blk.2.ffn_down.weight"), DType::kQ4_K);
  EXPECT_EQ(type_of("Q3_K_M", "blk.2.attn_output.weight"), DType::kQ4_K);
  EXPECT_EQ(type_of("Q4_K_S", "blk.3.attn_v.weight"), DType::kQ5_K);
  EXPECT_EQ(type_of("Q4_K_S", "blk.4.ffn_down.weight"), DType::kQ4_K);
  EXPECT_EQ(type_of("Q8_0", "output.weight"), DType::kQ8_0);
  EXPECT_EQ(type_of("MXFP4_MOE", "blk.4.ffn_up_exps.weight"), DType::kMXFP4);
  EXPECT_EQ(type_of("MXFP4_MOE", "blk.4.ffn_up_shexp.weight"), DType::kQ8_0);
  EXPECT_EQ(find_recipe("Q4_K_X"), nullptr);
  for (const std::string& name : recipe_names()) EXPECT_NE(find_recipe(name), nullptr);
}

// Goal: rows that a super-block does not divide get a 32-value type, others 16 bits.
TEST(Recipe, Fallback) {
  EXPECT_EQ(fallback_type(DType::kQ4_K, 512), DType::kQ4_K);
  EXPECT_EQ(fallback_type(DType::kQ4_K, 576), DType::kQ5_0);
  EXPECT_EQ(fallback_type(DType::kQ6_K, 576), DType::kQ8_0);
  EXPECT_EQ(fallback_type(DType::kQ2_K, 1408), DType::kQ4_0);
  EXPECT_EQ(fallback_type(DType::kIQ4_XS, 96), DType::kIQ4_NL);
  EXPECT_EQ(fallback_type(DType::kQ4_K, 40), DType::kF16);
  EXPECT_EQ(fallback_type(DType::kQ8_0, 33), DType::kF16);
  EXPECT_EQ(fallback_type(DType::kF32, 33), DType::kF32);
}

// Goal: what must not be rounded is not.
TEST(Recipe, KeepsPrecision) {
  EXPECT_TRUE(keeps_precision("blk.0.attn_norm.weight", 1));
  EXPECT_TRUE(keeps_precision("blk.0.attn_q.bias", 1));
  EXPECT_TRUE(keeps_precision("blk.0.ffn_gate_inp.weight", 2));
  EXPECT_TRUE(keeps_precision("blk.0.exp_probs_b.bias", 1));
  EXPECT_TRUE(keeps_precision("blk.0.hc_attn_fn.weight", 2));
  EXPECT_TRUE(keeps_precision("blk.0.attn_k_norm.weight", 2));
  EXPECT_FALSE(keeps_precision("blk.0.ffn_gate.weight", 2));
  EXPECT_FALSE(keeps_precision("blk.0.ffn_gate_exps.weight", 3));
  EXPECT_FALSE(keeps_precision("token_embd.weight", 2));
}

// Goal: patterns match whole names, any run for *, or one part of a name.
TEST(Recipe, Patterns) {
  EXPECT_TRUE(pattern_matches("blk.*.ffn_*", "blk.10.ffn_down.weight"));
  EXPECT_TRUE(pattern_matches("*down*weight", "blk.1.ffn_down.weight"));
  EXPECT_FALSE(pattern_matches("blk.1.*", "blk.10.ffn_down.weight"));
  EXPECT_TRUE(pattern_matches("ffn_down", "blk.1.ffn_down.weight"));
  EXPECT_FALSE(pattern_matches("ffn", "blk.1.ffn_down.weight"));
  EXPECT_TRUE(pattern_matches("output.weight", "output.weight"));
  EXPECT_FALSE(pattern_matches("", "output.weight"));
  EXPECT_TRUE(pattern_matches("*", "output.weight"));
  EXPECT_FALSE(pattern_matches("a*a*a*a*b", std::string(4000, 'a')));
  const auto rule = parse_type_rule("a=b=q6_k");
  ASSERT_TRUE(rule.ok());
  EXPECT_EQ(rule.value().pattern, "a=b");
  EXPECT_EQ(rule.value().type, DType::kQ6_K);
  EXPECT_FALSE(parse_type_rule("=Q8_0").ok());
  EXPECT_FALSE(parse_type_rule("ffn_down").ok());
}

}  // namespace
}  // namespace hadal
