#pragma once
/// GGUF v2/v3 files, whole or split, mapped and validated before anything is read from them.
/// Directories of safetensors appear as one: same keys, same names, their own element types.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "tensor/tensor.h"

namespace hadal {

enum class GgufType : uint32_t {
  kU8 = 0,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

/// One metadata entry, borrowed from the file. Accessors check the type: a wrong one is an Error
/// that names key, expected and found type.
class GgufValue {
 public:
  std::string_view key() const { return key_; }
  GgufType type() const { return type_; }
  GgufType element_type() const { return element_type_; }  ///< of an array
  uint64_t count() const { return count_; }                ///< elements of an array, else 1

  Result<std::string_view> as_string() const;
  Result<int64_t> as_int() const;   ///< any integer type (bool too); kCorrupt when beyond int64
  Result<double> as_float() const;  ///< f32, f64 or any integer type
  Result<bool> as_bool() const;
  Result<std::vector<std::string_view>> as_strings() const;
  Result<std::vector<int64_t>> as_ints()
      const;  ///< array of any integer type; a scalar counts as one
  Result<std::vector<float>> as_floats() const;  ///< array of f32 or f64; a scalar counts as one
  /// For people: scalars and strings as text (cut at `chars_max`), arrays as "[type x count]".
  std::string to_text(size_t chars_max = 80) const;
  /// The bytes behind it as they lie in the file: a scalar, the characters of a string (without its
  /// length) or the elements of an array (strings with their lengths).
  std::span<const std::byte> payload() const { return {data_, bytes_}; }

 private:
  friend class GgufFile;
  friend class GgufReader;
  std::string_view key_;
  GgufType type_ = GgufType::kU8;
  GgufType element_type_ = GgufType::kU8;
  uint64_t count_ = 1;
  const std::byte* data_ = nullptr;  ///< scalar bytes, string bytes or first element
  uint64_t bytes_ = 0;               ///< bytes of the payload
};

/// Owns the mappings; views and string_views live as long as this object (also after a move).
/// Immutable and thread-safe after open().
class GgufFile {
 public:
  /// Opens a file or the first part of a split ("NAME-00001-of-00003.gguf"; any part may be named),
  /// or a checkpoint: its directory, config.json, index or any of its safetensors files.
  /// Every header field is checked against the file's true length before use; see
  /// limits::kGguf*. Errors name the file, the field and, where it helps, what to do.
  static Result<GgufFile> open(const std::filesystem::path& path);
  /// The same over bytes in memory (tests, fuzzing). `bytes` must outlive the result.
  static Result<GgufFile> from_memory(std::span<const std::byte> bytes);

  GgufFile(GgufFile&&) noexcept;
  GgufFile& operator=(GgufFile&&) noexcept;
  ~GgufFile();

  const std::filesystem::path& path() const;
  uint64_t file_bytes() const;  ///< of all parts
  /// The files that are mapped, in order; none for from_memory().
  struct Origin {
    std::filesystem::path path;
    FileIdentity identity;
  };
  std::vector<Origin> origins() const;
  uint32_t version() const;  ///< of GGUF; 0 for a checkpoint

  std::span<const GgufValue> metadata() const;
  /// nullptr when absent.
  const GgufValue* find(std::string_view key) const;

  // Optional keys: absent -> nullopt / fallback; present with the wrong type -> Error.
  Result<std::optional<std::string_view>> string(std::string_view key) const;
  Result<std::optional<int64_t>> integer(std::string_view key) const;
  Result<std::optional<double>> number(std::string_view key) const;
  Result<std::optional<bool>> boolean(std::string_view key) const;

  std::span<const TensorView> tensors() const;
  const TensorView* find_tensor(std::string_view name) const;
  /// Says that the tensor's bytes will hardly be read again: their memory goes back to the page
  /// cache, from where they come when they are.
  void forget(const TensorView& tensor) const;
  /// The same for all of the file, metadata included.
  void forget() const;

 private:
  struct State;
  explicit GgufFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hadal
