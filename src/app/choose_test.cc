// Goal: the default model is the largest DeepSeek distill that fits and is readable, and only when
// a hub that has it answers.
#include "app/choose.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

constexpr uint64_t kGb = 1'000'000'000;

std::string_view chosen(const MachineFacts& facts) {
  return choose_model(facts).entry->name;
}

TEST(ChooseModel, StarterWithoutHub) {
  EXPECT_EQ(chosen({.memory_available = 512 * kGb, .read_gbps = 1000}), kStarterModel);
}

TEST(ChooseModel, LargestThatTheMachineCarries) {
  EXPECT_EQ(chosen({.memory_available = 512 * kGb, .read_gbps = 1000, .hugging_face = true}),
            "deepseek-r1-distill-llama-70b");
  EXPECT_EQ(chosen({.memory_available = 512 * kGb, .read_gbps = 1000, .model_scope = true}),
            "deepseek-r1-distill-llama-70b");
}

TEST(ChooseModel, BandwidthBoundsTheSize) {
  // 8 tokens/s of a 4.68 GB file need 37.4 GB/s; of a 1.12 GB file 9 GB/s.
  const uint64_t memory = 64 * kGb;
  EXPECT_EQ(chosen({.memory_available = memory, .read_gbps = 38, .hugging_face = true}),
            "deepseek-r1-distill-qwen-7b");
  EXPECT_EQ(chosen({.memory_available = memory, .read_gbps = 37, .hugging_face = true}),
            "deepseek-r1-distill-qwen-1.5b");
  EXPECT_EQ(chosen({.memory_available = memory, .read_gbps = 8.9, .hugging_face = true}),
            kStarterModel);
}

TEST(ChooseModel, MemoryBoundsTheSize) {
  const CatalogueEntry* small = find_in_catalogue("deepseek-r1-distill-qwen-1.5b");
  ASSERT_NE(small, nullptr);
  const uint64_t just = small->memory_bytes() * 10 / 9 + 10;
  EXPECT_EQ(chosen({.memory_available = just, .read_gbps = 100, .hugging_face = true}),
            small->name);
  EXPECT_EQ(chosen({.memory_available = just - kGb / 100, .read_gbps = 100, .hugging_face = true}),
            kStarterModel);
}

TEST(ChooseModel, DiskBoundsTheSize) {
  EXPECT_EQ(chosen({.memory_available = 512 * kGb,
                    .read_gbps = 1000,
                    .disk_available = 6 * kGb,
                    .hugging_face = true}),
            "deepseek-r1-0528-qwen3-8b");
}

TEST(Catalogue, EntriesAreWhole) {
  uint64_t parameters = 0;
  for (const CatalogueEntry& entry : catalogue()) {
    EXPECT_GE(entry.parameters, parameters) << entry.name << " is out of order";
    parameters = entry.parameters;
    EXPECT_FALSE(entry.sources.empty()) << entry.name;
    EXPECT_FALSE(entry.licence.empty()) << entry.name;
    EXPECT_TRUE(entry.sha256.empty() || entry.sha256.size() == 64) << entry.name;
    EXPECT_EQ(find_in_catalogue(entry.name), &entry);
    for (const CatalogueSource& source : entry.sources) {
      EXPECT_TRUE(source.file.ends_with(".gguf")) << source.file;
      // A package's file has no digest of its own: it must be recorded here.
      if (source.kind == CatalogueSource::Kind::kPyPi) {
        EXPECT_EQ(entry.sha256.size(), 64u);
      }
    }
  }
  EXPECT_EQ(find_in_catalogue("no-such-model"), nullptr);
}

}  // namespace
}  // namespace hadal
