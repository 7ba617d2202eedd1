#include "app/stop_signals.h"

#include <array>
#include <csignal>

#include "base/check.h"

namespace hadal {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};

std::atomic<bool> stop{false};  // a signal handler reaches nothing else
std::atomic<int> came{0};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

std::atomic<bool> in_use{false};
std::array<struct sigaction, kSignals.size()> before;

void on_signal(int signal) {
  came = signal;
  stop = true;
}

}  // namespace

const std::atomic<bool>& StopSignals::stopped() {
  return stop;
}

StopSignals::StopSignals() {
  CHECK(!in_use.exchange(true));
  came = 0;
  stop = false;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  for (size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], nullptr, &before[i]);
    if (before[i].sa_handler != SIG_IGN) ::sigaction(kSignals[i], &action, nullptr);
  }
}

StopSignals::~StopSignals() {
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before[i], nullptr);
  in_use = false;
  if (came != 0) ::raise(came);
}

}  // namespace hadal
