/// Speed of encoding: tokenizer_bench VOCABULARY.gguf [TEXT_FILE ...]
/// Without files: a megabyte each of English, Chinese and code, drawn from the words of the golden
/// vectors. One thread. Prints MB/s and bytes per cycle; the bound is
/// reading the text once, so what is printed beside it is the speed of summing its bytes.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "app/app.h"
#include "app/benchmark.h"
#include "base/env.h"
#include "base/json.h"

namespace {

using hadal::Result;
using hadal::Specials;
using hadal::Tokenizer;
using Clock = std::chrono::steady_clock;
using Texts = std::vector<std::pair<std::string, std::string>>;

constexpr size_t kTextBytes = 1'000'000;
constexpr int kRounds = 7;

Result<Texts> generated_texts() {
  TRY(const std::string file,
      hadal::Env::real().read_file(HADAL_SOURCE_DIR "/tests/golden/tokenizer/vectors.json",
                                   4 << 20));
  TRY(const hadal::json::value vectors, hadal::parse_json(file));
  Texts texts;
  for (const auto& [name, part] : vectors.as_object().find("bulk")->value().as_object()) {
    const auto& words = part.as_object().find("words")->value().as_array();
    const auto& separator = part.as_object().find("separator")->value().as_string();
    std::string text;
    uint64_t state = 7;
    while (text.size() < kTextBytes) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      text.append(words[(state >> 33) % words.size()].as_string());
      text.append(separator);
    }
    texts.emplace_back(std::string(name), std::move(text));
  }
  return texts;
}

Result<Texts> read_texts(int count, char** paths) {
  if (count == 0) return generated_texts();
  Texts texts;
  for (int i = 0; i < count; ++i) {
    TRY(std::string text, hadal::Env::real().read_file(paths[i], 1 << 30));
    texts.emplace_back(paths[i], std::move(text));
  }
  return texts;
}

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/// Seconds of the best of kRounds.
template <typename Work>
double best(Work work) {
  double seconds = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    const double start = thread_seconds();
    work();
    seconds = std::min(seconds, thread_seconds() - start);
  }
  return seconds;
}

Result<int> run(int count, char** arguments) {
  TRY(const hadal::GgufFile file, hadal::GgufFile::open(arguments[1]));
  TRY(hadal::VocabSpec spec, hadal::vocab_from_gguf(file));
  const auto start = Clock::now();
  TRY(const auto tokenizer, Tokenizer::create(std::move(spec)));
  std::printf("create: %.0f ms for %lld tokens\n",
              std::chrono::duration<double>(Clock::now() - start).count() * 1e3,
              static_cast<long long>(tokenizer->size()));
  TRY(const Texts texts, read_texts(count - 2, arguments + 2));
  const double rate = hadal::measure_clock_ghz() * 1e9;
  for (const auto& [name, text] : texts) {
    size_t ids = 0;
    const double seconds =
        best([&, &t = text] { ids = tokenizer->encode(t, Specials::kText).size(); });
    volatile unsigned sink = 0;
    const double sum_seconds =
        best([&, &t = text] { sink = std::accumulate(t.begin(), t.end(), 0u); });
    const auto size = static_cast<double>(text.size());
    std::printf(
        "%-10s %7.1f MB/s %6.1f cycles/byte %6.2f bytes/token   (sum of bytes: %.0f MB/s)\n",
        name.c_str(), size / seconds / 1e6, seconds * rate / size, size / static_cast<double>(ids),
        size / sum_seconds / 1e6);
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    std::fprintf(stderr, "usage: tokenizer_bench VOCABULARY.gguf [TEXT_FILE ...]\n");
    return 2;
  }
  const auto done = run(count, arguments);
  if (!done.ok()) std::fprintf(stderr, "tokenizer_bench: %s\n", done.error().text().c_str());
  return done.ok() ? 0 : 1;
}
