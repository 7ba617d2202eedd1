// Goal: the step budget is shared fairly.
#include "engine/schedule/scheduler.h"

#include <numeric>

namespace hadal {
namespace {

std::vector<int64_t> share(const std::vector<int64_t>& pending, int64_t budget) {
  std::vector<int64_t> shares;
  share_budget(pending, budget, shares);
  return shares;
}

TEST(ShareBudget, EqualSharesThenTheOldest) {
  using V = std::vector<int64_t>;
  EXPECT_EQ(share({}, 8), V{});
  EXPECT_EQ(share({5}, 8), V{5});
  EXPECT_EQ(share({100}, 8), V{8});
  EXPECT_EQ(share({100, 100}, 8), (V{4, 4}));
  EXPECT_EQ(share({100, 100, 100}, 8), (V{4, 2, 2}));  // 2 each, the rest to the oldest
  EXPECT_EQ(share({100, 1}, 8), (V{7, 1}));            // a short prompt does not wait
  EXPECT_EQ(share({1, 100, 100}, 9), (V{1, 5, 3}));
  EXPECT_EQ(share({100, 100, 100}, 2), (V{2, 0, 0}));
  EXPECT_EQ(share({3, 4}, 0), (V{0, 0}));
}

TEST(ShareBudget, NeverMoreThanAskedAndNothingWasted) {
  for (int64_t budget = 0; budget < 40; ++budget) {
    for (int64_t a = 0; a < 12; a += 3) {
      const std::vector<int64_t> pending = {a + 1, 17 - a, 5, 2 * a + 1};
      const std::vector<int64_t> shares = share(pending, budget);
      for (size_t i = 0; i < pending.size(); ++i) EXPECT_LE(shares[i], pending[i]);
      const int64_t wanted = std::accumulate(pending.begin(), pending.end(), int64_t{0});
      EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), int64_t{0}),
                std::min(budget, wanted));
    }
  }
}

}  // namespace
}  // namespace hadal
