#pragma once
/// Writes GGUF v3 files of any size with little memory, in a way that survives being interrupted.
///
///   TRY(GgufWriter writer, GgufWriter::create("out.gguf", entries, tensors, {}));
///   for (size_t i = writer.tensors_done(); i < tensors.size(); ++i) {
///     TRY_STATUS(writer.append(bytes_of(i)));   // in any number of pieces
///   }
///   TRY_STATUS(writer.finish());
///
/// The bytes go to PATH.partial; finish() brings them to the disk and renames. PATH.partial.journal
/// notes a digest of each complete tensor: create() with the same entries, tensors and fingerprint
/// goes on after the last one whose bytes still have their digest. Both files are removed when the
/// writer is destroyed unfinished (an error); a process that is killed leaves them for its
/// successor. docs/formats/gguf-partial.md describes them.
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/gguf.h"

namespace hadal {

/// A metadata entry to be written.
struct GgufEntry {
  std::string key;
  GgufType type = GgufType::kU32;
  GgufType element_type = GgufType::kU8;  ///< of an array
  uint64_t count = 1;                     ///< elements of an array
  std::string payload;                    ///< as GgufValue::payload()

  static GgufEntry copy_of(const GgufValue& value);
  static GgufEntry string(std::string key, std::string_view value);
  static GgufEntry strings(std::string key, std::span<const std::string> values);
  static GgufEntry u32(std::string key, uint32_t value);
  static GgufEntry f32(std::string key, float value);
};

/// A tensor to be written; ne as in TensorView.
struct GgufTensor {
  std::string name;
  DType type = DType::kF32;
  int n_dims = 1;
  std::array<int64_t, 4> ne = {1, 1, 1, 1};

  int64_t rows() const { return ne[1] * ne[2] * ne[3]; }
  uint64_t bytes() const { return dtype_row_bytes(type, ne[0]) * static_cast<uint64_t>(rows()); }
};

/// Owns the open file. For one thread at a time.
class GgufWriter {
 public:
  struct Options {
    bool overwrite = false;    ///< replace a file that is there, once the new one is complete
    uint64_t fingerprint = 0;  ///< of whatever the tensors' bytes depend on
  };

  /// Errors: kInvalidArgument when `path` exists (without overwrite) or its folder does not,
  /// kExhausted when the disk has no room for all of the file, kUnavailable when another process is
  /// writing it.
  static Result<GgufWriter> create(const std::filesystem::path& path,
                                   std::span<const GgufEntry> entries,
                                   std::span<const GgufTensor> tensors, const Options& options);
  ~GgufWriter();
  GgufWriter(GgufWriter&&) noexcept;
  GgufWriter& operator=(GgufWriter&&) noexcept;

  /// Tensors that are complete; the next bytes belong to the one with this index.
  size_t tensors_done() const;
  /// Bytes of the file that are written, and of the whole file.
  uint64_t bytes_done() const;
  uint64_t bytes_total() const;

  /// The next bytes of the current tensor; never across its end.
  Status append(std::span<const std::byte> bytes);
  /// Every tensor is complete: the file gets its name.
  Status finish();

 private:
  struct State;
  explicit GgufWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hadal
