#include "base/big_memory.h"

#include <utility>

#include <gtest/gtest.h>

namespace hadal {
namespace {

// Goal: blocks of any size are zero, aligned (to a huge page from 2 MiB on), writable to the last
// byte, and survive a move; growing gives at least the bytes asked for.
TEST(BigMemory, ZeroAlignedMovable) {
  for (const int64_t bytes : {1, 4096, 5000, 2 << 20, (2 << 20) + 1, 7 << 20}) {
    BigMemory memory(bytes);
    ASSERT_GE(memory.size(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % (bytes >= 2 << 20 ? 2 << 20 : 64), 0U);
    EXPECT_EQ(memory.data()[0] | memory.data()[bytes - 1], 0);
    memory.data()[memory.size() - 1] = 7;
    const BigMemory moved = std::move(memory);
    EXPECT_EQ(moved.data()[moved.size() - 1], 7);
  }
}

// Goal: a block grows on demand and keeps its place while it is large enough.
TEST(BigMemory, Grows) {
  BigMemory memory;
  EXPECT_EQ(memory.data(), nullptr);
  uint8_t* first = memory.reserve(100);
  EXPECT_EQ(memory.reserve(50), first);
  memory.reserve(5 << 20)[(5 << 20) - 1] = 1;
  EXPECT_GE(memory.size(), 5 << 20);
}

}  // namespace
}  // namespace hadal
