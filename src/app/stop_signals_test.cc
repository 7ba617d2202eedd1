#include "app/stop_signals.h"

#include <csignal>

#include <gtest/gtest.h>

namespace hadal {
namespace {

int handled = 0;
void count(int) {
  ++handled;
}

// Goal: a signal only sets the flag while the object lives; what was there before gets it then.
TEST(StopSignals, HandsTheSignalOn) {
  struct sigaction action = {};
  struct sigaction before = {};
  action.sa_handler = count;
  ASSERT_EQ(::sigaction(SIGTERM, &action, &before), 0);
  handled = 0;
  {
    const StopSignals signals;
    EXPECT_FALSE(StopSignals::stopped());
    ::raise(SIGTERM);
    EXPECT_TRUE(StopSignals::stopped());
    EXPECT_EQ(handled, 0);
  }
  EXPECT_EQ(handled, 1);
  {
    const StopSignals again;
    EXPECT_FALSE(StopSignals::stopped());
  }
  ::sigaction(SIGTERM, &before, nullptr);
}

// Goal: what was ignored (nohup) stays ignored.
TEST(StopSignals, IgnoredStaysIgnored) {
  const auto before = std::signal(SIGHUP, SIG_IGN);
  {
    const StopSignals signals;
    ::raise(SIGHUP);
    EXPECT_FALSE(StopSignals::stopped());
  }
  std::signal(SIGHUP, before);
}

}  // namespace
}  // namespace hadal
