#pragma once
/// Simulation of the engine on virtual time: the real loop, scheduler, queue and pages, a model
/// whose steps cost made-up time, clients that come, cancel and vanish, and faults at random.
///
/// One seed is one story, the same each time. Held to throughout: pages, rows and queue are in
/// order after each step, no forward pass is larger than it may be or writes a page that somebody
/// else reads, nobody starves, every request ends exactly once, for a reason that happened, with
/// the tokens that its model and sampler give without an engine.
#include <cstdint>
#include <string>

namespace hadal::testing {

struct SimCounts {
  int64_t requests = 0;  ///< accepted
  int64_t refused = 0;
  int64_t finished = 0;  ///< ran to their end
  int64_t cancelled = 0;
  int64_t expired = 0;
  int64_t failed = 0;
  int64_t tokens = 0;
  int64_t cached_tokens = 0;
  int64_t steps = 0;
  int64_t preemptions = 0;
  int64_t guesses = 0;  ///< checked
  int64_t guesses_right = 0;
  int64_t evictions = 0;
  int64_t tier_pages = 0;    ///< that came back from the made-up tier
  int64_t disk_pages = 0;    ///< that came back from the real tiers' made-up disk
  int64_t disk_corrupt = 0;  ///< that were found damaged there
};

struct SimOutcome {
  uint64_t trace = 0;   ///< hash of all that happened, in order
  std::string failure;  ///< the first rule that was broken; empty: none
  SimCounts counts;
};

/// A CHECK that fails in the engine stops the program instead.
SimOutcome simulate(uint64_t seed);

}  // namespace hadal::testing
