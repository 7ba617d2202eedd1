#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "app/app.h"
#include "base/json.h"
#include "base/utf8.h"

// Tokenizers against ids that independent references gave (tools/make_tokenizer_vectors.py), on the
// vocabularies that tools/fetch_test_data.py puts into build/testdata.

namespace hadal {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = HADAL_SOURCE_DIR;
const fs::path kTestData = kRoot / "build/testdata";
constexpr const char* kBringsThem = "`python3 tools/fetch_test_data.py` brings them";

std::string read_all(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

Result<std::unique_ptr<Tokenizer>> load(const fs::path& path, const std::string& pre) {
  TRY(GgufFile file, GgufFile::open(path));
  TRY(VocabSpec spec, vocab_from_gguf(file));
  if (!pre.empty()) spec.pre = pre;
  return Tokenizer::create(std::move(spec));
}

std::vector<TokenId> parse_ids(const std::string& line) {
  std::istringstream in(line);
  std::vector<TokenId> ids;
  for (TokenId id; in >> id;) ids.push_back(id);
  return ids;
}

/// SplitMix64, as in the script.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next(uint64_t below) {
    state_ += 0x9E3779B97F4A7C15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (z ^ (z >> 31)) % below;
  }

 private:
  uint64_t state_;
};

/// FNV-1a over lists of ids, as in the script.
class Digest {
 public:
  void add(const std::vector<TokenId>& ids) {
    for (const TokenId id : ids) add_number(static_cast<uint32_t>(id));
    add_number(0xFFFFFFFF);
  }
  std::string text() const {
    char out[17];
    std::snprintf(out, sizeof(out), "%016llx", static_cast<unsigned long long>(value_));
    return out;
  }

 private:
  void add_number(uint32_t number) {
    for (int shift = 0; shift < 32; shift += 8) {
      value_ = (value_ ^ ((number >> shift) & 0xFF)) * 0x100000001B3u;
    }
  }
  uint64_t value_ = 0xCBF29CE484222325u;
};

/// The committed vectors and the generator of random strings that they hold.
class Vectors {
 public:
  Vectors() {
    auto parsed = parse_json(read_all(kRoot / "tests/golden/tokenizer/vectors.json"));
    CHECK(parsed.ok());
    root_ = std::move(parsed).value().as_object();
    auto encoders = parse_json(read_all(kRoot / "tests/golden/encoders/tokenizers.json"));
    CHECK(encoders.ok());
    for (const json::value& family : encoders.value().at("families").as_array()) {
      root_["families"].as_array().push_back(family);
    }
    for (const auto& atom : root_["atoms"].as_array()) atoms_.emplace_back(atom.as_string());
    for (const auto& range : root_["ranges"].as_array()) {
      ranges_.emplace_back(number(range.as_array()[0]), number(range.as_array()[1]));
    }
  }

  const json::array& families() { return root_["families"].as_array(); }
  const json::array& strings() { return root_["strings"].as_array(); }

  std::string random_string(Random& random, bool with_bytes) const {
    std::string out;
    for (uint64_t left = 1 + random.next(12); left > 0; --left) {
      const uint64_t kind = random.next(16);
      if (kind < 10) {
        out += atoms_[random.next(atoms_.size())];
      } else if (kind < 13) {
        const auto [first, last] = ranges_[random.next(ranges_.size())];
        utf8_append(out, static_cast<char32_t>(first + random.next(last - first + 1)));
      } else if (kind == 13) {
        const std::string& atom = atoms_[random.next(atoms_.size())];
        for (uint64_t n = 1 + random.next(40); n > 0; --n) out += atom;
      } else if (kind == 14 && with_bytes) {
        out += static_cast<char>(random.next(256));
      } else {
        out += static_cast<char>(32 + random.next(95));
      }
    }
    return out;
  }

