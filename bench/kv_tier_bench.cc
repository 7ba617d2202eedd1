// The tiers of KV pages beside their bounds: memory and disk bandwidth, what an offer costs the
// engine's thread, and with a model the time to the first token: cold, from the pool, from memory,
// and from disk after a restart. Usage: kv_tier_bench DIRECTORY [MODEL [PROMPT_TOKENS]]
#include <algorithm>
#include <cstring>
#include <future>
#include <optional>

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include "app/app.h"
#include "base/env.h"
#include "base/parse.h"
#include "engine/kv/kv_cache.h"
#include "engine/tiered_pages.h"
#include "timing.h"

namespace hadal {
namespace {

namespace fs = std::filesystem;

constexpr PageShape kShape = {.tokens = kKvPageTokens, .bytes = 737'280};  // SmolLM2-135M in F16
constexpr uint64_t kPages = 512;

struct Pages {
  std::vector<std::byte> bytes = std::vector<std::byte>(64 * kShape.bytes);
  std::vector<TokenId> tokens = std::vector<TokenId>(static_cast<size_t>(kShape.tokens), 7);

  Pages() {
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 >> 3);
  }
  std::span<const std::byte> page(uint64_t i) const {
    return std::span(bytes).subspan(i % 64 * kShape.bytes, kShape.bytes);
  }
  static PageKey key(uint64_t i) { return root_key("bench", std::to_string(i)); }
};

void report(const char* what, double seconds, uint64_t count, const char* bound = "") {
  const double bytes = static_cast<double>(count * kShape.bytes);
  fmt::print("{:<44}{:8.1f} us a page {:8.2f} GB/s  {}\n", what,
             seconds / static_cast<double>(count) * 1e6, bytes / seconds / 1e9, bound);
}

void bench_memory(const Pages& pages) {
  std::vector<std::byte> to(kPages * kShape.bytes);
  double copy = 0;
  for (int pass = 0; pass < 2; ++pass) {  // the second: without page faults
    const double begin = now();
    for (uint64_t i = 0; i < kPages; ++i) {
      std::memcpy(to.data() + i * kShape.bytes, pages.page(i).data(), kShape.bytes);
    }
    copy = now() - begin;
  }
  report("memcpy", copy, kPages);
  RamTier tier({kShape, kPages * kShape.bytes, 0}, nullptr, Env::real());
  for (uint64_t first : {uint64_t{0}, kPages}) {
    const double begin = now();
    for (uint64_t i = first; i < first + kPages; ++i) {
      tier.offer(Pages::key(i), pages.tokens, pages.page(i), 1);
    }
    report(first == 0 ? "memory, offer (fresh memory)" : "memory, offer (evicting)", now() - begin,
           kPages, "bound: memcpy");
  }
  const double begin = now();
  uint64_t ready = 0;
  for (uint64_t i = kPages; i < 2 * kPages; ++i) {
    std::span<std::byte> out(to.data() + (i - kPages) * kShape.bytes, kShape.bytes);
    ready += tier.fetch(Pages::key(i), pages.tokens, out) == PageTier::Fetch::kReady;
  }
  report("memory, fetch", now() - begin, ready, "bound: memcpy");
}

/// The disk itself: one file, written and read in pages. The file is flushed and let go by the page
/// cache before it is read.
void bench_file(const Pages& pages, const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  double begin = now();
  bool good = fd >= 0;
  for (uint64_t i = 0; i < kPages; ++i) {
    good = good && ::pwrite(fd, pages.page(i).data(), kShape.bytes,
                            static_cast<off_t>(i * kShape.bytes)) > 0;
  }
  report("file, write into the page cache", now() - begin, kPages);
  good = good && ::fsync(fd) == 0;
  report("file, write and flush", now() - begin, kPages);
  std::vector<std::byte> out(kShape.bytes);
  for (const bool cold : {true, false}) {
    if (cold) ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    begin = now();
    for (uint64_t i = 0; i < kPages; ++i) {
      good =
          good && ::pread(fd, out.data(), kShape.bytes, static_cast<off_t>(i * kShape.bytes)) > 0;
    }
    report(cold ? "file, read from the disk" : "file, read from the page cache", now() - begin,
           kPages);
  }
  ::close(fd);
  fs::remove(path);
  if (!good) fmt::print("the disk refused: figures above are worth nothing\n");
}

void forget_cached(const fs::path& directory) {
  ::sync();
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }
}

double read_all(DiskTier& tier, const Pages& pages) {
  std::vector<PageKey> keys;
  for (uint64_t i = 0; i < kPages; ++i) keys.push_back(Pages::key(i));
  std::vector<std::byte> out(kShape.bytes);
  const double begin = now();
  tier.prefetch(keys);
  for (const PageKey& key : keys) {
    while (tier.fetch(key, pages.tokens, out) == PageTier::Fetch::kPending) ::usleep(20);
  }
  return now() - begin;
}

void bench_disk(const Pages& pages, const fs::path& directory) {
  DiskTierOptions options;
  options.store = {directory, "bench", kShape, 2 * kPages * kShape.bytes, 0};
  auto tier = DiskTier::open(options, FileLayer::real(), Env::real());
  if (!tier.ok()) {
    fmt::print("{}\n", tier.error().text());
    return;
  }
  const double begin = now();
  tier.value()->begin_drain(Env::real().now_micros() + 60'000'000);
  for (uint64_t i = 0; i < kPages; ++i) {
    tier.value()->offer(Pages::key(i), pages.tokens, pages.page(i), 1);
  }
  tier.value()->finish_drain();
  report("disk tier, write", now() - begin, kPages, "bound: write into the page cache");
  tier = Error{};
  for (const bool cold : {true, false}) {
    if (cold) forget_cached(directory);
    const double open = now();
    tier = DiskTier::open(options, FileLayer::real(), Env::real());
    fmt::print("disk tier, open with {} pages: {:.1f} ms\n", tier.value()->stats().pages,
               (now() - open) * 1e3);
    report(cold ? "disk tier, read from the disk" : "disk tier, read from the page cache",
           read_all(*tier.value(), pages), kPages,
           cold ? "bound: read from the disk" : "bound: read from the page cache");
    tier = Error{};
  }
  fs::remove_all(directory);
}

/// Microseconds per page that a load without any reuse costs the engine's thread.
void bench_no_reuse(const Pages& pages, const fs::path& directory) {
  TieredPages tiers({.shape = kShape,
                     .ram_bytes = 64 * kShape.bytes,
                     .disk_bytes = kPages * kShape.bytes,
                     .directory = directory,
                     .fingerprint = "bench"},
                    Env::real());
  constexpr uint64_t kRefusedPages = 100'000;
  double trusted = now();
  uint64_t i = 0;
  for (; i < 128; ++i) {
    const PageKey key = Pages::key(i);
    const bool held = tiers.holds(key);
    if (!held) tiers.offer(key, pages.tokens, pages.page(i), 0);
  }
  trusted = now() - trusted;
  std::vector<PageKey> keys;
  for (; i < 128 + kRefusedPages; ++i) keys.push_back(Pages::key(i));
  double refused = now();
  for (const PageKey& key : keys) {
    if (!tiers.holds(key)) tiers.offer(key, pages.tokens, pages.page(0), 0);
  }
  refused = now() - refused;
  fmt::print("no reuse: {:.1f} us a page while pages are trusted (the first {}), {:.3f} us after\n",
             trusted / 128 * 1e6, tiers.ram_stats().stored,
             refused / static_cast<double>(kRefusedPages) * 1e6);
  fs::remove_all(directory);
}

class Waiter final : public TokenSink {
 public:
  explicit Waiter(std::promise<FinishEvent>& done) : done_(done) {}
  void on_token(const TokenEvent&) override {
    if (!first_.has_value()) first_ = now();
  }
  void on_finish(const FinishEvent& event) override { done_.set_value(event); }

