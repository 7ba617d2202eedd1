// Goal: the queue gives everyone a turn: urgent ones first, tenants alike, nobody never.
#include "engine/schedule/queue.h"

#include <algorithm>
#include <string>

#include "engine/testing/harness.h"

namespace hadal {
namespace {

using testing::make_prompt;
using testing::Received;
using testing::RecordingSink;

constexpr int64_t kSecond = 1'000'000;

/// A queue on a clock of its own whose requests have names: the ids 1, 2, ...
class Queue {
 public:
  explicit Queue(EngineOptions options = {.max_queue = 64, .max_queue_micros = 0}) : q(options) {}

  RequestId push(const std::string& tenant, Priority priority = Priority::kNormal,
                 int64_t tokens = 100, int64_t max_queue_micros = 0) {
    GenerateRequest request;
    request.prompt = make_prompt(1, 1);
    request.tenant = tenant;
    request.priority = priority;
    request.max_queue_micros = max_queue_micros;
    const RequestId id = ++last_;
    q.push(std::make_unique<Row>(id, std::move(request), std::make_unique<RecordingSink>(received_),
                                 0, tokens - 1, now),
           now);
    q.check_integrity();
    return id;
  }
  /// 0: nobody waits.
  RequestId pop() {
    const std::unique_ptr<Row> row = q.pop(now);
    q.check_integrity();
    return row == nullptr ? 0 : row->id;
  }
  std::vector<RequestId> pop_all() {
    std::vector<RequestId> out;
    while (const RequestId id = pop()) out.push_back(id);
    return out;
  }

  WaitQueue q;
  int64_t now = kSecond;

