/// hadal cache: packed images that are kept for faster starts, and keys and values of prompts.
#include <fmt/format.h>

#include "app/app.h"
#include "app/options.h"
#include "app/output.h"
#include "app/packed_cache.h"
#include "engine/tiered_pages.h"

namespace hadal {
namespace {

struct CacheOptions {
  bool clear = false;
  bool json = false;
  std::string kv_directory;
};

Result<int> clear(const PackedCache& packed, const std::filesystem::path& kv_directory,
                  bool as_json) {
  const uint64_t bytes = packed.clear();
  const Result<uint64_t> kv_bytes = clear_kept_pages(kv_directory);
  if (as_json) {
    print_json(json::object{{"freed_bytes", bytes + (kv_bytes.ok() ? kv_bytes.value() : 0)}});
  } else {
    print_note(fmt::format("removed {} of packed models", human_bytes(bytes)));
    if (kv_bytes.ok() && kv_bytes.value() > 0) {
      print_note(fmt::format("removed {} of keys and values", human_bytes(kv_bytes.value())));
    }
  }
  if (!kv_bytes.ok()) return kv_bytes.error();
  return kExitOk;
}

Result<int> cache(const CacheOptions& options, const Settings& settings) {
  const PackedCache packed(settings.packed_directory());
  const std::filesystem::path kv_directory = options.kv_directory.empty()
                                                 ? settings.kv_directory()
                                                 : std::filesystem::path(options.kv_directory);
  if (options.clear) return clear(packed, kv_directory, options.json);
  json::array list;
  for (const CachedImage& image : packed.images()) {
    if (options.json) {
      list.push_back({{"path", image.path.string()},
                      {"bytes", image.bytes},
                      {"used", image.used_unix},
                      {"sources", json::array(image.sources.begin(), image.sources.end())}});
      continue;
    }
    const std::string sources = fmt::format("{}", fmt::join(image.sources, ", "));
    print_out(fmt::format("{:>10}  {}\n", human_bytes(image.bytes),
                          sources.empty() ? "(its model is gone)" : sources));
  }
  const KeptPages kept = kept_pages(kv_directory);
  if (options.json) {
    print_json(json::object{
        {"images", std::move(list)},
        {"kv", json::object{{"directory", kv_directory.string()}, {"bytes", kept.bytes}}}});
  } else if (kept.files > 0) {
    print_out(fmt::format("{:>10}  keys and values of prompts ({})\n", human_bytes(kept.bytes),
                          kv_directory.string()));
  }
  return kExitOk;
}

void add_cache(CLI::App& command, const Settings& settings, Action& run) {
  static CacheOptions options;
  command.add_flag("--clear", options.clear, "remove them all; they come again with the next use");
  command
      .add_option("--kv-cache-dir", options.kv_directory,
                  "where a server keeps keys and values (default: kv in HADAL_HOME)")
      ->type_name("DIR");
  add_json_option(command, options.json);
  command.footer(
      "A model is repacked for this machine when it is loaded; the result is kept, so that the "
      "next\n"
      "start is faster. HADAL_PACKED_CACHE=off keeps and uses nothing. Keys and values of prompts "
      "are\n"
      "kept by servers with --kv-cache-disk.");
  run = [&settings] { return cache(options, settings); };
}

}  // namespace

extern const Subcommand kCacheCommand;
const Subcommand kCacheCommand = {"cache", "what is kept on disk for faster starts and prompts",
                                  add_cache};

}  // namespace hadal
