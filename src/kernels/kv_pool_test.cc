// Goal: a page is one piece of memory that holds its keys and values of all layers and nothing of
// another page.
#include "kernels/kv_pool.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

TEST(KvPool, APageIsOnePieceOverAllLayers) {
  for (const KvType type : kKvTypes) {
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

// Goal: a latent layout stores keys alone, and what a model keeps beside them belongs to its page.
TEST(KvPool, LatentPagesHaveNoValuesAndRoomForMore) {
  const KvLayout layout{.n_layers = 2,
                        .n_kv_heads = 1,
                        .d_head = 36,
                        .type = KvType::kF16,
                        .values_in_keys = true,
                        .extra_bytes = 12};
  KvPool pool(layout, 32, 3);
  EXPECT_EQ(layout.bytes_per_token(), 2u * 64 * 2 + 12);
  for (PageId page = 0; page < 3; ++page) {
    const std::span<std::byte> bytes = pool.page_bytes(page);
    EXPECT_EQ(bytes.size(), layout.bytes_per_token() * 32);
    EXPECT_EQ(pool.extra(page) + 32 * layout.extra_bytes, bytes.data() + bytes.size());
    EXPECT_EQ(pool.keys(1, page, 0) + 2 * layout.key_block_bytes(), pool.extra(page));
  }
}

}  // namespace
}  // namespace hadal
