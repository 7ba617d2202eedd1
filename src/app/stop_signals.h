#pragma once
/// Signals that end a program, while something has to be cleaned up first.
#include <atomic>

namespace hadal {

/// While it lives, SIGINT, SIGTERM and SIGHUP set stopped(); those that were ignored stay so. When
/// it goes, what was there before is there again and gets the signal that came: usually the process
/// ends by it, as if it had come just then. A second signal of a kind ends the process at once. One
/// at a time per process.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;

  static const std::atomic<bool>& stopped();
};

}  // namespace hadal
