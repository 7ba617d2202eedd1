/// hadal bench: prefill and decode speed, each next to its physical bound.
#include <fmt/format.h>

#include "app/app.h"
#include "app/benchmark.h"
#include "app/options.h"
#include "app/output.h"
#include "base/env.h"

namespace hadal {
namespace {

struct BenchOptions {
  std::string model;
  BenchmarkOptions work;
  RoundingOptions rounding;
  int threads = 0;
  bool json = false;
};

void print_benchmark_json(const LoadedModel& model, const Benchmark& b, const BenchOptions& options,
                          double load_ms) {
  print_json(json::object{{"model", model.name},
                          {"threads", model.pool->size()},
                          {"prefill_tps", b.prefill_tps},
                          {"decode_tps", b.decode_tps},
                          {"batch", options.work.batch},
                          {"batch_decode_tps", b.batch_decode_tps},
                          {"bytes_per_token", b.bytes_per_token},
                          {"read_bandwidth_gbps", b.read_bandwidth_gbps},
                          {"decode_bound_fraction", b.decode_bound_fraction},
                          {"prefill_mac_per_cycle", b.prefill_mac_per_cycle},
                          {"load_ms", load_ms}});
}

void print_benchmark(const LoadedModel& model, const Benchmark& b, const BenchOptions& options,
                     double load_ms) {
  print_out(fmt::format("{}: {}, {} threads at {:.2f} GHz, loaded in {:.0f} ms\n", model.name,
                        human_bytes(model.file->file_bytes()), model.pool->size(), b.clock_ghz,
                        load_ms));
  print_out(fmt::format("{:<20}{:>12}  {}\n", "", "tokens/s", "against the bound"));
  print_out(fmt::format("{:<20}{:>12.1f}  {:.1f} multiply-adds per core and cycle\n",
                        fmt::format("prefill {}", options.work.prompt_tokens), b.prefill_tps,
                        b.prefill_mac_per_cycle));
  print_out(fmt::format(
      "{:<20}{:>12.1f}  {:.0f} % of {:.1f}, which {:.1f} GB/s over {} per token allow\n",
      fmt::format("decode {}", options.work.decode_tokens), b.decode_tps,
      100 * b.decode_bound_fraction, b.read_bandwidth_gbps * 1e9 / b.bytes_per_token,
      b.read_bandwidth_gbps, human_bytes(static_cast<uint64_t>(b.bytes_per_token))));
  print_out(fmt::format("{:<20}{:>12.1f}  {:.2f} x one sequence\n",
                        fmt::format("decode, batch of {}", options.work.batch), b.batch_decode_tps,
                        b.batch_decode_tps / b.decode_tps));
}

Result<int> bench(const BenchOptions& options, const Settings& settings) {
  const int64_t start = Env::real().now_micros();
  TRY(const LoadOptions load, load_options_from(options.rounding));
  Settings measuring = settings;  // writing a packed image beside the work would disturb it
  if (settings.packed_cache == PackedCacheUse::kReadAndWrite)
    measuring.packed_cache = PackedCacheUse::kRead;
  TRY(LoadedModel model, open_weights(options.model, options.threads, measuring, load));
  const double load_ms = static_cast<double>(Env::real().now_micros() - start) * 1e-3;
  const int64_t positions = options.work.prompt_tokens + options.work.decode_tokens + 1;
  if (positions > model.model->n_ctx_train()) {
    return Error{Code::kInvalidArgument,
                 fmt::format("-p and -n need {} positions, the model was trained for {}", positions,
                             model.model->n_ctx_train())};
  }
  TRY(const Benchmark result, run_benchmark(model, options.work));
  options.json ? print_benchmark_json(model, result, options, load_ms)
               : print_benchmark(model, result, options, load_ms);
  return kExitOk;
}

void add_bench(CLI::App& command, const Settings& settings, Action& run) {
  static BenchOptions options;
  add_model_option(command, options.model);
  const auto count = [&](const char* names, int64_t& value, const char* what, int64_t most) {
    command.add_option(names, value, what)->check(CLI::Range(int64_t{1}, most))->type_name("N");
  };
  count("-p,--prompt-tokens", options.work.prompt_tokens, "tokens of the prompt (default 512)",
        1 << 20);
  count("-n,--decode-tokens", options.work.decode_tokens, "tokens to decode after it (default 64)",
        1 << 20);
  count("-b,--batch", options.work.batch, "sequences of the batch figure (default 8)", 1024);
  command
      .add_option("-r,--repeats", options.work.repeats,
                  "prefill and decode are the median of R runs (default 3)")
      ->check(CLI::Range(1, 1000))
      ->type_name("R");
  add_rounding_options(command, options.rounding);
  add_threads_option(command, options.threads);
  add_json_option(command, options.json);
  command.footer(
      "Decode is bound by memory: every token reads the weights and the keys and values so far\n"
      "(bytes_per_token). read_bandwidth_gbps is measured here with the same threads.\n"
      "Prefill is bound by arithmetic: multiply-adds of the weights per core and clock cycle; the "
      "clock\n"
      "is measured by a chain of dependent additions.\n"
      "Example: hadal bench --model smollm2-135m -p 512 -n 64 --json");
  run = [&settings] { return bench(options, settings); };
}

}  // namespace

extern const Subcommand kBenchCommand;
const Subcommand kBenchCommand = {"bench", "prefill and decode speed next to their bounds",
                                  add_bench};

}  // namespace hadal