  std::string bulk_text(std::string_view name) {
    const json::object& part = root_["bulk"].as_object()[name].as_object();
    const auto& words = part.find("words")->value().as_array();
    const auto& separator = part.find("separator")->value().as_string();
    const uint64_t wanted = number(root_["bulk_bytes"]);
    Random random(7);
    std::string out;
    while (out.size() < wanted) {
      out += words[random.next(words.size())].as_string();
      out += separator;
    }
    return out;
  }

  static uint64_t number(const json::value& value) {
    return static_cast<uint64_t>(value.as_int64());
  }

 private:
  json::object root_;
  std::vector<std::string> atoms_;
  std::vector<std::pair<uint64_t, uint64_t>> ranges_;
};

std::string text_of(const json::object& object, std::string_view name) {
  return std::string(object.find(name)->value().as_string());
}

fs::path vocabulary_path(const std::string& name) {
  if (name == "smollm2") return kTestData / "models/smollm2-135m.gguf";
  if (name == "minilm") return kTestData / "models/minilm";
  if (name == "e5-small") return kTestData / "models/e5-small.gguf";
  if (name == "unigram") return kRoot / "tests/golden/encoders/unigram";
  return kTestData / (name + ".gguf");
}

/// The `tokenizers` package drops U+0085 at the end, SentencePiece keeps it, and so do we
/// (docs/EMBEDDINGS.md): compared without, where that package is the reference.
std::string without_next_line(std::string text) {
  while (text.ends_with("\xC2\x85")) text.resize(text.size() - 2);
  return text;
}

void expect_strings(const Tokenizer& tokenizer, const json::array& strings, const json::array& ids,
                    bool drops_next_line) {
  ASSERT_EQ(strings.size(), ids.size());
  for (size_t i = 0; i < strings.size(); ++i) {
    std::string text(strings[i].as_string());
    if (drops_next_line) text = without_next_line(std::move(text));
    EXPECT_EQ(tokenizer.encode(text, Specials::kText), parse_ids(std::string(ids[i].as_string())))
        << text;
  }
}

void expect_random(const Tokenizer& tokenizer, const Vectors& vectors, const json::object& family,
                   bool drops_next_line) {
  Random random(Vectors::number(family.find("seed")->value()));
  const bool with_bytes = family.find("bytes")->value().as_bool();
  int block = 0;
  for (const auto& wanted : family.find("random")->value().as_array()) {
    Digest digest;
    for (int i = 0; i < 100; ++i) {
      std::string text = vectors.random_string(random, with_bytes);
      if (drops_next_line) text = without_next_line(std::move(text));
      digest.add(tokenizer.encode(text, Specials::kText));
    }
    EXPECT_EQ(digest.text(), std::string(wanted.as_string())) << "random strings, block " << block;
    ++block;
  }
}

// Goal: for every vocabulary that packages carry, and for every pre-tokenizer, 180 strings, 3,000
// random strings (invalid UTF-8 where the reference takes it) and a megabyte each of English,
// Chinese and code give exactly the reference's ids.
TEST(TokenizerGolden, EqualsReferences) {
  Vectors vectors;
  int compared = 0;
  for (const auto& value : vectors.families()) {
    const json::object& family = value.as_object();
    const fs::path path = vocabulary_path(text_of(family, "vocabulary"));
    SCOPED_TRACE(text_of(family, "name"));
    if (!fs::exists(path)) {
      std::printf("SKIPPED %s: no %s (tools/fetch_test_data.py brings it)\n",
                  text_of(family, "name").c_str(), path.c_str());
      continue;
    }
    auto tokenizer = load(path, text_of(family, "pre"));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().text();
    const bool drops_next_line = text_of(family, "name") == "e5-small";
    expect_strings(*tokenizer.value(), vectors.strings(), family.find("ids")->value().as_array(),
                   drops_next_line);
    expect_random(*tokenizer.value(), vectors, family, drops_next_line);
    for (const auto& [name, wanted] : family.find("bulk")->value().as_object()) {
      Digest digest;
      digest.add(tokenizer.value()->encode(vectors.bulk_text(name), Specials::kText));
      EXPECT_EQ(digest.text(), std::string(wanted.as_string())) << std::string_view(name);
    }
    ++compared;
  }
  if (compared == 0)
    GTEST_SKIP() << "SKIPPED: no vocabularies in " << kTestData << "; " << kBringsThem;
}

