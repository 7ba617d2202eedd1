#include "net/unique_function.h"

#include <array>
#include <memory>

#include <gtest/gtest.h>

namespace hadal {
namespace {

/// Counts what lives.
struct Counted {
  explicit Counted(int& living) : living_(&living) { ++*living_; }
  Counted(Counted&& other) noexcept : living_(other.living_) { ++*living_; }
  Counted(const Counted& other) : living_(other.living_) { ++*living_; }
  ~Counted() { --*living_; }
  Counted& operator=(const Counted&) = delete;
  int* living_;
};

template <size_t kBytes>
void try_size() {
  int living = 0;
  {
    auto number = std::make_unique<int>(40);
    UniqueFunction<int(int)> first = [number = std::move(number), counted = Counted(living),
                                      padding = std::array<char, kBytes>{}](int more) {
      return *number + more + padding[0];
    };
    EXPECT_EQ(living, 1);
    EXPECT_EQ(first(2), 42);
    UniqueFunction<int(int)> second = std::move(first);
    EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): what is left of it
    EXPECT_EQ(second(3), 43);
    first = [](int more) { return more; };
    first = std::move(second);
    EXPECT_EQ(first(4), 44);
    EXPECT_EQ(living, 1);
    first = {};
    EXPECT_EQ(living, 0);
  }
  EXPECT_EQ(living, 0);
}

// Goal: what is captured moves along and is destroyed once, inside the object and outside of it.
TEST(UniqueFunction, OwnsWhatItCaptured) {
  try_size<1>();
  try_size<40>();
  try_size<41>();
  try_size<1000>();
}

// Goal: arguments that can only be moved get through, and results.
TEST(UniqueFunction, HandsArgumentsOn) {
  UniqueFunction<std::unique_ptr<int>(std::unique_ptr<int>, int&)> add =
      [](std::unique_ptr<int> number, int& more) {
        *number += more++;
        return number;
      };
  int more = 2;
  EXPECT_EQ(*add(std::make_unique<int>(40), more), 42);
  EXPECT_EQ(more, 3);
}

}  // namespace
}  // namespace hadal
