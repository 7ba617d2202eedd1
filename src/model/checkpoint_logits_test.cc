/// Checkpoints as model hubs publish them against GGUF files of the same weights, and against
/// transformers. tools/make_tiny_checkpoints.py wrote them.
#include <algorithm>
#include <cmath>
#include <string>

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

const std::string kGolden = std::string(HADAL_SOURCE_DIR) + "/tests/golden/";

std::vector<float> logits_of(const std::string& path, const std::vector<TokenId>& tokens) {
  auto file = GgufFile::open(path);
  EXPECT_TRUE(file.ok()) << (file.ok() ? "" : file.error().text());
  if (!file.ok()) return {};
  LoadedModel m = load_from(std::move(file).value(), 2,
                            {.kv_type = KvType::kF32,
                             .latent_form = LatentForm::kAbsorbed,
                             .activations = Activations::kInt16});
  const auto n = static_cast<int64_t>(tokens.size());
  return Runner(*m.model, 1, n, KvType::kF32).append({{0, tokens}});
}

// Goal: a directory written by transformers gives the logits of the GGUF file with the same weights
// (which differ in the order of sums at most) and those of transformers, for every way that a
// config says a thing: tied heads, biases, llama3, linear and YaRN rope, shards, 16-bit types.
// DeepSeek V1, which transformers does not have, beside the numpy twin.
TEST(CheckpointLogits, EqualTheGgufFiles) {
  for (const char* name : {"llama_gqa_tied", "llama_rope_freqs", "llama_linear_bias", "llama_f16",
                           "qwen2_bias", "qwen3_yarn", "qwen3_bf16", "deepseek_v1_bf16",
                           "deepseek_v2_lite", "deepseek_v2", "deepseek_v3", "deepseek_v32"}) {
    const std::string tiny = kGolden + "tiny/" + name;
    const Reference reference = read_reference(tiny + ".ref");
    const auto directory = logits_of(kGolden + "checkpoints/" + name, reference.tokens);
    const auto file = logits_of(tiny + ".gguf", reference.tokens);
    std::printf("%-20s of GGUF %.1e, of transformers %.1e\n", name,
                largest_difference(directory, file),
                largest_difference(directory, reference.logits));
    EXPECT_LE(largest_difference(directory, file), 5e-5) << name;
    EXPECT_LE(largest_difference(directory, reference.logits), 1e-4) << name;
  }
}

// Goal: FP8 weights under F32 and UE8M0 scales, with partial blocks, give the logits of
// transformers on the decoded weights, on every instruction set.
TEST(CheckpointLogits, Fp8MatchesDecodedWeights) {
  for (const char* name : {"llama_fp8", "llama_fp8_ue8m0", "deepseek_v3_fp8"}) {
    const std::string path = kGolden + "checkpoints/" + name;
    const Reference reference = read_reference(path + "/logits.ref");
    on_each_isa([&] {
      const double difference =
          largest_difference(logits_of(path, reference.tokens), reference.logits);
      std::printf("%-20s %-10s %.1e\n", name, std::string(isa_name(current_isa())).c_str(),
                  difference);
      EXPECT_LE(difference, 2e-4) << name;
    });
  }
}

// Goal: DeepSeek V4 in its published names and types (FP4 experts, FP8 with UE8M0 scales, BF16, a
// table of int64) gives the logits of the float64 oracle on the decoded values; what remains is the
// rounding of the experts' activations to 16 bits.
TEST(CheckpointLogits, V4AsPublished) {
  const std::string path = kGolden + "checkpoints/deepseek_v4";
  const Reference reference = read_reference(path + "/logits.ref");
  on_each_isa([&] {
    const double difference =
        largest_difference(logits_of(path, reference.tokens), reference.logits);
    std::printf("deepseek_v4          %-10s %.1e\n", std::string(isa_name(current_isa())).c_str(),
                difference);
    EXPECT_LE(difference, 3e-3);
  });
}

}  // namespace
}  // namespace hadal
