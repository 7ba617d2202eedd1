/// Speed of structured output: grammar_bench VOCABULARY.gguf
/// Random valid walks over realistic schemas: microseconds per mask (first visits and repeated
/// ones, as one server sees them) and per compilation, one thread. The bound of a mask is writing
/// it once; what is printed beside it is the time of copying one. Aims: mask p50 30, p99 500;
/// compile p50 2000.
#include <algorithm>
#include <bit>
#include <cstdio>
#include <ctime>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "app/app.h"
#include "base/json.h"
#include "text/grammar.h"
#include "text/grammar_matcher.h"

namespace {

using hadal::CompiledGrammar;
using hadal::Grammar;
using hadal::GrammarMatcher;
using hadal::GrammarVocabulary;
using hadal::Result;
using hadal::TokenId;
using hadal::Tokenizer;

constexpr int kWalks = 6;           // per grammar; each with a compiled grammar of its own
constexpr size_t kTokensMax = 300;  // of a walk

/// Of this thread: what other programs take does not count.
double now_micros() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}
double micros_since(double start) {
  return now_micros() - start;
}

struct Named {
  const char* name;
  const char* schema;
};

constexpr Named kSchemas[] = {
    {"tool call", R"({"type":"object","properties":{"city":{"type":"string"},
      "unit":{"enum":["celsius","fahrenheit"]},"days":{"type":"integer","minimum":1,"maximum":14}},
      "required":["city"],"additionalProperties":false})"},
    {"contact",
     R"({"type":"object","properties":{"name":{"type":"string","minLength":1,"maxLength":80},
      "email":{"type":"string","format":"email"},"phone":{"type":"string",
      "pattern":"^\\+?[0-9 ()-]{7,20}$"},"born":{"type":"string","format":"date"},
      "tags":{"type":"array","items":{"type":"string"},"maxItems":8},
      "address":{"type":"object","properties":{"street":{"type":"string"},"zip":{"type":"string",
      "pattern":"^[0-9]{5}$"},"city":{"type":"string"}},"required":["street","city"]}},
      "required":["name","email"]})"},
    {"recursive tree", R"({"$defs":{"node":{"type":"object","properties":{"value":{"type":"string"},
      "children":{"type":"array","items":{"$ref":"#/$defs/node"}}},"required":["value",
      "children"]}},
      "$ref":"#/$defs/node"})"},
    {"union of steps", R"({"type":"object","properties":{"steps":{"type":"array","minItems":1,
      "items":{"anyOf":[{"type":"object","properties":{"kind":{"const":"search"},"query":{"type":
      "string"},"top_k":{"type":"integer"}},"required":["kind","query"]},{"type":"object",
      "properties":{"kind":{"const":"write"},"path":{"type":"string","pattern":"^[a-z0-9_./-]+$"},
      "text":{"type":"string"}},"required":["kind","path","text"]},{"type":"object","properties":
      {"kind":{"const":"done"},"score":{"type":"number","minimum":0,"maximum":1}},
      "required":["kind","score"]}]}},"final":{"type":["string","null"]}},"required":["steps",
      "final"]})"},
    {"map of records", R"({"type":"object","additionalProperties":{"type":"object","properties":{
      "id":{"type":"string","format":"uuid"},"at":{"type":"string","format":"date-time"},
      "price":{"type":"number","exclusiveMinimum":0},"open":{"type":"boolean"}},
      "required":["id","at","price"]}})"},
    {"words pattern", R"({"type":"object","properties":{"title":{"type":"string",
      "pattern":"^[A-Z][A-Za-z ]{3,60}$"},"slug":{"type":"string","pattern":"^[a-z]+(-[a-z]+)*$"},
      "summary":{"type":"string","minLength":10,"maxLength":400}},
      "required":["title","slug","summary"]})"},
};

constexpr const char* kGbnf = R"(root ::= object
value ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
)";

struct Times {
  std::vector<double> masks, compiles, accepts;
};

double at_quantile(std::vector<double>& values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1,
                         static_cast<size_t>(q * static_cast<double>(values.size())))];
}

/// A token the model might take: most often a plain one, sometimes what ends a string.
TokenId pick(std::span<const uint64_t> bits, const Tokenizer& tokenizer, std::mt19937_64& random) {
  std::vector<TokenId> ids;
  for (size_t w = 0; w < bits.size(); ++w) {
    for (uint64_t left = bits[w]; left != 0; left &= left - 1) {
      ids.push_back(static_cast<TokenId>(w * 64 + static_cast<size_t>(std::countr_zero(left))));
    }
  }
  if (ids.empty()) return hadal::kNoToken;
  if (random() % 6 == 0) {
    for (size_t tries = 0; tries < ids.size() && tries < 2000; ++tries) {
      const TokenId id = ids[random() % ids.size()];
      if (tokenizer.piece(id, false).find('"') != std::string_view::npos) return id;
    }
  }
  return ids[random() % ids.size()];
}

