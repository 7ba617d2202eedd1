#include "model/deepseek4/indexer.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace hadal::deepseek4 {
namespace {

// Goal: the largest scores win, the result rises, of equal scores the lower index wins, and NaN
// ranks below all else.
TEST(Indexer, BestIndices) {
  const std::vector<float> scores = {0, 3, -1, 3, 0, 5, NAN, 0, -INFINITY};
  EXPECT_EQ(best_indices(scores, 1), (std::vector<int32_t>{5}));
  EXPECT_EQ(best_indices(scores, 2), (std::vector<int32_t>{1, 5}));
  EXPECT_EQ(best_indices(scores, 3), (std::vector<int32_t>{1, 3, 5}));
  EXPECT_EQ(best_indices(scores, 5), (std::vector<int32_t>{0, 1, 3, 4, 5}));
  EXPECT_EQ(best_indices(scores, 7), (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 7}));
  EXPECT_EQ(best_indices(scores, 9).size(), 9u);
  EXPECT_EQ(best_indices({}, 4).size(), 0u);
}

// Goal: zeros of either sign are equal: relu leaves many, and their order must not depend on it.
TEST(Indexer, SignedZerosAreEqual) {
  const std::vector<float> scores = {-0.0f, 0.0f, -0.0f, 0.0f};
  EXPECT_EQ(best_indices(scores, 2), (std::vector<int32_t>{0, 1}));
}

}  // namespace
}  // namespace hadal::deepseek4