 private:
  Received received_;
  RequestId last_ = 0;
};

using Ids = std::vector<RequestId>;

TEST(WaitQueue, UrgentClassesFirstAndTheOldestAmongEquals) {
  Queue queue;
  const RequestId batch = queue.push("", Priority::kBatch);
  const RequestId normal = queue.push("", Priority::kNormal);
  const RequestId normal2 = queue.push("", Priority::kNormal);
  const RequestId interactive = queue.push("", Priority::kInteractive);
  EXPECT_EQ(queue.q.size_by_class(), (std::array<int, 3>{1, 2, 1}));
  EXPECT_EQ(queue.pop_all(), (Ids{interactive, normal, normal2, batch}));
  EXPECT_EQ(queue.q.size_by_class(), (std::array<int, 3>{}));
}

TEST(WaitQueue, WaitingRequestsRiseAClassPerAge) {
  Queue queue({.max_queue = 64, .max_queue_micros = 0, .age_micros = 10 * kSecond});
  const RequestId batch = queue.push("", Priority::kBatch);
  queue.now += 9 * kSecond;
  const RequestId normal = queue.push("", Priority::kNormal);
  EXPECT_EQ(queue.pop(), normal);
  queue.now += 2 * kSecond;  // batch has risen to normal, and is older
  const RequestId normal2 = queue.push("", Priority::kNormal);
  const RequestId interactive = queue.push("", Priority::kInteractive);
  EXPECT_EQ(queue.pop_all(), (Ids{interactive, batch, normal2}));
}

TEST(WaitQueue, OverdueRequestsGetEveryFourthPlaceAgainstAFlood) {
  // A stream of new tenants, each of them level with the others, would win every comparison.
  Queue queue({.max_queue = 64, .max_queue_micros = 0, .age_micros = kSecond});
  const RequestId greedy = queue.push("greedy", Priority::kInteractive, 1'000'000);
  EXPECT_EQ(queue.pop(), greedy);
  const RequestId poor = queue.push("greedy", Priority::kBatch);
  queue.now += 4 * kSecond;
  int places = 0;
  for (int i = 0;; ++i) {
    ASSERT_LT(i, 8);
    queue.push("new" + std::to_string(i), Priority::kInteractive);
    ++places;
    if (queue.pop() == poor) break;
  }
  EXPECT_LE(places, 4);
}

TEST(WaitQueue, TenantsShareTokensNotRequests) {
  // One tenant asks for 400 tokens each, the other for 100: it gets four requests for one.
  Queue queue;
  Ids large;
  Ids small;
  for (int i = 0; i < 4; ++i) large.push_back(queue.push("large", Priority::kNormal, 400));
  for (int i = 0; i < 16; ++i) small.push_back(queue.push("small", Priority::kNormal, 100));
  int64_t tokens_large = 0;
  int64_t tokens_small = 0;
  for (int i = 0; i < 15; ++i) {
    const RequestId id = queue.pop();
    (id <= large.back() ? tokens_large : tokens_small) += id <= large.back() ? 400 : 100;
    EXPECT_LE(std::abs(tokens_large - tokens_small), 400);
  }
}

TEST(WaitQueue, AFloodOfOneTenantDelaysAnotherByOneRequest) {
  Queue queue({.max_queue = 600, .max_queue_micros = 0});
  for (int i = 0; i < 500; ++i) queue.push("flood");
  for (int i = 0; i < 50; ++i) queue.pop();
  const RequestId mine = queue.push("me");
  const RequestId first = queue.pop();
  EXPECT_TRUE(first == mine || queue.pop() == mine);
}

TEST(WaitQueue, NoCreditForAbsenceAndNoDebtBeyondIt) {
  Queue queue;
  const auto settle = [&](RequestId id, int64_t tokens) {
    queue.q.settle(id, tokens);
    queue.q.check_integrity();
  };
  for (int i = 0; i < 10; ++i) {  // works alone for a while
    queue.push("busy");
    settle(queue.pop(), 100);
  }
  EXPECT_EQ(queue.q.tenants(), 0u);  // without work it is forgotten
  for (int i = 0; i < 6; ++i) queue.push("busy");
  for (int i = 0; i < 6; ++i) queue.push("fresh");
  Ids order = queue.pop_all();
  const auto fresh_in_first_six =
      std::count_if(order.begin(), order.begin() + 6, [](RequestId id) { return id > 16; });
  EXPECT_EQ(fresh_in_first_six, 3);  // neither credit nor debt
  EXPECT_EQ(queue.q.tenants(), 2u);
  for (const RequestId id : order) settle(id, 100);
  EXPECT_EQ(queue.q.tenants(), 0u);
}

TEST(WaitQueue, UnusedTokensAreGivenBack) {
  Queue queue;
  const RequestId a1 = queue.push("a", Priority::kNormal, 10'000);  // asks for much, uses little
  const RequestId a2 = queue.push("a", Priority::kNormal, 10'000);
  const RequestId b1 = queue.push("b", Priority::kNormal, 100);
  const RequestId b2 = queue.push("b", Priority::kNormal, 100);
  EXPECT_EQ(queue.pop(), a1);
  EXPECT_EQ(queue.pop(), b1);
  queue.q.settle(a1, 20);
  EXPECT_EQ(queue.pop(), a2);
  EXPECT_EQ(queue.pop(), b2);
}

TEST(WaitQueue, ExpiredRequestsLeaveInTimeAndOthersStay) {
  Queue queue({.max_queue = 64, .max_queue_micros = 30 * kSecond});
  const RequestId usual = queue.push("");
  const RequestId hasty = queue.push("", Priority::kNormal, 100, 2 * kSecond);
  const RequestId patient = queue.push("", Priority::kNormal, 100, 90 * kSecond);
  EXPECT_EQ(queue.q.pop_expired(queue.now), nullptr);
  queue.now += 2 * kSecond - 1;
  EXPECT_EQ(queue.q.pop_expired(queue.now), nullptr);
  queue.now += 1;
  EXPECT_EQ(queue.q.pop_expired(queue.now)->id, hasty);
  EXPECT_EQ(queue.q.pop_expired(queue.now), nullptr);
  queue.q.check_integrity();
  queue.now += 28 * kSecond;
  EXPECT_EQ(queue.q.pop_expired(queue.now)->id, usual);
  EXPECT_EQ(queue.q.pop_expired(queue.now), nullptr);
  queue.q.limit_waits(queue.now + 5);  // the engine drains
  queue.now += 5;
  EXPECT_EQ(queue.q.pop_expired(queue.now)->id, patient);
  EXPECT_EQ(queue.q.size(), 0u);
  EXPECT_EQ(queue.q.tenants(), 0u);
}

TEST(WaitQueue, ZeroWaitsForEverAndHugeWaitsDoNotOverflow) {
  Queue queue({.max_queue = 64, .max_queue_micros = 0});
  queue.push("");
  queue.push("", Priority::kNormal, 100, std::numeric_limits<int64_t>::max());
  queue.now = std::numeric_limits<int64_t>::max() / 2;
  EXPECT_EQ(queue.q.pop_expired(queue.now), nullptr);
  EXPECT_EQ(queue.pop_all().size(), 2u);
}

TEST(WaitQueue, RemovingKeepsTheOthersInOrder) {
  Queue queue;
  const RequestId a = queue.push("x");
  const RequestId b = queue.push("x");
  const RequestId c = queue.push("y");
  EXPECT_EQ(queue.q.remove(99), nullptr);
  EXPECT_EQ(queue.q.remove(b)->id, b);
  EXPECT_EQ(queue.q.remove(c)->id, c);
  queue.q.check_integrity();
  EXPECT_EQ(queue.q.tenants(), 1u);
  EXPECT_EQ(queue.pop_all(), Ids{a});
}

TEST(WaitQueue, LengthIsBounded) {
  Queue queue({.max_queue = 3, .max_queue_micros = 0});
  for (int i = 0; i < 3; ++i) queue.push("");
  EXPECT_TRUE(queue.q.full());
  queue.pop();
  EXPECT_FALSE(queue.q.full());
}

TEST(WaitQueue, TheEstimateFollowsThePaceAndAStandstill) {
  Queue queue;
  EXPECT_EQ(queue.q.wait_estimate(queue.now), 0);
  for (int i = 0; i < 40; ++i) queue.push("");
  for (int i = 0; i < 30; ++i) {
    queue.now += 2 * kSecond;
    queue.pop();
  }
  EXPECT_NEAR(static_cast<double>(queue.q.wait_estimate(queue.now)), 22e6, 1e6);  // 10 before it
  queue.now += 60 * kSecond;  // nobody left for a minute
  EXPECT_GE(queue.q.wait_estimate(queue.now), 600 * kSecond);
}

}  // namespace
}  // namespace hadal
