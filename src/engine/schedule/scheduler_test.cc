// Goal: the step budget is shared fairly and slots are never lost or given twice.
#include "engine/schedule/scheduler.h"

#include <numeric>

namespace hadal {
namespace {

std::vector<int64_t> share(const std::vector<int64_t>& pending, int64_t budget) {
  return share_budget(pending, budget);
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

TEST(SlotTable, GivesEachSlotOnceAndTakesItBack) {
  SlotTable slots(3);
  slots.check_integrity();
  const int a = slots.acquire(11).value();
  const int b = slots.acquire(12).value();
  const int c = slots.acquire(13).value();
  EXPECT_FALSE(slots.acquire(14).has_value());
  EXPECT_EQ(slots.used_count(), 3);
  EXPECT_NE(slots.sequence(a).pages[0], slots.sequence(b).pages[0]);
  EXPECT_NE(slots.sequence(b).pages[0], slots.sequence(c).pages[0]);
  slots.check_integrity();
  slots.release(b, 12);
  EXPECT_EQ(slots.free_count(), 1);
  slots.check_integrity();
  EXPECT_EQ(slots.acquire(15).value(), b);
  slots.check_integrity();
}

TEST(SlotTableDeathTest, ReleasingAnothersSlotStops) {
  SlotTable slots(2);
  const int a = slots.acquire(1).value();
  EXPECT_DEATH(slots.release(a, 2), "owner");
  slots.release(a, 1);
  EXPECT_DEATH(slots.release(a, 1), "owner");
}

}  // namespace
}  // namespace hadal
