#include <cmath>
#include <functional>

#include <gtest/gtest.h>

#include "model/rope_table.h"
#include "model/test_model.h"

namespace hadal {
namespace {

using testing_model::GgufBuilder;
using testing_model::tiny_model;

/// The error of loading the built file, or "" when it loads.
std::string load_error(const GgufBuilder& builder) {
  const std::vector<std::byte> bytes = builder.build();
  auto file = GgufFile::from_memory(bytes);
  if (!file.ok()) return "not GGUF: " + file.error().text();
  ThreadPool pool(1);
  auto model = Model::load(file.value(), {}, pool);
  return model.ok() ? "" : model.error().text();
}

ModelConfig config_of(const GgufBuilder& builder) {
  const std::vector<std::byte> bytes = builder.build();
  auto file = GgufFile::from_memory(bytes);
  return ModelConfig::from_gguf(file.value()).value();
}

// Goal: the keys of a plain file and the defaults of absent ones.
TEST(ModelConfig, ReadsKeysAndDefaults) {
  const ModelConfig c = config_of(tiny_model());
  EXPECT_EQ(c.architecture, "llama");
  EXPECT_EQ(c.n_layers, 2);
  EXPECT_EQ(c.d_model, 16);
  EXPECT_EQ(c.d_ff, 24);
  EXPECT_EQ(c.n_heads, 4);
  EXPECT_EQ(c.n_kv_heads, 2);
  EXPECT_EQ(c.d_head, 4);
  EXPECT_EQ(c.n_vocab, 40);
  EXPECT_EQ(c.n_ctx_train, 4096);
  EXPECT_EQ(c.rope_dims, 4);
  EXPECT_EQ(c.rope_theta, 10000.0f);
  EXPECT_EQ(c.rope_style, RopeStyle::kInterleaved);
  EXPECT_EQ(c.rope_scaling, RopeScaling::kNone);
  EXPECT_FALSE(c.tied_head);
  EXPECT_FALSE(c.qk_norm);
}

// Goal: what the architecture's name decides, and a tied head.
TEST(ModelConfig, KnowsTheArchitectures) {
  GgufBuilder qwen3 = tiny_model("qwen3");
  qwen3.tensors.erase("output.weight");
  const ModelConfig c = config_of(qwen3);
  EXPECT_EQ(c.rope_style, RopeStyle::kHalfSplit);
  EXPECT_TRUE(c.qk_norm);
  EXPECT_TRUE(c.tied_head);
  EXPECT_EQ(load_error(qwen3), "");
  EXPECT_EQ(load_error(tiny_model("qwen2")), "");
}

// Goal: per-layer arrays of equal values count as one value; head_count_kv defaults to head_count.
TEST(ModelConfig, AcceptsUniformArraysAndDefaults) {
  GgufBuilder b = tiny_model();
  b.keys["llama.attention.head_count_kv"] = std::vector<int32_t>{2, 2};
  EXPECT_EQ(config_of(b).n_kv_heads, 2);
  b.keys.erase("llama.attention.head_count_kv");
  EXPECT_EQ(config_of(b).n_kv_heads, 4);
}

// Goal: the rope scalings as files write them, the old linear key included.
TEST(ModelConfig, ReadsRopeScaling) {
  GgufBuilder b = tiny_model();
  b.keys["llama.rope.scale_linear"] = 4.0f;
  EXPECT_EQ(config_of(b).rope_scaling, RopeScaling::kLinear);
  EXPECT_EQ(config_of(b).rope_factor, 4.0f);
  b.keys.erase("llama.rope.scale_linear");
  b.tensors["rope_freqs.weight"] = {{2}, {1, 8}};
  EXPECT_EQ(config_of(b).rope_scaling, RopeScaling::kLlama3);
  b.keys["llama.rope.scaling.type"] = "yarn";
  b.keys["llama.rope.scaling.factor"] = 4.0f;
  b.keys["llama.rope.scaling.original_context_length"] = 1024u;
  EXPECT_EQ(config_of(b).rope_scaling, RopeScaling::kYarn);
  EXPECT_EQ(config_of(b).rope_original_context, 1024);
}

// Goal: YaRN's blend and magnitude on a published model's numbers (R1-0528-Qwen3-8B: pairs up to 23
// keep their frequency, pairs from 40 on are divided by 4).
TEST(RopeTable, YarnOfQwen3) {
  ModelConfig c;
  c.rope_dims = 128;
  c.rope_theta = 1e6f;
  c.rope_factor = 4;
  c.rope_original_context = 32768;
  c.rope_scaling = RopeScaling::kYarn;
  c.rope_style = RopeStyle::kHalfSplit;
  const RopeTable table = make_rope_table(c, {});
  ASSERT_EQ(table.frequency.size(), 64u);
  auto plain = [](int i) { return std::pow(1e6, -2.0 * i / 128); };
  EXPECT_FLOAT_EQ(table.frequency[23], static_cast<float>(plain(23)));
  EXPECT_LT(table.frequency[24], plain(24) * 0.99);
  EXPECT_GT(table.frequency[39], plain(39) / 4 * 1.01);
  EXPECT_FLOAT_EQ(table.frequency[40], static_cast<float>(plain(40) / 4));
  EXPECT_NEAR(yarn_magnitude(4, 1), 1.138629, 1e-6);

  GgufBuilder b = tiny_model();
  b.keys["llama.rope.scaling.type"] = std::string("yarn");
  b.keys["llama.rope.scaling.factor"] = 4.0f;
  EXPECT_NEAR(config_of(b).rope_magnitude, 1.138629, 1e-6);
  b.keys["llama.rope.scaling.attn_factor"] = 0.8782488562869419f;
  EXPECT_NEAR(config_of(b).rope_magnitude, 1.0, 1e-6);
}

struct BadFile {
  const char* name;
  std::function<void(GgufBuilder&)> spoil;
  std::vector<std::string> expected;  ///< all must be in the message
};

std::function<void(GgufBuilder&)> key(const char* name, testing_model::KeyValue value) {
  return [=](GgufBuilder& b) { b.keys[name] = value; };
}

// Goal: R-GGUF-5 and its neighbours: every bad number is an error naming key and value.
TEST(ModelConfig, NamesBadKeys) {
  const std::vector<BadFile> cases = {
      {"no arch", [](auto& b) { b.keys.erase("general.architecture"); }, {"general.architecture"}},
      {"unknown arch", key("general.architecture", "mamba"), {"mamba", "llama, qwen2, qwen3"}},
      {"arch type", key("general.architecture", 3u), {"general.architecture"}},
      {"0 layers", key("llama.block_count", 0u), {"llama.block_count is 0", "1 to 512"}},
      {"513 layers", key("llama.block_count", 513u), {"llama.block_count is 513"}},
      {"2^32-1 layers", key("llama.block_count", 4294967295u), {"llama.block_count is 4294967295"}},
      {"2^63 layers", key("llama.block_count", uint64_t{1} << 63), {"llama.block_count"}},
      {"no layers",
       [](auto& b) { b.keys.erase("llama.block_count"); },
       {"llama.block_count is missing"}},
      {"layers text", key("llama.block_count", "two"), {"llama.block_count"}},
      {"context 0", key("llama.context_length", 0u), {"llama.context_length is 0"}},
      {"context 2^32-1",
       key("llama.context_length", 4294967295u),
       {"llama.context_length is 4294967295"}},
      {"d 0", key("llama.embedding_length", 0u), {"llama.embedding_length is 0"}},
      {"ff 0", key("llama.feed_forward_length", 0u), {"llama.feed_forward_length is 0"}},
      {"ff differs",
       key("llama.feed_forward_length", std::vector<int32_t>{24, 32}),
       {"llama.feed_forward_length differs between layers (24 and 32)"}},
      {"ff empty", key("llama.feed_forward_length", std::vector<int32_t>{}), {"empty array"}},
      {"heads 0", key("llama.attention.head_count", 0u), {"llama.attention.head_count is 0"}},
      {"heads 2^20",
       key("llama.attention.head_count", 1048576u),
       {"llama.attention.head_count is 1048576"}},
      {"kv heads 0",
       key("llama.attention.head_count_kv", 0u),
       {"llama.attention.head_count_kv is 0"}},
      {"kv heads 3",
       key("llama.attention.head_count_kv", 3u),
       {"llama.attention.head_count_kv is 3", "(4)"}},
      {"d % heads", key("llama.embedding_length", 18u), {"llama.embedding_length is 18"}},
      {"odd d_head",
       key("llama.attention.key_length", 3u),
       {"llama.attention.key_length", "3 wide"}},
      {"value width",
       key("llama.attention.value_length", 8u),
       {"llama.attention.value_length is 8"}},
      {"rope dims",
       key("llama.rope.dimension_count", 6u),
       {"llama.rope.dimension_count is 6", "2 to 4"}},
      {"odd rope dims", key("llama.rope.dimension_count", 3u), {"llama.rope.dimension_count is 3"}},
      {"rope dims 0", key("llama.rope.dimension_count", 0u), {"llama.rope.dimension_count is 0"}},
      {"NaN eps", key("llama.attention.layer_norm_rms_epsilon", NAN), {"rms_epsilon is nan"}},
      {"inf eps", key("llama.attention.layer_norm_rms_epsilon", INFINITY), {"rms_epsilon is inf"}},
      {"eps 0", key("llama.attention.layer_norm_rms_epsilon", 0.0f), {"rms_epsilon is 0"}},
      {"no eps",
       [](auto& b) { b.keys.erase("llama.attention.layer_norm_rms_epsilon"); },
       {"rms_epsilon is missing"}},
      {"theta", key("llama.rope.freq_base", -1.0f), {"llama.rope.freq_base is -1"}},
      {"factor", key("llama.rope.scaling.factor", 0.0f), {"llama.rope.scaling.factor is 0"}},
      {"scaling",
       key("llama.rope.scaling.type", "longrope"),
       {"llama.rope.scaling.type is \"longrope\""}},
      {"experts", key("llama.expert_count", 8u), {"llama.expert_count is 8"}},
      {"window",
       key("llama.attention.sliding_window", 16u),
       {"llama.attention.sliding_window is 16"}},
      {"vocab",
       key("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"}),
       {"tokenizer.ggml.tokens has 2", "40 rows"}},
      {"vocab size", key("llama.vocab_size", 41u), {"llama.vocab_size is 41", "40 rows"}},
  };
  for (const BadFile& bad : cases) {
    GgufBuilder b = tiny_model();
    bad.spoil(b);
    const std::string message = load_error(b);
    for (const std::string& part : bad.expected) {
      EXPECT_NE(message.find(part), std::string::npos) << bad.name << ": " << message;
    }
  }
}

// Goal: tensors that are missing, have another shape or hold no weights are named.
TEST(ModelWeights, NamesBadTensors) {
  auto without = [](const char* name) { return [=](GgufBuilder& b) { b.tensors.erase(name); }; };
  const std::vector<BadFile> cases = {
      {"embedding", without("token_embd.weight"), {"token_embd.weight is missing"}},
      {"norm", without("output_norm.weight"), {"output_norm.weight is missing"}},
      {"layer", without("blk.1.ffn_up.weight"), {"blk.1.ffn_up.weight is missing"}},
      {"shape",
       [](auto& b) {
         b.tensors["blk.0.attn_k.weight"].ne = {8, 16};
       },
       {"blk.0.attn_k.weight has shape {8, 16}, expected {16, 8}"}},
      {"3-D",
       [](auto& b) {
         b.tensors["blk.0.attn_q.weight"].ne = {16, 8, 2};
       },
       {"blk.0.attn_q.weight has shape {16, 8, 2}, expected {16, 16}"}},
      {"1-D",
       [](auto& b) {
         b.tensors["blk.0.attn_norm.weight"].ne = {4, 4};
       },
       {"blk.0.attn_norm.weight has shape {4, 4}, expected {16}"}},
      {"bias",
       [](auto& b) {
         b.tensors["blk.0.attn_q.bias"] = {{8}, std::vector<float>(8)};
       },
       {"blk.0.attn_q.bias has shape {8}, expected {16}"}},
      {"integers",
       [](auto& b) { b.tensors["blk.0.ffn_down.weight"].type = 26; },
       {"blk.0.ffn_down.weight"}},
      {"head",
       [](auto& b) {
         b.tensors["output.weight"].ne = {40, 16};
       },
       {"output.weight has shape {40, 16}"}},
      {"freqs shape",
       [](auto& b) {
         b.tensors["rope_freqs.weight"] = {{3}, {1, 1, 1}};
       },
       {"rope_freqs.weight has shape {3}, expected {2}"}},
      {"freqs 0",
       [](auto& b) {
         b.tensors["rope_freqs.weight"] = {{2}, {1, 0}};
       },
       {"rope_freqs.weight holds 0"}},
      {"freqs NaN",
       [](auto& b) {
         b.tensors["rope_freqs.weight"] = {{2}, {NAN, 1}};
       },
       {"rope_freqs.weight holds nan"}},
      {"deeper than its tensors",
       key("llama.block_count", 3u),
       {"blk.2.attn_norm.weight is missing"}},
  };
  for (const BadFile& bad : cases) {
    GgufBuilder b = tiny_model();
    bad.spoil(b);
    const std::string message = load_error(b);
    for (const std::string& part : bad.expected) {
      EXPECT_NE(message.find(part), std::string::npos) << bad.name << ": " << message;
    }
  }
  GgufBuilder qwen3 = tiny_model("qwen3");
  qwen3.tensors.erase("blk.0.attn_q_norm.weight");
  EXPECT_NE(load_error(qwen3).find("blk.0.attn_q_norm.weight is missing"), std::string::npos);
}

}  // namespace
}  // namespace hadal
