// Speed of an encoder: texts of one length at a time, in batches of 2048 tokens and alone, in
// floats (or as the file has it) and with 8 bits. The bound is that of the matrices' multiply-adds:
// the 8-bit dot products of all cores on registers; attention, norms and activations are not
// counted. Usage: embed_bench MODEL [THREADS]
#include <cstdlib>
#include <random>
#include <vector>

#include <fmt/core.h>

#include "app/embedder.h"
#include "kernels/ceiling.h"
#include "kernels/kernels.h"
#include "timing.h"

namespace hadal {
namespace {

constexpr size_t kTokens = 2048;

/// Best seconds of one call with so many texts of so many ids.
double measure(Encoder& encoder, size_t texts, size_t length) {
  std::mt19937 random(1);
  std::vector<std::vector<TokenId>> ids(texts);
  std::vector<EncoderText> inputs;
  for (auto& one : ids) {
    for (size_t i = 0; i < length; ++i) {
      one.push_back(
          static_cast<TokenId>(random() % static_cast<uint32_t>(encoder.config().n_vocab)));
    }
    inputs.push_back({one});
  }
  std::vector<float> out(texts * static_cast<size_t>(encoder.config().d_model));
  return best_seconds(1.5, [&](int64_t) { (void)encoder.embed(inputs, out); });
}

int bench(int argc, char** argv) {
  if (argc < 2) {
    fmt::print("usage: embed_bench MODEL [THREADS]\n");
    return 2;
  }
  const int threads = argc > 2 ? std::atoi(argv[2]) : ThreadPool::default_threads();
  ThreadPool pool(threads);
  const double peak = measure_mac_gps(pool);
  auto file = GgufFile::open(argv[1]);
  if (!file.ok()) {
    fmt::print("{}\n", file.error().text());
    return 1;
  }
  fmt::print("{} threads, {}, peak of 8-bit products {:.0f} GMAC/s\n", threads,
             isa_name(current_isa()), peak);
  fmt::print("{:8} {:>6} {:>6} {:>10} {:>10} {:>9} {:>8}\n", "weights", "texts", "length",
             "texts/s", "tokens/s", "GMAC/s", "of peak");
  for (const bool quantise : {false, true}) {
    auto loaded = Encoder::load(file.value(), {.quantise = quantise}, pool);
    if (!loaded.ok()) {
      fmt::print("{}\n", loaded.error().text());
      return 1;
    }
    Encoder& encoder = *loaded.value();
    for (const size_t length : {16, 64, 256, 512}) {
      if (static_cast<int64_t>(length) > encoder.config().n_ctx) continue;
      for (const size_t texts : {size_t{1}, kTokens / length}) {
        const double seconds = measure(encoder, texts, length);
        const double tokens = static_cast<double>(texts * length) / seconds;
        const double macs = tokens * static_cast<double>(encoder.macs_per_token()) / 1e9;
        fmt::print("{:8} {:6} {:6} {:10.1f} {:10.0f} {:9.1f} {:8.2f}\n",
                   quantise ? "8 bits" : "as given", texts, length,
                   static_cast<double>(texts) / seconds, tokens, macs, macs / peak);
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace hadal

int main(int argc, char** argv) {
  return hadal::bench(argc, argv);
}