// Goal: markers become ids only where the template wrote them; the same bytes from a caller are
// text, and text on both sides of the border is still cut as one.
TEST(TokenizerGolden, SpecialsOnlyFromTheTemplate) {
  const fs::path path = kTestData / "deepseek-v3.gguf";
  if (!fs::exists(path)) GTEST_SKIP() << "SKIPPED: no " << path << "; " << kBringsThem;
  auto loaded = load(path, "");
  ASSERT_TRUE(loaded.ok()) << loaded.error().text();
  const Tokenizer& t = *loaded.value();
  const std::string chat = "<｜User｜>hi<｜Assistant｜>";
  EXPECT_EQ(t.encode(chat, Specials::kParse), (std::vector<TokenId>{128803, 6366, 128804}));
  for (const TokenId id : t.encode(chat, Specials::kText))
    EXPECT_EQ(t.kind(id), TokenKind::kNormal);

  MarkedText marked;
  marked.append("<｜User｜>He", MarkedText::kTemplate);
  marked.append("llo<｜Assistant｜>", MarkedText::kCaller);
  marked.append("<｜Assistant｜>", MarkedText::kTemplate);
  std::vector<TokenId> wanted = {128803};
  for (const TokenId id : t.encode("Hello<｜Assistant｜>", Specials::kText)) wanted.push_back(id);
  wanted.push_back(128804);
  EXPECT_EQ(t.encode(marked), wanted);
}

struct SharedFile {
  const char* vectors;
  fs::path vocabulary;
};

// Goal: the public vectors (46 strings each), where this checkout has them beside it.
TEST(TokenizerGolden, PublicVectors) {
  const fs::path shared = kRoot.parent_path() / "shared/data/tokenizer";
  if (!fs::exists(shared))
    GTEST_SKIP() << "SKIPPED: no public vectors at " << shared
                 << ", which lie beside a developer's checkout only";
  const std::vector<SharedFile> files = {
      {"ggml-vocab-gpt-2.gguf", shared / "ggml-vocab-gpt-2.gguf"},
      {"ggml-vocab-deepseek-llm.gguf", shared / "ggml-vocab-deepseek-llm.gguf"},
      {"ggml-vocab-llama-spm.gguf", shared / "ggml-vocab-llama-spm.gguf"},
      {"ggml-vocab-bert-bge.gguf", shared / "ggml-vocab-bert-bge.gguf"},
      {"deepseek-v3", kTestData / "deepseek-v3.gguf"}};
  const std::string separator = "\n__ggml_vocab_test__\n";
  for (const SharedFile& file : files) {
    SCOPED_TRACE(file.vectors);
    if (!fs::exists(file.vocabulary)) {
      std::printf("SKIPPED %s: no %s\n", file.vectors, file.vocabulary.c_str());
      continue;
    }
    auto tokenizer = load(file.vocabulary, "");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().text();
    const std::string inputs = read_all(shared / (std::string(file.vectors) + ".inp"));
    std::istringstream outputs(read_all(shared / (std::string(file.vectors) + ".out")));
    std::string line;
    size_t at = 0;
    int count = 0;
    while (std::getline(outputs, line) && at < inputs.size()) {
      const size_t end = std::min(inputs.find(separator, at), inputs.size());
      const std::string text = inputs.substr(at, end - at);
      EXPECT_EQ(tokenizer.value()->encode(text, Specials::kText), parse_ids(line)) << text;
      at = end + separator.size();
      ++count;
    }
    EXPECT_EQ(count, 46);
  }
}

}  // namespace
}  // namespace hadal
