#pragma once
/// A committed tiny model with a key or a tensor's name changed: for tests of what is refused.
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "model/model.h"

namespace hadal::testing_model {

/// Of tests/golden/tiny. error() is the text of loading it, "" when it loads.
class Changed {
 public:
  explicit Changed(const std::string& name) {
    std::ifstream in(std::string(HADAL_SOURCE_DIR) + "/tests/golden/tiny/" + name + ".gguf",
                     std::ios::binary);
    const std::vector<char> bytes((std::istreambuf_iterator<char>(in)), {});
    bytes_.resize(bytes.size());
    std::memcpy(bytes_.data(), bytes.data(), bytes.size());
  }
  /// The `size` bytes at `offset` behind the key become `value`.
  template <typename T>
  Changed& set(const std::string& key, T value, size_t offset = 4) {
    const auto* first = reinterpret_cast<const char*>(bytes_.data());
    const std::string_view all(first, bytes_.size());
    const size_t at = all.find(key);
    EXPECT_NE(at, std::string_view::npos) << key;
    std::memcpy(bytes_.data() + at + key.size() + offset, &value, sizeof(value));
    return *this;
  }
  /// Another name of the same length.
  Changed& rename(const std::string& from, const std::string& to) {
    EXPECT_EQ(from.size(), to.size());
    const auto* first = reinterpret_cast<const char*>(bytes_.data());
    const size_t at = std::string_view(first, bytes_.size()).find(from);
    EXPECT_NE(at, std::string_view::npos) << from;
    std::memcpy(bytes_.data() + at, to.data(), to.size());
    return *this;
  }
  std::string error() {
    const Result<GgufFile> file = GgufFile::from_memory(bytes_);
    if (!file.ok()) return file.error().text();
    ThreadPool pool(1);
    const auto model = Model::load(file.value(), {.predict = true}, pool);
    return model.ok() ? "" : model.error().text();
  }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace hadal::testing_model
