#include "app/sampling_options.h"

namespace hadal {

void SamplingOptions::add_to(CLI::App& command) {
  command.add_option("--temp", temperature, "0: always the likeliest token (default 0.6)")
      ->check(CLI::Range(0.0f, 100.0f))
      ->type_name("T");
  command.add_option("--top-k", top_k, "draw from the K likeliest (0: off)")
      ->check(CLI::Range(0, 1 << 24))
      ->type_name("K");
  command.add_option("--top-p", top_p, "draw from the likeliest that sum to P (default 0.95)")
      ->check(CLI::Range(0.0f, 1.0f))
      ->type_name("P");
  command.add_option("--min-p", min_p, "leave out tokens below P times the likeliest")
      ->check(CLI::Range(0.0f, 1.0f))
      ->type_name("P");
  command
      .add_option("--typical-p", typical_p, "draw from those of ordinary surprise that sum to P")
      ->check(CLI::Range(0.01f, 1.0f))
      ->type_name("P");
  command.add_option("--repeat-penalty", repetition_penalty, "above 1: avoid repetition")
      ->check(CLI::Range(0.01f, 10.0f))
      ->type_name("R");
  seed_given =
      command.add_option("--seed", seed, "same seed, same prompt: same answer")->type_name("S");
}

SamplingParams SamplingOptions::params() const {
  SamplingParams params;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.min_p = min_p;
  params.typical_p = typical_p;
  params.repetition_penalty = repetition_penalty;
  if (seed_given != nullptr && seed_given->count() > 0) params.seed = seed;
  return params;
}

}  // namespace hadal
