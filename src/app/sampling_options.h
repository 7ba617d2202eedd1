#pragma once
/// --temp, --top-k, --top-p, --min-p, --typical-p, --seed, --repeat-penalty: the same in run and
/// chat.
#include <cstdint>

#include "app/app.h"
#include "engine/sampling.h"

namespace hadal {

/// Defaults are what DeepSeek recommends for its R1 models: temperature 0.6, top-p 0.95.
struct SamplingOptions {
  float temperature = 0.6f;
  int32_t top_k = 0;
  float top_p = 0.95f;
  float min_p = 0;
  float typical_p = 1;
  float repetition_penalty = 1;
  uint64_t seed = 0;
  CLI::Option* seed_given = nullptr;

  /// The struct must live as long as `command`.
  void add_to(CLI::App& command);
  SamplingParams params() const;
};

}  // namespace hadal
