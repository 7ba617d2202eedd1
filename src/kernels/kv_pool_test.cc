// Goal: a page is one piece of memory that holds its keys and values of all layers and nothing of
// another page.
#include "kernels/kv_pool.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

TEST(KvPool, APageIsOnePieceOverAllLayers) {
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kQ8_0}) {
    const KvLayout layout{.n_layers = 3, .n_kv_heads = 2, .d_head = 40, .type = type};
    KvPool pool(layout, 32, 4);
    const int64_t blocks = pool.page_tokens() / kKvBlock;
    for (PageId page = 0; page < 4; ++page) {
      const std::span<std::byte> bytes = pool.page_bytes(page);
      EXPECT_EQ(bytes.size(), layout.bytes_per_token() * 32);
      if (page > 0) {
        EXPECT_EQ(bytes.data(), pool.page_bytes(page - 1).data() + bytes.size());
      }
      for (int64_t layer = 0; layer < 3; ++layer) {
        for (int64_t head = 0; head < 2; ++head) {
          const std::byte* keys = pool.keys(layer, page, head);
          const std::byte* values = pool.values(layer, page, head);
          EXPECT_GE(keys, bytes.data());
          EXPECT_LE(keys + blocks * layout.key_block_bytes(), bytes.data() + bytes.size());
          EXPECT_GE(values, bytes.data());
          EXPECT_LE(values + blocks * layout.value_block_bytes(), bytes.data() + bytes.size());
        }
      }
    }
  }
}

}  // namespace
}  // namespace hadal
