#pragma once
/// Speed of a loaded model next to the bounds of the machine.
#include "app/app.h"

namespace hadal {

struct BenchmarkOptions {
  int64_t prompt_tokens = 512;
  int64_t decode_tokens = 64;
  int64_t batch = 8;
  int repeats = 3;  ///< each figure is the median of so many
};

/// Speeds in tokens per second.
struct Benchmark {
  double prefill_tps = 0;       ///< the prompt in one go
  double decode_tps = 0;        ///< one sequence, after the prompt
  double batch_decode_tps = 0;  ///< all sequences together, after a shared prompt
  double bytes_per_token =
      0;  ///< read to decode one token: weights, and keys and values on average
  double read_bandwidth_gbps = 0;    ///< measured with the same threads, 1e9 bytes per second
  double decode_bound_fraction = 0;  ///< decode_tps over read_bandwidth / bytes_per_token
  double clock_ghz = 0;              ///< measured on one thread after the prefill
  double prefill_mac_per_cycle = 0;  ///< multiply-adds of the weights per core and clock cycle
};

/// Runs on ids that are spread over the vocabulary; what they mean has no influence on the time.
Result<Benchmark> run_benchmark(LoadedModel& model, const BenchmarkOptions& options);

/// Clock of the core this thread runs on: times a chain of additions, each of which takes one
/// cycle because it needs the result of the one before it.
double measure_clock_ghz();

}  // namespace hadal