Result<int> walk(const Grammar& grammar, const GrammarVocabulary& vocabulary, uint64_t seed,
                 Times& times) {
  double start = now_micros();
  TRY(auto compiled, CompiledGrammar::compile(grammar, vocabulary));
  times.compiles.back() += micros_since(start);
  GrammarMatcher matcher(compiled);
  std::mt19937_64 random(seed);
  for (size_t step = 0; step < kTokensMax && !matcher.finished(); ++step) {
    start = now_micros();
    const hadal::AllowedTokens allowed = matcher.allowed();
    times.masks.push_back(micros_since(start));
    const TokenId id = pick(allowed.bits, vocabulary.tokenizer(), random);
    start = now_micros();
    if (!matcher.accept(id)) return hadal::Error{hadal::Code::kInternal, "a mask was wrong"};
    times.accepts.push_back(micros_since(start));
  }
  return 0;
}

void report(const char* name, Times times) {
  std::printf("%-16s %6zu %8.1f %8.1f %8.1f %8.1f %9.2f %10.0f %10.0f\n", name, times.masks.size(),
              at_quantile(times.masks, 0.5), at_quantile(times.masks, 0.9),
              at_quantile(times.masks, 0.99), at_quantile(times.masks, 1),
              at_quantile(times.accepts, 0.5), at_quantile(times.compiles, 0.5),
              at_quantile(times.compiles, 1));
}

template <typename Make>
Result<int> measure(const char* name, const GrammarVocabulary& vocabulary, Make make, Times& all) {
  Times times;
  for (int i = 0; i < kWalks; ++i) {
    const double start = now_micros();
    TRY(const Grammar grammar, make());
    times.compiles.push_back(micros_since(start));
    TRY(const int done, walk(grammar, vocabulary, static_cast<uint64_t>(i) + 1, times));
    (void)done;
  }
  all.masks.insert(all.masks.end(), times.masks.begin(), times.masks.end());
  all.accepts.insert(all.accepts.end(), times.accepts.begin(), times.accepts.end());
  all.compiles.insert(all.compiles.end(), times.compiles.begin(), times.compiles.end());
  report(name, std::move(times));
  return 0;
}

Result<int> run(const char* path) {
  TRY(const hadal::GgufFile file, hadal::GgufFile::open(path));
  TRY(hadal::VocabSpec spec, hadal::vocab_from_gguf(file));
  TRY(const auto tokenizer, Tokenizer::create(std::move(spec)));
  double start = now_micros();
  const auto vocabulary = GrammarVocabulary::create(*tokenizer);
  std::printf("vocabulary: %lld tokens, trie in %.0f ms, %.1f MB\n",
              static_cast<long long>(tokenizer->size()), micros_since(start) / 1e3,
              static_cast<double>(vocabulary->memory_bytes()) / 1e6);
  std::vector<uint64_t> from(vocabulary->words(), 1);
  std::vector<uint64_t> to(vocabulary->words());
  start = now_micros();
  for (uint64_t i = 0; i < 1000; ++i) {
    from[i % from.size()] = i;
    std::copy(from.begin(), from.end(), to.begin());
    volatile uint64_t sink = to[i % to.size()];
    (void)sink;
  }
  std::printf("copy of one mask: %.2f us\n\n", micros_since(start) / 1000);
  std::printf("%-16s %6s %8s %8s %8s %8s %9s %10s %10s\n", "us", "masks", "p50", "p90", "p99",
              "max", "accept50", "compile50", "compile1st");
  Times all;
  for (const Named& named : kSchemas) {
    TRY(const hadal::json::value schema, hadal::parse_json(named.schema));
    TRY(const int done,
        measure(
            named.name, *vocabulary, [&] { return Grammar::from_json_schema(schema); }, all));
    (void)done;
  }
  TRY(const int object, measure(
                            "any JSON object", *vocabulary,
                            []() -> Result<Grammar> { return Grammar::json_object(); }, all));
  TRY(const int gbnf,
      measure(
          "JSON in GBNF", *vocabulary, [] { return Grammar::from_gbnf(kGbnf); }, all));
  (void)object;
  (void)gbnf;
  report("all", std::move(all));
  std::printf("\nshared automata and masks: %.1f MB\n",
              static_cast<double>(vocabulary->memory_bytes()) / 1e6);
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: grammar_bench VOCABULARY.gguf\n");
    return 2;
  }
  const auto done = run(arguments[1]);
  if (!done.ok()) std::fprintf(stderr, "grammar_bench: %s\n", done.error().text().c_str());
  return done.ok() ? 0 : 1;
}