 private:
  std::promise<FinishEvent>& done_;
  std::optional<double> first_;
};

struct Run {
  double ms = 0;  ///< submit to the first token, of one token
  int64_t cached = 0;
};

Run first_token(Engine& engine, const std::vector<TokenId>& prompt) {
  GenerateRequest request;
  request.prompt = prompt;
  request.sampling.temperature = 0;
  request.max_tokens = 1;
  std::promise<FinishEvent> done;
  const double begin = now();
  const auto id = engine.submit(std::move(request), std::make_unique<Waiter>(done));
  if (!id.ok()) {
    fmt::print("{}\n", id.error().text());
    return {};
  }
  const FinishEvent end = done.get_future().get();
  return {(now() - begin) * 1e3, end.cached_tokens};
}

std::vector<TokenId> prompt_of(int64_t tokens, int64_t n_vocab, uint64_t seed, uint64_t tail_seed) {
  std::vector<TokenId> out;
  for (int64_t i = 0; i < tokens; ++i) {
    const uint64_t from = i < tokens * 9 / 10 ? seed : tail_seed;
    out.push_back(static_cast<TokenId>((static_cast<uint64_t>(i) * 7919 + from * 104'729) %
                                       static_cast<uint64_t>(n_vocab)));
  }
  return out;
}

int bench_model(const fs::path& directory, const std::string& path, int64_t tokens) {
  const Settings settings = Settings::from_environment();
  auto loaded = load_model(path, {}, 0, settings);
  if (!loaded.ok()) {
    fmt::print("{}\n", loaded.error().text());
    return 1;
  }
  Model& model = *loaded.value().model;
  const PageShape shape = kv_page_shape(model.kv_layout());
  const uint64_t prompt_pages = static_cast<uint64_t>(tokens / kKvPageTokens + 1);
  const auto life = [&](bool ram, auto&& body) {
    TieredPages tiers({.shape = shape,
                       .ram_bytes = ram ? 8 * prompt_pages * shape.bytes : 0,
                       .disk_bytes = 16 * prompt_pages * (shape.bytes + 8192),
                       .directory = directory,
                       .fingerprint = path},
                      Env::real());
    Engine engine(model,
                  {.n_ctx = tokens + 64,
                   .max_batch = 1,
                   .kv_bytes = (prompt_pages + 8) * shape.bytes,
                   .model_fingerprint = tiers.fingerprint(),
                   .tier = &tiers},
                  Env::real());
    body(engine);
    tiers.begin_drain(Env::real().now_micros() + 60'000'000);
  };
  const auto prompt = [&](uint64_t seed, uint64_t tail) {
    return prompt_of(tokens, model.n_vocab(), seed, tail);
  };
  double cold = 0;
  const auto show = [&](const char* what, const Run& run) {
    fmt::print("{:<44}{:9.1f} ms  {:5} of {} tokens cached  {:.3f} of cold\n", what, run.ms,
               run.cached, tokens, run.ms / cold);
  };
  life(true, [&](Engine& engine) {
    first_token(engine, prompt(99, 99));  // warms the model up
    Run run = first_token(engine, prompt(1, 1));
    cold = run.ms;
    show("first token, cold", run);
    show("first token, 90 % in the pool", first_token(engine, prompt(1, 2)));
    first_token(engine, prompt(3, 3));  // pushes it out
    show("first token, 90 % in the memory tier", first_token(engine, prompt(1, 4)));
    first_token(engine, prompt(5, 5));
  });
  for (const bool in_page_cache : {false, true}) {
    if (!in_page_cache) forget_cached(directory);
    life(false, [&](Engine& engine) {
      show(in_page_cache ? "first token, restart, 90 % in files (cached)"
                         : "first token, restart, 90 % on disk",
           first_token(engine, prompt(1, in_page_cache ? 6 : 7)));
    });
  }
  fs::remove_all(directory);
  return 0;
}

}  // namespace

int bench(const fs::path& directory, const std::string& model, int64_t tokens) {
  const Pages pages;
  fs::create_directories(directory);
  fmt::print("pages of {} tokens, {} bytes\n", kShape.tokens, kShape.bytes);
  bench_memory(pages);
  bench_file(pages, directory / "plain");
  bench_disk(pages, directory / "kv");
  bench_no_reuse(pages, directory / "kv");
  return model.empty() ? 0 : bench_model(directory / "kv", model, tokens);
}

}  // namespace hadal

int main(int count, char** arguments) {
  if (count < 2) {
    fmt::print(stderr, "usage: kv_tier_bench DIRECTORY [MODEL [PROMPT_TOKENS]]\n");
    return 2;
  }
  const int64_t tokens =
      count > 3 ? hadal::parse_int<int64_t>(arguments[3]).value_or(2048) : int64_t{2048};
  return hadal::bench(arguments[1], count > 2 ? arguments[2] : "", tokens);
}
