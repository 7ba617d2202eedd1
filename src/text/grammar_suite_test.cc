// Goal: the JSON Schema Test Suite (draft 2020-12): of every schema that is not refused, each
// invalid instance is refused; valid ones are accepted, but for those that
// docs/STRUCTURED_OUTPUT_SUITE.md lists with the reason. That page is this test's own output.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "text/grammar/testing/grammar_fixture.h"

namespace hadal::testing {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = HADAL_SOURCE_DIR;
const fs::path kSuite = kRoot / "build/testdata/json-schema-suite.json";
const fs::path kPage = kRoot / "docs/STRUCTURED_OUTPUT_SUITE.md";

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

const json::value& get(const json::value& of, const char* name) {
  return of.get_object().find(name)->value();
}

std::string text_at(const json::value& of, const char* name) {
  return std::string(get(of, name).get_string());
}

std::string_view type_of(const json::value& value) {
  constexpr std::string_view kNames[] = {"null",   "boolean", "number", "number",
                                         "number", "string",  "array",  "object"};
  return kNames[static_cast<size_t>(value.kind())];
}

class Suite {
 public:
  void run(const json::object& files) {
    for (const auto& file : files) {
      Counts counts;
      for (const json::value& group : file.value().get_array())
        run_group(file.key(), group, counts);
      table_ += fmt::format("| {} | {} | {} | {} | {} | {} |\n", std::string_view(file.key()),
                            counts.groups, counts.accepted, counts.valid, counts.narrower,
                            counts.invalid);
      all_.add(counts);
    }
    table_ += fmt::format("| all | {} | {} | {} | {} | {} |\n", all_.groups, all_.accepted,
                          all_.valid, all_.narrower, all_.invalid);
  }

  std::string page() const {
    std::string out =
        "# What of the JSON Schema Test Suite is accepted\n\n"
        "Draft 2020-12, by `./dev test text`, which also checks that this page is true. "
        "`accepted`: "
        "groups whose schema is enforced; the others are refused with the error below. `valid`: "
        "valid instances that may be written; `narrower`: valid ones that never are, for the "
        "reasons below; `invalid`: invalid instances, none of which can be written. Formats: those "
        "that [STRUCTURED_OUTPUT.md](STRUCTURED_OUTPUT.md) lists.\n\n"
        "| file | groups | accepted | valid | narrower | invalid |\n|---|---|---|---|---|---|\n" +
        table_ + "\n## Refused\n";
    for (const auto& [reason, groups] : refused_) {
      out += fmt::format("- {} ({}):", reason, groups.size());
      for (const std::string& group : groups) out += "\n  - " + group;
      out += '\n';
    }
    out += "\n## Narrower\n";
    for (const auto& [reason, tests] : narrower_) {
      out += fmt::format("- {}:", reason);
      for (const std::string& test : tests) out += "\n  - " + test;
      out += '\n';
    }
    return out;
  }

 private:
  struct Counts {
    int groups = 0, accepted = 0, valid = 0, narrower = 0, invalid = 0;
    void add(const Counts& other) {
      groups += other.groups;
      accepted += other.accepted;
      valid += other.valid;
      narrower += other.narrower;
      invalid += other.invalid;
    }
  };

  void run_group(std::string_view file, const json::value& group, Counts& counts) {
    ++counts.groups;
    const std::string name = fmt::format("{}: {}", file, text_at(group, "description"));
    const json::value& schema = get(group, "schema");
    const auto compiled = start(Grammar::from_json_schema(schema));
    if (!compiled.ok()) {
      refused_[reason_of(compiled.error().message)].insert(name);
      return;
    }
    ++counts.accepted;
    for (const json::value& test : get(group, "tests").get_array()) {
      const std::string what = fmt::format("{}: {}", name, text_at(test, "description"));
      const json::value& data = get(test, "data");
      const bool accepted = accepts(compiled.value(), data);
      if (get(test, "valid").get_bool()) {
        ++(accepted ? counts.valid : counts.narrower);
        if (accepted) continue;
        const std::string why = why_narrower(file, schema, compiled.value(), data);
        narrower_[why].insert(why.starts_with("another type") ? name : what);
      } else {
        ++counts.invalid;
        EXPECT_FALSE(accepted) << what << "\n" << to_json(schema) << "\n" << to_json(data);
      }
    }
  }

