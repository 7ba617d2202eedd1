#pragma once
/// The models that golden tests of the engine run on: committed tiny ones, and the starter model
/// where HADAL_TEST_MODEL names its file.
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "model/model.h"

namespace hadal::testing {

/// A file, loaded. Failures are the test's: `model` is null then.
struct LoadedModel {
  explicit LoadedModel(const std::filesystem::path& path, const LoadOptions& how = {})
      : options(how) {
    Result<GgufFile> opened = GgufFile::open(path);
    EXPECT_TRUE(opened.ok()) << opened.error().text();
    if (!opened.ok()) return;
    file = std::make_unique<GgufFile>(std::move(opened).value());
    model = load();
  }
  /// Once more, from the same file.
  std::unique_ptr<Model> load() {
    Result<std::unique_ptr<Model>> loaded = Model::load(*file, options, pool);
    EXPECT_TRUE(loaded.ok()) << loaded.error().text();
    return loaded.ok() ? std::move(loaded).value() : nullptr;
  }

  LoadOptions options;
  ThreadPool pool{2};
  std::unique_ptr<GgufFile> file;
  std::unique_ptr<Model> model;
};

inline std::filesystem::path tiny_model(const char* name) {
  return std::filesystem::path(HADAL_SOURCE_DIR "/tests/golden/tiny") / name;
}
/// All of them, at least three.
inline std::vector<std::filesystem::path> tiny_models() {
  std::vector<std::filesystem::path> out;
  for (const auto& entry : std::filesystem::directory_iterator(tiny_model(""))) {
    if (entry.path().extension() == ".gguf") out.push_back(entry.path());
  }
  EXPECT_GE(out.size(), 3u);
  return out;
}

/// Empty: not given.
inline std::filesystem::path starter_model() {
  const char* path = std::getenv("HADAL_TEST_MODEL");
  return path == nullptr ? "" : path;
}

inline std::string no_starter_model(const std::string& unchecked) {
  return "SKIPPED: HADAL_TEST_MODEL names no file, so " + unchecked +
         " is not checked with real weights; `python3 tools/fetch_test_data.py` brings one, ./test "
         "names it";
}

}  // namespace hadal::testing
