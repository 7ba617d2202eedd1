#pragma once
/// Which model a machine gets when nobody names one.
#include <cstdint>
#include <string>

#include "app/app.h"
#include "app/catalogue.h"

namespace hadal {

/// Below this many tokens per second reading along is no fun.
inline constexpr double kReadableTokensPerSecond = 8;

/// What the choice rests on.
struct MachineFacts {
  uint64_t memory_available = 0;         ///< bytes that can be used without swapping
  double read_gbps = 0;                  ///< measured memory bandwidth, 1e9 bytes per second
  uint64_t disk_available = UINT64_MAX;  ///< bytes that the store's disk has free
  bool hugging_face = false;             ///< the hub (or its mirror) answered
  bool model_scope = false;
};

struct Choice {
  const CatalogueEntry* entry = nullptr;
  std::string why;  ///< one line for people
};

/// The largest DeepSeek model that fits on the disk and in 9/10 of the memory, and whose weights
/// can be read kReadableTokensPerSecond times a second, when a hub that has it answers; else the
/// starter model.
Choice choose_model(const MachineFacts& facts);

/// Asks the hubs (5 s each, at once), then measures memory and bandwidth if one answers.
MachineFacts look_at_machine(const Settings& settings);

/// The model chosen earlier on this machine, when it is still in the store.
std::optional<std::string> remembered_choice(const Settings& settings);
void remember_choice(const Settings& settings, const std::string& name);

}  // namespace hadal