  static bool accepts(const GrammarMatcher& begin, const json::value& data) {
    GrammarMatcher matcher = begin.fork();
    return matcher.accept_text(to_json(data)) && matcher.can_end();
  }

  /// Without the place and which reference it is.
  static std::string reason_of(std::string message) {
    const size_t colon = message.find(": ");
    if (message.starts_with("schema, at ") && colon != std::string::npos) {
      message.erase(0, colon + 2);
    }
    const size_t quote = message.find("\" is not");
    return message.starts_with("$ref \"") && quote != std::string::npos
               ? "a $ref that" + message.substr(quote + 1)
               : message;
  }

  static bool in_another_order(const GrammarMatcher& begin, const json::value& data) {
    if (!data.is_object() || data.get_object().size() > 5) return false;
    std::vector<std::string> names;
    for (const auto& entry : data.get_object()) names.emplace_back(entry.key());
    std::sort(names.begin(), names.end());
    do {
      json::object ordered;
      for (const std::string& name : names) ordered[name] = data.get_object().find(name)->value();
      if (accepts(begin, ordered)) return true;
    } while (std::next_permutation(names.begin(), names.end()));
    return false;
  }

  static std::string why_narrower(std::string_view file, const json::value& schema,
                                  const GrammarMatcher& begin, const json::value& data) {
    if (schema.is_object() && of_other_type(schema.get_object(), data)) {
      return "another type than the keywords are about, in a schema without type";
    }
    if (in_another_order(begin, data)) return "properties in another order than the schema's";
    if (file.starts_with("format")) return "forms of a format that are not written";
    return "entries that the schema does not list, keys that two patterns match, values of another "
           "type further inside, vocabularies";
  }

  /// By the keywords at the top of a schema.
  static bool of_other_type(const json::object& schema, const json::value& data) {
    constexpr std::pair<std::string_view, std::string_view> kAbout[] = {
        {"roperties", "object"}, {"required", "object"}, {"propertyNames", "object"},
        {"tems", "array"},       {"imum", "number"},     {"multipleOf", "number"},
        {"Length", "string"},    {"pattern", "string"},  {"format", "string"}};
    bool about_others = false;
    for (const auto& entry : schema) {
      const std::string_view key = entry.key();
      if (key == "type" || key == "const" || key == "enum") return false;
      for (const auto& [ending, type] : kAbout) {
        if (!key.ends_with(ending)) continue;
        if (type == type_of(data)) return false;
        about_others = true;
      }
    }
    return about_others;
  }

  Counts all_;
  std::string table_;
  std::map<std::string, std::set<std::string>> refused_, narrower_;
};

TEST(GrammarSuiteTest, TheOfficialTestSuite) {
  if (!fs::exists(kSuite)) {
    GTEST_SKIP() << "SKIPPED: no " << kSuite.filename()
                 << ", so JSON Schema's own test suite is not run; `python3 "
                    "tools/fetch_test_data.py` brings it";
  }
  const json::value files = parsed(read_file(kSuite));
  ASSERT_TRUE(files.is_object());
  Suite suite;
  suite.run(files.get_object());
  if (suite.page() == read_file(kPage)) return;
  const fs::path made = kRoot / "build/testdata/STRUCTURED_OUTPUT_SUITE.md";
  std::ofstream(made, std::ios::binary) << suite.page();
  FAIL() << "docs/STRUCTURED_OUTPUT_SUITE.md is not what the suite gives. Look at the difference, "
            "then: cp "
         << made << " " << kPage;
}

}  // namespace
}  // namespace hadal::testing
