#pragma once
/// Writes safetensors bytes and whole checkpoint directories for tests. Included by tests only.
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "base/check.h"

namespace hadal::testing_safetensors {

struct Tensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::string data;
};

/// `count` values of `bytes` bytes each; of no meaning.
inline std::string zeros(const std::vector<int64_t>& shape, size_t bytes) {
  size_t count = bytes;
  for (const int64_t length : shape) count *= static_cast<size_t>(length);
  return std::string(count, '\0');
}

inline Tensor f32(std::string name, std::vector<int64_t> shape) {
  std::string data = zeros(shape, 4);
  return {std::move(name), "F32", std::move(shape), std::move(data)};
}

/// A file with this header over this data, whatever they say.
inline std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string out(sizeof(length), '\0');
  std::memcpy(out.data(), &length, sizeof(length));
  return out + header + data;
}

inline std::string file_of(const std::vector<Tensor>& tensors) {
  std::string header = R"({"__metadata__":{"format":"pt"})";
  std::string data;
  for (const Tensor& t : tensors) {
    header +=
        fmt::format(R"(,"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", t.name,
                    t.dtype, fmt::join(t.shape, ","), data.size(), data.size() + t.data.size());
    data += t.data;
  }
  return file_of(header + "}", data);
}

/// A directory that goes when the object does.
class Directory {
 public:
  Directory() {
    std::string name =
        (std::filesystem::temp_directory_path() / "hadal-checkpoint-XXXXXX").string();
    CHECK(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Directory() {
    std::error_code failed;
    std::filesystem::remove_all(path_, failed);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }
  void remove(const std::string& name) const { std::filesystem::remove(path_ / name); }

 private:
  std::filesystem::path path_;
};

}  // namespace hadal::testing_safetensors
