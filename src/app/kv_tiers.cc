#include "app/kv_tiers.h"

#include <fmt/format.h>

#include "app/embedded_model.h"
#include "app/memory.h"
#include "app/packed_cache.h"
#include "app/sha256.h"
#include "base/env.h"
#include "base/log.h"
#include "base/parse.h"
#include "kernels/kernels.h"

namespace hadal {
namespace {

/// A server that is told to end has this long to write; those who watch it wait for longer.
constexpr int64_t kKeepMicros = 20'000'000;

Result<std::string> digest_of(const GgufFile& file, const Settings& settings) {
  if (auto known = PackedCache(settings.packed_directory()).digest(file)) return *known;
  if (file.origins().empty()) {
    const auto bytes = embedded_model();
    return sha256_of({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  return model_digest(file.origins());
}

/// All that keys and values depend on besides the tokens. Another instruction set or another
/// version may round differently, and then the same prompt would not get the same tokens.
Result<std::string> fingerprint(const LoadedModel& loaded, const ModelSettings& options,
                                const Settings& settings) {
  TRY(const std::string digest, digest_of(*loaded.file, settings));
  const KvLayout layout = loaded.model->kv_layout();
  return fmt::format("{} {} {} contents={} layers={} heads={} width={} type={} extra={} latent={}",
                     digest, HADAL_VERSION, isa_name(current_isa()), kKvContents, layout.n_layers,
                     layout.n_kv_heads, layout.d_head, static_cast<int>(layout.type),
                     layout.extra_bytes, options.latent);
}

}  // namespace

Result<std::unique_ptr<TieredPages>> open_kv_tiers(const ModelSettings& options,
                                                   const LoadedModel& loaded,
                                                   const Settings& settings) {
  TieredPagesOptions tiers;
  tiers.ram_bytes = parse_bytes(options.kv_cache_ram).value_or(0);
  tiers.disk_bytes = parse_bytes(options.kv_cache_disk).value_or(0);
  if (tiers.ram_bytes == 0 && tiers.disk_bytes == 0) return std::unique_ptr<TieredPages>();
  const uint64_t machine = machine_memory_bytes();
  if (machine > 0 && tiers.ram_bytes >= machine) {
    return Error{Code::kInvalidArgument,
                 fmt::format("--kv-cache-ram {} is more than the machine has ({:.1f} GiB)",
                             options.kv_cache_ram, static_cast<double>(machine) / 0x1p30)};
  }
  tiers.shape = kv_page_shape(loaded.model->kv_layout());
  tiers.ram_seconds = options.kv_cache_ram_seconds;
  tiers.disk_seconds = options.kv_cache_disk_seconds;
  tiers.directory = options.kv_cache_dir.empty() ? settings.kv_directory()
                                                 : std::filesystem::path(options.kv_cache_dir);
  std::error_code ignored;  // where it fails, the tier says that it cannot make its directory
  std::filesystem::create_directories(tiers.directory.parent_path(), ignored);
  TRY(tiers.fingerprint, fingerprint(loaded, options, settings));
  return std::make_unique<TieredPages>(tiers, Env::real());
}

void begin_keeping(TieredPages& pages) {
  pages.begin_drain(Env::real().now_micros() + kKeepMicros);
}

void log_kv_tiers(const TieredPages& pages) {
  const TierStats ram = pages.ram_stats();
  const TierStats disk = pages.disk_stats();
  log_event(LogLevel::kInfo, "kv_tiers",
            {{"ram_pages", ram.pages},
             {"ram_hits", ram.hits},
             {"disk_pages", disk.pages},
             {"disk_hits", disk.hits},
             {"disk_bytes", disk.bytes},
             {"dropped", ram.dropped + disk.dropped},
             {"corrupt", ram.corrupt + disk.corrupt},
             {"errors", disk.errors}});
}

}  // namespace hadal
