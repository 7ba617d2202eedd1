/// The models that fuzz/model_fuzz.cc starts from; tools/make_fuzz_models.py wrote them.
#include <filesystem>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "model/test_model.h"

namespace hadal {
namespace {

// Goal: every seed of a DeepSeek architecture is a model that loads and computes, with its
// prediction layer where its name says so. One that is refused would leave its code unreached.
TEST(FuzzSeeds, AllDeepSeekModelsCompute) {
  std::map<std::string, int> seen;
  const std::string directory = std::string(HADAL_SOURCE_DIR) + "/fuzz/corpus/model";
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().stem().string();
    if (!name.starts_with("deepseek")) continue;
    const auto file = GgufFile::open(entry.path());
    ASSERT_TRUE(file.ok()) << name << ": " << file.error().text();
    ThreadPool pool(1);
    const auto model = Model::load(file.value(), {.predict = true}, pool);
    ASSERT_TRUE(model.ok()) << name << ": " << model.error().text();
    EXPECT_EQ(model.value()->predicts(), name.ends_with("_mtp")) << name;
    KvPool kv(model.value()->kv_layout(), 16, 1);
    const std::vector<PageId> pages = {0};
    const Batch batch{{{0, 0, 0, false}, {1, 1, 0, true}}, {{pages}}};
    std::vector<float> logits(static_cast<size_t>(model.value()->n_vocab()));
    EXPECT_TRUE(model.value()->forward(batch, kv, logits).ok()) << name;
    ++seen[name.substr(0, name.find('_'))];
  }
  EXPECT_EQ(seen, (std::map<std::string, int>{
                      {"deepseek", 1}, {"deepseek2", 4}, {"deepseek32", 2}, {"deepseek4", 3}}));
}

}  // namespace
}  // namespace hadal
