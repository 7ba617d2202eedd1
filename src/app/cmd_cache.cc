/// hadal cache: the packed images that are kept for faster starts.
#include <fmt/format.h>

#include "app/app.h"
#include "app/options.h"
#include "app/output.h"
#include "app/packed_cache.h"

namespace hadal {
namespace {

struct CacheOptions {
  bool clear = false;
  bool json = false;
};

Result<int> cache(const CacheOptions& options, const Settings& settings) {
  const PackedCache packed(settings.packed_directory());
  if (options.clear) {
    const uint64_t bytes = packed.clear();
    if (options.json) {
      print_json(json::object{{"freed_bytes", bytes}});
    } else {
      print_note(fmt::format("removed {} of packed models", human_bytes(bytes)));
    }
    return kExitOk;
  }
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
  if (options.json) print_json(json::object{{"images", std::move(list)}});
  return kExitOk;
}

void add_cache(CLI::App& command, const Settings& settings, Action& run) {
  static CacheOptions options;
  command.add_flag("--clear", options.clear, "remove them all; they come again with the next use");
  add_json_option(command, options.json);
  command.footer(
      "A model is repacked for this machine when it is loaded; the result is kept, so that the "
      "next\n"
      "start is faster. HADAL_PACKED_CACHE=off keeps and uses nothing.");
  run = [&settings] { return cache(options, settings); };
}

}  // namespace

extern const Subcommand kCacheCommand;
const Subcommand kCacheCommand = {"cache", "packed models kept for faster starts", add_cache};

}  // namespace hadal
