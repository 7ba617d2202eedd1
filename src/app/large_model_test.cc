#include "app/large_model.h"

#include <gtest/gtest.h>

#include "kernels/testing/scoped_isa.h"

namespace hadal {
namespace {

// Goal: the setting counts as it is; without it something is kept for the rest of the program; what
// is no size is refused by its name.
TEST(LargeModel, WeightMemory) {
  Settings settings;
  settings.memory = "3 GiB";
  EXPECT_EQ(weight_memory(settings).value().comfortable, uint64_t{3} << 30);
  settings.memory = "plenty";
  const auto refused = weight_memory(settings);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("HADAL_MEMORY is 'plenty'"), std::string::npos);
  settings.memory.clear();
  const WeightMemory usual = weight_memory(settings).value();
  EXPECT_LT(usual.comfortable, usual.most);
}

// Goal: what a model is estimated to take is what its parts take, but for what is derived from
// other tensors or packed a second time in another form (attn_kv_b), which is small.
TEST(LargeModel, PackedBytes) {
  if (current_isa() == Isa::kReference) GTEST_SKIP() << kNothingPacked;
  const std::filesystem::path nano = std::string(HADAL_SOURCE_DIR) + "/src/app/nano/nano.gguf";
  const GgufFile file = GgufFile::open(nano).value();
  ThreadPool pool(1);
  uint64_t bytes = 0;
  const auto parts = Model::unpacked_parts(file, pool).value();
  for (const UnpackedPart& part : parts) bytes += part.packed_bytes;
  EXPECT_NEAR(static_cast<double>(packed_bytes_of(file)), static_cast<double>(bytes),
              0.1 * static_cast<double>(bytes));
}

}  // namespace
}  // namespace hadal
