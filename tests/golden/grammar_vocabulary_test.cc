// Goal: with a vocabulary of 128 K tokens masks are exact too: on random walks through grammars of
// every kind, sampled masks equal what asking for each token gives, which knows no trie, no slices
// and no caches.
#include <cstdio>
#include <filesystem>

#include <gtest/gtest.h>

#include "app/app.h"
#include "text/grammar/testing/grammar_fixture.h"
#include "text/grammar/testing/schema_maker.h"

namespace hadal::testing {
namespace {

TEST(GrammarVocabulary, MasksEqualTheirTwinOnARealVocabulary) {
  const std::filesystem::path path =
      std::filesystem::path(HADAL_SOURCE_DIR) / "build/testdata/deepseek-v3.gguf";
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << "SKIPPED: no " << path.filename()
                 << ", so masks over a real vocabulary are not compared with their twin; `python3 "
                    "tools/fetch_test_data.py` brings it";
  }
  const auto file = GgufFile::open(path);
  ASSERT_TRUE(file.ok()) << file.error().text();
  auto spec = vocab_from_gguf(file.value());
  ASSERT_TRUE(spec.ok()) << spec.error().text();
  const auto tokenizer = Tokenizer::create(std::move(spec).value());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().text();
  ASSERT_GT(tokenizer.value()->size(), 128'000);
  const auto vocabulary = GrammarVocabulary::create(*tokenizer.value());

  std::vector<Result<Grammar>> grammars;
  for (const char* text :
       {R"({"type":"object","properties":{"name":{"type":"string","minLength":1,"maxLength":80},
           "email":{"type":"string","format":"email"},"zip":{"pattern":"^[0-9]{5}$"}},
           "required":["name","email","zip"]})",
        R"({"type":"object","properties":{"title":{"pattern":"^[A-Z][A-Za-z ]{3,60}$"},
           "slug":{"pattern":"^[a-z]+(-[a-z]+)*$"},"at":{"format":"date-time"}},
           "required":["title","slug","at"]})"}) {
    grammars.push_back(schema(text));
  }
  for (uint64_t seed = 0; seed < 6; ++seed) {
    grammars.push_back(Grammar::from_json_schema(SchemaMaker(seed + 9000, true).make(3)));
  }
  grammars.push_back(Grammar::json_object());
  grammars.push_back(Grammar::from_gbnf("root ::= [a-z]+ (\" \" [^x\\n]+ \"x\")* \"\\n\""));
  grammars.push_back(
      Grammar::free_text({.branches = {{{"</think>", kNoToken},
                                        Grammar::from_regex("\\s?(ja|[0-9]{2,9})").value()}}}));
  WalkOptions options;
  options.free_tokens = 8;
  options.check_every = 7;
  options.tokens_max = 60;
  options.must_end = false;
  for (size_t i = 0; i < grammars.size(); ++i) {
    auto matcher = start(grammars[i], *vocabulary);
    ASSERT_TRUE(matcher.ok()) << i << ": " << matcher.error().text();
    random_text(std::move(matcher).value(), i, options);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace hadal::testing
