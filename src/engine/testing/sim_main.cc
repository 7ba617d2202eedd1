/// sim: simulates the engine with many seeds (./dev sim). Stops at the first that breaks a rule and
/// says how to repeat it.
#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string_view>

#include <unistd.h>

#include "base/log.h"
#include "engine/testing/simulator.h"

namespace {

using hadal::testing::SimCounts;
using hadal::testing::SimOutcome;

constexpr int kTwiceEvery = 50;  ///< so many seeds, one is told twice and compared

char repeat_line[120] = "";

/// A CHECK stops the program: the seed must not be lost with it.
void on_abort(int) {
  const ssize_t written = ::write(2, repeat_line, std::strlen(repeat_line));
  (void)written;
}

bool read_number(const char* text, uint64_t& out) {
  const std::string_view view(text);
  const auto read = std::from_chars(view.data(), view.data() + view.size(), out);
  return read.ec == std::errc() && read.ptr == view.data() + view.size();
}

void add(SimCounts& total, const SimCounts& one) {
  total.requests += one.requests;
  total.refused += one.refused;
  total.finished += one.finished;
  total.cancelled += one.cancelled;
  total.expired += one.expired;
  total.failed += one.failed;
  total.tokens += one.tokens;
  total.cached_tokens += one.cached_tokens;
  total.steps += one.steps;
  total.preemptions += one.preemptions;
  total.evictions += one.evictions;
  total.tier_pages += one.tier_pages;
  total.disk_pages += one.disk_pages;
  total.disk_corrupt += one.disk_corrupt;
  total.guesses += one.guesses;
  total.guesses_right += one.guesses_right;
}

void print_counts(uint64_t seeds, const SimCounts& c) {
  std::printf(
      "%llu seeds: %lld requests (%lld finished, %lld cancelled, %lld expired, %lld failed; "
      "%lld refused),\n%lld steps, %lld tokens, %lld prompt tokens from the cache, "
      "%lld preemptions, %lld evictions, %lld pages from the tier, %lld of %lld guesses right,\n"
      "%lld pages from the disk, %lld found damaged there\n",
      static_cast<unsigned long long>(seeds), static_cast<long long>(c.requests),
      static_cast<long long>(c.finished), static_cast<long long>(c.cancelled),
      static_cast<long long>(c.expired), static_cast<long long>(c.failed),
      static_cast<long long>(c.refused), static_cast<long long>(c.steps),
      static_cast<long long>(c.tokens), static_cast<long long>(c.cached_tokens),
      static_cast<long long>(c.preemptions), static_cast<long long>(c.evictions),
      static_cast<long long>(c.tier_pages), static_cast<long long>(c.guesses_right),
      static_cast<long long>(c.guesses), static_cast<long long>(c.disk_pages),
      static_cast<long long>(c.disk_corrupt));
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t seeds = 100'000;
  uint64_t from = 1;
  for (int i = 1; i < argc; i += 2) {
    uint64_t* target = std::strcmp(argv[i], "--seeds") == 0  ? &seeds
                       : std::strcmp(argv[i], "--from") == 0 ? &from
                                                             : nullptr;
    if (target == nullptr || i + 1 == argc || !read_number(argv[i + 1], *target)) {
      std::fprintf(stderr, "usage: ./dev sim [--seeds N] [--from S]\n");
      return 2;
    }
  }
  hadal::set_log_level(hadal::LogLevel::kNothing);
  std::signal(SIGABRT, on_abort);
  SimCounts total;
  uint64_t trace = 0;
  for (uint64_t seed = from; seed < from + seeds; ++seed) {
    std::snprintf(repeat_line, sizeof(repeat_line),
                  "seed %llu: a CHECK failed; repeat with: ./dev sim --from %llu --seeds 1\n",
                  static_cast<unsigned long long>(seed), static_cast<unsigned long long>(seed));
    SimOutcome outcome = hadal::testing::simulate(seed);
    if (seed % kTwiceEvery == 0 && outcome.failure.empty() &&
        hadal::testing::simulate(seed).trace != outcome.trace) {
      outcome.failure = "the same seed told another story";
    }
    if (!outcome.failure.empty()) {
      std::printf("seed %llu: %s\nrepeat with: ./dev sim --from %llu --seeds 1\n",
                  static_cast<unsigned long long>(seed), outcome.failure.c_str(),
                  static_cast<unsigned long long>(seed));
      return 1;
    }
    add(total, outcome.counts);
    trace = trace * 31 + outcome.trace;
  }
  print_counts(seeds, total);
  std::printf("trace %016llx\n", static_cast<unsigned long long>(trace));
  return 0;
}
