/// hadal bench: prefill and decode speed, each next to its physical bound.
#include <array>

#include <fmt/format.h>

#include "app/app.h"
#include "app/benchmark.h"
#include "app/options.h"
#include "app/output.h"
#include "app/process_stats.h"
#include "base/env.h"

namespace hadal {
namespace {

struct BenchOptions {
  std::string model;
  BenchmarkOptions work;
  RoundingOptions rounding;
  int threads = 0;
  bool profile = false;
  bool first_token = false;
  bool json = false;
};

struct PhaseName {
  const char* name;
  const Phase& phase;
};
std::array<PhaseName, 3> phases_of(const Benchmark& b) {
  return {{{"prefill", b.prefill}, {"decode", b.decode}, {"batch_decode", b.batch_decode}}};
}

void add_rates(json::object& out, const Rates& rates) {
  out["gbps"] = rates.gbps;
  out["mac_gps"] = rates.mac_gps;
  out["mac_per_cycle"] = rates.mac_per_cycle;
  out["bandwidth_fraction"] = rates.bandwidth_fraction;
  out["arithmetic_fraction"] = rates.arithmetic_fraction;
}

json::object phase_json(const Phase& phase) {
  json::object out = {{"tps", phase.tps},
                      {"bytes_per_token", phase.bytes_per_token},
                      {"macs_per_token", phase.macs_per_token}};
  add_rates(out, phase.rates);
  out["bound_fraction"] = phase.rates.bound_fraction();
  return out;
}

/// Calls visit(op, totals, seconds, share of the profile's time) on each op that was run.
template <typename Visit>
void each_op(const Profile& profile, Visit&& visit) {
  for (size_t i = 0; i < kOps; ++i) {
    const OpTotals& totals = profile.totals(static_cast<Op>(i));
    if (totals.calls == 0) continue;
    visit(static_cast<Op>(i), totals, static_cast<double>(totals.nanos) * 1e-9,
          static_cast<double>(totals.nanos) / static_cast<double>(profile.nanos()));
  }
}

json::array profile_json(const Profile& profile, const MachineBounds& bounds) {
  json::array out;
  each_op(profile, [&](Op op, const OpTotals& totals, double seconds, double share) {
    json::object row = {{"op", op_name(op)},          {"calls", totals.calls},
                        {"ms", seconds * 1e3},        {"share", share},
                        {"bytes", totals.work.bytes}, {"macs", totals.work.macs}};
    add_rates(row, rates_of(totals.work, seconds, bounds));
    out.push_back(std::move(row));
  });
  return out;
}

void print_benchmark_json(const LoadedModel& model, const Benchmark& b, const BenchOptions& options,
                          double load_ms) {
  const ProcessMemory& memory = b.memory;
  json::object out = {{"model", model.name},
                      {"threads", model.pool->size()},
                      {"prefill_tps", b.prefill.tps},
                      {"decode_tps", b.decode.tps},
                      {"batch", options.work.batch},
                      {"batch_decode_tps", b.batch_decode.tps},
                      {"bytes_per_token", b.decode.bytes_per_token},
                      {"read_bandwidth_gbps", b.bounds.read_gbps},
                      {"decode_bound_fraction", b.decode.rates.bandwidth_fraction},
                      {"prefill_mac_per_cycle", b.prefill.rates.mac_per_cycle},
                      {"load_ms", load_ms},
                      {"depth", options.work.depth},
                      {"clock_ghz", b.bounds.clock_ghz},
                      {"mac_ceiling_gps", b.bounds.mac_gps},
                      {"file_bytes", model.file->file_bytes()},
                      {"peak_bytes", memory.peak},
                      {"anonymous_bytes", memory.anonymous}};
  json::object phases;
  json::object profiles;
  for (const auto& [name, phase] : phases_of(b)) {
    phases[name] = phase_json(phase);
    profiles[name] = profile_json(phase.profile, b.bounds);
  }
  out["phases"] = std::move(phases);
  if (options.profile) out["profile"] = std::move(profiles);
  print_json(out);
}

void print_phase(const std::string& what, const Phase& phase, const std::string& note) {
  const Rates& rates = phase.rates;
  print_out(fmt::format("{:<20}{:>10.1f}{:>12}{:>8.1f}{:>6.0f} %{:>12.1f}{:>6.0f} %{}\n", what,
                        phase.tps, human_bytes(static_cast<uint64_t>(phase.bytes_per_token)),
                        rates.gbps, 100 * rates.bandwidth_fraction, rates.mac_per_cycle,
                        100 * rates.arithmetic_fraction, note));
}

void print_profile(const char* name, const Phase& phase, const MachineBounds& bounds) {
  print_out(fmt::format("\n{:<16}{:>10}{:>9}{:>12}{:>8}{:>8}{:>10}{:>12}{:>8}\n", name, "ms",
                        "share", "read", "GB/s", "of it", "G macs/s", "macs/cycle", "of it"));
  each_op(phase.profile, [&](Op op, const OpTotals& totals, double seconds, double share) {
    const Rates rates = rates_of(totals.work, seconds, bounds);
    print_out(fmt::format(
        "{:<16}{:>10.2f}{:>7.1f} %{:>12}{:>8.1f}{:>6.0f} %{:>10.1f}{:>12.1f}{:>6.0f} %\n",
        op_name(op), seconds * 1e3, 100 * share, human_bytes(totals.work.bytes), rates.gbps,
        100 * rates.bandwidth_fraction, rates.mac_gps, rates.mac_per_cycle,
        100 * rates.arithmetic_fraction));
  });
}

void print_benchmark(const LoadedModel& model, const Benchmark& b, const BenchOptions& options,
                     double load_ms) {
  print_out(fmt::format("{}: {}, {} threads at {:.2f} GHz, loaded in {:.0f} ms, peak memory {}\n",
                        model.name, human_bytes(model.file->file_bytes()), b.bounds.threads,
                        b.bounds.clock_ghz, load_ms, human_bytes(b.memory.peak)));
  print_out(fmt::format("bounds measured: {:.1f} GB/s read, {:.0f} G 8-bit multiply-adds/s\n",
                        b.bounds.read_gbps, b.bounds.mac_gps));
  print_out(fmt::format("{:<20}{:>10}{:>12}{:>8}{:>8}{:>12}{:>8}\n", "", "tokens/s", "read/token",
                        "GB/s", "of it", "macs/cycle", "of it"));
  const auto& work = options.work;
  const std::string after = work.depth > 0 ? fmt::format(" @ {}", work.depth) : "";
  print_phase(fmt::format("prefill {}{}", work.prompt_tokens, after), b.prefill, "");
  print_phase(fmt::format("decode {}", work.decode_tokens), b.decode, "");
  print_phase(fmt::format("decode, batch of {}", work.batch), b.batch_decode,
              fmt::format("  {:.2f} x one sequence", b.batch_decode.tps / b.decode.tps));
  if (!options.profile) return;
  for (const auto& [name, phase] : phases_of(b)) print_profile(name, phase, b.bounds);
}

Result<int> first_token(LoadedModel& model, double load_ms, bool as_json) {
  TRY_STATUS(compute_first_token(model));
  const double first_ms = seconds_since_start() * 1e3;
  const ProcessMemory memory = process_memory();
  if (as_json) {
    print_json(json::object{{"model", model.name},
                            {"first_token_ms", first_ms},
                            {"load_ms", load_ms},
                            {"peak_bytes", memory.peak},
                            {"anonymous_bytes", memory.anonymous}});
  } else {
    print_out(fmt::format("first token {:.0f} ms after the process began, {:.0f} of them loading\n",
                          first_ms, load_ms));
  }
  return kExitOk;
}

Result<int> bench(const BenchOptions& options, const Settings& settings) {
  const int64_t start = Env::real().now_micros();
  TRY(const LoadOptions load, load_options_from(options.rounding));
  Settings measuring = settings;  // writing a packed image beside the work would disturb it
  if (!options.first_token && settings.packed_cache == PackedCacheUse::kReadAndWrite) {
    measuring.packed_cache = PackedCacheUse::kRead;
  }
  TRY(LoadedModel model, open_weights(options.model, options.threads, measuring, load));
  const double load_ms = static_cast<double>(Env::real().now_micros() - start) * 1e-3;
  if (options.first_token) return first_token(model, load_ms, options.json);
  const BenchmarkOptions& work = options.work;
  const int64_t positions = work.depth + work.prompt_tokens + work.decode_tokens + 1;
  if (positions > model.model->n_ctx_train()) {
    return Error{Code::kInvalidArgument,
                 fmt::format("-d, -p and -n need {} positions, the model was trained for {}",
                             positions, model.model->n_ctx_train())};
  }
  TRY(const Benchmark result, run_benchmark(model, work));
  options.json ? print_benchmark_json(model, result, options, load_ms)
               : print_benchmark(model, result, options, load_ms);
  return kExitOk;
}

void add_bench(CLI::App& command, const Settings& settings, Action& run) {
  static BenchOptions options;
  add_model_option(command, options.model);
  const auto count = [&](const char* names, int64_t& value, const char* what, int64_t least,
                         int64_t most) {
    command.add_option(names, value, what)->check(CLI::Range(least, most))->type_name("N");
  };
  count("-p,--prompt-tokens", options.work.prompt_tokens, "tokens of the prompt (default 512)", 1,
        1 << 20);
  count("-n,--decode-tokens", options.work.decode_tokens, "tokens to decode after it (default 64)",
        1, 1 << 20);
  count("-b,--batch", options.work.batch, "sequences of the batch figure (default 8)", 1, 1024);
  count("-d,--depth", options.work.depth, "tokens in the context before the prompt (default 0)", 0,
        1 << 20);
  command
      .add_option("-r,--repeats", options.work.repeats,
                  "prefill and decode are the median of R runs (default 3)")
      ->check(CLI::Range(1, 1000))
      ->type_name("R");
  command.add_flag("--profile", options.profile, "time, bytes and multiply-adds of each op");
  command.add_flag("--first-token", options.first_token,
                   "only the time from the start of the process to a first token");
  add_rounding_options(command, options.rounding);
  add_threads_option(command, options.threads);
  add_json_option(command, options.json);
  command.footer(
      "Decode is bound by memory: every token reads the weights and the keys and values so far.\n"
      "Prefill is bound by arithmetic: multiply-adds per core and clock cycle. Both bounds are\n"
      "measured here with the same threads: reads of memory, and chains of 8-bit dot products; "
      "the\n"
      "clock by a chain of dependent additions.\n"
      "Example: hadal bench --model smollm2-135m -p 512 -n 64 --profile");
  run = [&settings] { return bench(options, settings); };
}

}  // namespace

extern const Subcommand kBenchCommand;
const Subcommand kBenchCommand = {"bench", "prefill and decode speed next to their bounds",
                                  add_bench};

}  // namespace hadal
