// Goal: the small tools of the commands: ids, sizes, suggestions, names, hashes, addresses.
#include <gtest/gtest.h>

#include "app/download.h"
#include "app/generate.h"
#include "app/output.h"
#include "app/progress.h"
#include "app/pull.h"
#include "app/sha256.h"
#include "app/store.h"

namespace hadal {
namespace {

TEST(ParseIds, BlanksCommasBrackets) {
  const auto ids = parse_ids(" [1, 22\n333]\t0 ");
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(ids.value(), (std::vector<TokenId>{1, 22, 333, 0}));
  EXPECT_TRUE(parse_ids("").value().empty());
}

TEST(ParseIds, NamesTheWordThatIsNone) {
  for (const char* bad : {"x", "1.5", "-1", "2147483648", "0x10", "1e3"}) {
    const auto ids = parse_ids(std::string("7 ") + bad);
    ASSERT_FALSE(ids.ok()) << bad;
    EXPECT_NE(ids.error().message.find(bad), std::string::npos) << ids.error().message;
  }
}

TEST(HumanBytes, PowersOfThousand) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1000), "1.0 kB");
  EXPECT_EQ(human_bytes(999'950), "1.0 MB");
  EXPECT_EQ(human_bytes(98'362'432), "98.4 MB");
  EXPECT_EQ(human_bytes(42'520'000'000), "42.5 GB");
}

TEST(NearNames, NearestFirst) {
  const std::vector<std::string> names = {"tokenize", "detokenize", "template", "run"};
  EXPECT_EQ(near_names("tokenise", names).front(), "tokenize");
  EXPECT_EQ(near_names("TOKENIZE", names).front(), "tokenize");
  EXPECT_EQ(near_names("rnu", names), std::vector<std::string>{"run"});
  EXPECT_TRUE(near_names("xyzzy", names).empty());
  EXPECT_EQ(did_you_mean({}), "");
}

TEST(ModelNames, NothingThatClimbs) {
  for (const char* good : {"a", "smollm2-135m", "Model_v1.5", "9"})
    EXPECT_TRUE(is_model_name(good));
  for (const char* bad : {"", ".", "..", "../a", "a/b", "-rf", ".hidden", "a b", "模型", "a\n"}) {
    EXPECT_FALSE(is_model_name(bad)) << bad;
    EXPECT_TRUE(is_model_name(to_model_name(bad))) << bad;
  }
  EXPECT_FALSE(is_model_name(std::string(129, 'a')));
}

TEST(StoreNames, FromReferences) {
  EXPECT_EQ(store_name_of("smollm2-135m"), "smollm2-135m");
  EXPECT_EQ(store_name_of("hf:ORG/REPO/sub/My.Model-Q4.gguf"), "My.Model-Q4");
  EXPECT_EQ(store_name_of("https://host/a/b.gguf?download=true#x"), "b");
  EXPECT_EQ(store_name_of("https://host/"), "model");
}

TEST(Sha256, KnownDigest) {
  // FIPS 180-4, the "abc" example.
  EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_TRUE(is_sha256(sha256_of("")));
  EXPECT_FALSE(is_sha256("abc"));
  EXPECT_FALSE(is_sha256(std::string(64, 'g')));
  EXPECT_FALSE(sha256_of_file("/nonexistent/file").ok());
}

TEST(Addresses, PathsAreEncoded) {
  EXPECT_EQ(url_path_encoded("a/b-c_d.e~f"), "a/b-c_d.e~f");
  EXPECT_EQ(url_path_encoded("a b?c#d%"), "a%20b%3Fc%23d%25");
  EXPECT_EQ(url_path_encoded("模"), "%E6%A8%A1");
}

TEST(Context, FitsPromptAndAnswer) {
  EXPECT_EQ(context_for(10, 0, 0, 2048).value(), 2048);
  EXPECT_EQ(context_for(10, 0, 0, 131072).value(), 8192);
  EXPECT_EQ(context_for(10000, 500, 0, 131072).value(), 10500);
  EXPECT_EQ(context_for(10, 0, 100, 2048).value(), 100);
  EXPECT_FALSE(context_for(2048, 0, 0, 2048).ok());
  EXPECT_FALSE(context_for(100, 0, 100, 2048).ok());
  EXPECT_FALSE(context_for(1, 0, 4096, 2048).ok());
}

TEST(Progress, ClockText) {
  EXPECT_EQ(clock_text(0), "0:00");
  EXPECT_EQ(clock_text(65), "1:05");
  EXPECT_EQ(clock_text(2 * 3600 + 3 * 60 + 4), "2:03:04");
}

}  // namespace
}  // namespace hadal
