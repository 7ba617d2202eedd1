#pragma once
/// Speed of a loaded model next to the bounds of the machine.
#include "app/app.h"
#include "app/process_stats.h"
#include "model/profile.h"

namespace hadal {

struct BenchmarkOptions {
  int64_t prompt_tokens = 512;
  int64_t decode_tokens = 64;
  int64_t batch = 8;
  int64_t depth = 0;  ///< positions in the context before the prompt, not timed
  int repeats = 3;    ///< prefill and decode are the median of so many
};

/// What limits this machine, measured with the threads of the model.
struct MachineBounds {
  double read_gbps = 0;  ///< memory reads, 1e9 bytes per second
  double mac_gps = 0;    ///< 8-bit multiply-adds, 1e9 per second; 0 when not known
  double clock_ghz = 0;
  int threads = 1;
};

/// What some ops took, read and multiplied per second, next to the bounds.
struct Rates {
  double gbps = 0;
  double mac_gps = 0;
  double mac_per_cycle = 0;       ///< per core
  double bandwidth_fraction = 0;  ///< gbps over the machine's
  double arithmetic_fraction = 0;

  /// The share of the bound that is nearer.
  double bound_fraction() const {
    return bandwidth_fraction > arithmetic_fraction ? bandwidth_fraction : arithmetic_fraction;
  }
};
Rates rates_of(const OpWork& work, double seconds, const MachineBounds& bounds);

/// One kind of forward pass. Bytes and multiply-adds are those of weights, keys and values as the
/// passes used them (rows without logits skip the head).
struct Phase {
  double tps = 0;  ///< tokens per second
  double bytes_per_token = 0;
  double macs_per_token = 0;
  Rates rates;
  Profile profile;  ///< of all repeats
};

struct Benchmark {
  MachineBounds bounds;
  ProcessMemory memory;  ///< after all phases, before the bounds are measured
  Phase prefill;         ///< the prompt in one go
  Phase decode;          ///< one sequence, after the prompt
  Phase batch_decode;    ///< all sequences together, after a shared prompt
};

/// Runs on ids that are spread over the vocabulary; what they mean has no influence on the time.
Result<Benchmark> run_benchmark(LoadedModel& model, const BenchmarkOptions& options);

/// Prefills a short prompt and decides on the token after it: what a first answer needs.
Status compute_first_token(LoadedModel& model);

/// Clock of the core this thread runs on: times a chain of additions, each of which takes one
/// cycle because it needs the result of the one before it.
double measure_clock_ghz();

}  // namespace hadal
