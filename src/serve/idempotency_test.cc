// Goal: a request under one key happens once; answers that a retry may better are not kept; memory
// stays within its bounds whatever comes.
#include "serve/idempotency.h"

#include <gtest/gtest.h>

#include "engine/testing/harness.h"

namespace hadal {
namespace {

using Outcome = IdempotencyClaim::Outcome;

class Idempotency : public ::testing::Test {
 protected:
  void answer(IdempotencyKeys& keys, const std::string& key, const HttpReply& reply) {
    IdempotencyClaim claim = keys.claim("", key, "request");
    ASSERT_EQ(claim.outcome(), Outcome::kFirst);
    claim.complete(reply);
  }
  testing::VirtualEnv env_;
};

TEST_F(Idempotency, SecondGetsTheAnswerOfTheFirst) {
  IdempotencyKeys keys(env_);
  {
    IdempotencyClaim first = keys.claim("me", "k", "POST /x {}");
    EXPECT_EQ(first.outcome(), Outcome::kFirst);
    EXPECT_EQ(keys.claim("me", "k", "POST /x {}").outcome(), Outcome::kRunning);
    EXPECT_EQ(keys.claim("me", "k", "POST /y {}").outcome(), Outcome::kMismatch);
    EXPECT_EQ(keys.claim("you", "k", "POST /y {}").outcome(), Outcome::kFirst);
    first.complete({.status = 201, .body = "made"});
  }
  const IdempotencyClaim again = keys.claim("me", "k", "POST /x {}");
  EXPECT_EQ(again.outcome(), Outcome::kReplay);
  EXPECT_EQ(again.reply().status, 201);
  EXPECT_EQ(again.reply().body, "made");
}

TEST_F(Idempotency, AKeyIsFreeAgainWhenNothingWasDone) {
  IdempotencyKeys keys(env_);
  { const IdempotencyClaim dropped = keys.claim("", "k", "request"); }
  for (const int status : {500, 503, 429, 409, 408}) answer(keys, "k", {.status = status});
  answer(keys, "k", {.status = 400});  // will not get better
  EXPECT_EQ(keys.claim("", "k", "request").outcome(), Outcome::kReplay);
}

TEST_F(Idempotency, AnswersAreForgottenInTime) {
  IdempotencyKeys keys(env_, {.bytes = 1 << 20, .entries = 10, .keep_micros = 1000});
  answer(keys, "k", {});
  env_.advance(1000);
  EXPECT_EQ(keys.claim("", "k", "request").outcome(), Outcome::kReplay);
  env_.advance(1);
  EXPECT_EQ(keys.claim("", "k", "request").outcome(), Outcome::kFirst);
  EXPECT_EQ(keys.size(), 0u);
}

TEST_F(Idempotency, MemoryIsBounded) {
  IdempotencyKeys keys(env_, {.bytes = 100'000, .entries = 50, .keep_micros = 1'000'000});
  for (int i = 0; i < 1000; ++i) answer(keys, std::to_string(i), {.body = std::string(5000, 'x')});
  EXPECT_LE(keys.size(), 20u);
  EXPECT_GE(keys.size(), 15u);
  EXPECT_EQ(keys.claim("", "999", "request").outcome(), Outcome::kReplay);
  EXPECT_EQ(keys.claim("", "0", "request").outcome(), Outcome::kFirst);
  answer(keys, "large", {.body = std::string(90'000, 'x')});
  EXPECT_EQ(keys.claim("", "large", "request").outcome(), Outcome::kFirst);
  EXPECT_EQ(keys.claim("", "998", "request").outcome(), Outcome::kReplay);
  // What runs keeps its place, and is bounded too.
  std::vector<IdempotencyClaim> running;
  for (int i = 0; i < 60; ++i)
    running.push_back(keys.claim("", "r" + std::to_string(i), "request"));
  EXPECT_EQ(running[0].outcome(), Outcome::kFirst);
  EXPECT_EQ(running[59].outcome(), Outcome::kFull);
  EXPECT_EQ(keys.size(), 50u);
}

TEST_F(Idempotency, KeysArePrintable) {
  EXPECT_TRUE(well_formed_idempotency_key("8e03978e-40d5-43dd-bc93-6894a57f9324"));
  EXPECT_FALSE(well_formed_idempotency_key(""));
  EXPECT_FALSE(well_formed_idempotency_key("a b"));
  EXPECT_FALSE(well_formed_idempotency_key("ä"));
  EXPECT_FALSE(well_formed_idempotency_key(std::string(256, 'a')));
}

}  // namespace
}  // namespace hadal
