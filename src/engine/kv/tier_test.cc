#include "engine/kv/tier.h"

#include <cstring>
#include <vector>

#include <gtest/gtest.h>

namespace hadal {
namespace {

/// The parent whose bytes are 0, 1, ..., 15.
constexpr PageKey kCountingKey = {.high = 0x0f0e0d0c0b0a0908, .low = 0x0706050403020100};

std::vector<TokenId> counting_tokens(size_t bytes) {
  std::vector<TokenId> tokens(bytes / sizeof(TokenId));
  auto* at = reinterpret_cast<unsigned char*>(tokens.data());
  for (size_t i = 0; i < bytes; ++i) at[i] = static_cast<unsigned char>(i);
  return tokens;
}

// Goal: keys are SipHash-2-4-128 as another implementation (OpenSSL's) computes it.
TEST(PageKey, IsSipHash) {
  EXPECT_EQ(next_key(kCountingKey, {}),
            (PageKey{.high = 0x930255c71472f66d, .low = 0xe6a825ba047f81a3}));
  EXPECT_EQ(next_key(kCountingKey, counting_tokens(8)),
            (PageKey{.high = 0xb49714f364e2830f, .low = 0x61f55862baa9623b}));
  EXPECT_EQ(next_key(kCountingKey, counting_tokens(256)),
            (PageKey{.high = 0xcb9a575f7beeea12, .low = 0x464c83d30403a067}));
}

// Goal: model, tenant, tokens and what came before each change the key; the border between model
// and tenant counts too.
TEST(PageKey, DependsOnEverythingBefore) {
  const std::vector<TokenId> tokens = {1, 2, 3};
  const std::vector<TokenId> others = {1, 2, 4};
  const PageKey root = root_key("model", "tenant");
  EXPECT_EQ(root, root_key("model", "tenant"));
  EXPECT_FALSE(root == root_key("mode", "ltenant"));
  EXPECT_FALSE(root == root_key("model", ""));
  EXPECT_FALSE(next_key(root, tokens) == next_key(root, others));
  EXPECT_FALSE(next_key(next_key(root, tokens), others) ==
               next_key(next_key(root, others), tokens));
}

}  // namespace
}  // namespace hadal
