#pragma once
/// tuning: making other models of a model. Converts and quantises files, gathers what matters for
/// it (importance matrices). Sees weights and activations, never requests.
///
///   ConversionOptions options{.target = "Q4_K_M", .importance = &matrix};
///   TRY(const Conversion conversion, Conversion::plan(source, options));
///   TRY_STATUS(conversion.write("out.gguf", {}, pool));
///
/// quantise/ chooses types and writes files, calibrate/ gathers statistics.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/matmul.h"
#include "tensor/gguf.h"
#include "tensor/gguf_writer.h"

namespace hadal {

/// How much each input column of each matrix counts: the mean square of what it is multiplied with
/// on a calibration text. For stacked experts (3-D tensors) a set per expert.
class ImportanceMatrix {
 public:
  struct Entry {
    int64_t cols = 0;
    int64_t matrices = 1;
    std::vector<double> sum_squares;  ///< matrices x cols
    std::vector<double> rows;         ///< per matrix: how many inputs were summed
  };

  /// The GGUF form of importance matrices (docs/formats/importance-matrix.md). Errors name the
  /// file and the tensor.
  static Result<ImportanceMatrix> read(const std::filesystem::path& path);
  /// `dataset`: what text it comes from; `chunk` its tokens per window.
  Status write(const std::filesystem::path& path, std::string_view dataset, uint32_t chunk,
               bool overwrite) const;

  /// Of a tensor by its GGUF name; null when nothing is known of it.
  const Entry* find(std::string_view tensor) const;
  /// Mean squares of a tensor's columns for its `index`th matrix, brought to mean 1; empty when
  /// nothing (or only zeros) is known. Columns that hardly ever count keep a small weight.
  std::vector<float> weights(std::string_view tensor, int64_t index) const;

  size_t size() const { return entries_.size(); }
  int64_t chunks() const { return chunks_; }
  const std::string& dataset() const { return dataset_; }
  /// Of everything in it, for telling whether two are equal.
  uint64_t digest() const;

 private:
  friend class ImportanceCollector;
  std::map<std::string, Entry, std::less<>> entries_;
  int64_t chunks_ = 0;
  std::string dataset_;
};

/// Sums squares while a model runs. Borrows `file`, whose tensors the weights are made from.
class ImportanceCollector final : public MatmulObserver {
 public:
  ImportanceCollector(const GgufFile& file, ThreadPool& pool) : file_(file), pool_(pool) {}
  void inputs(const Weight& weight, const MatmulRows& x, int64_t first, int64_t count) override;
  /// A window of text is done.
  void end_chunk() { ++matrix_.chunks_; }
  const ImportanceMatrix& matrix() const { return matrix_; }

 private:
  const GgufFile& file_;
  ThreadPool& pool_;
  ImportanceMatrix matrix_;
};

/// The type of every tensor whose name matches. A pattern is a name in which * stands for any
/// characters; without * it may also be one dotted part of a name ("ffn_down").
struct TypeRule {
  std::string pattern;
  DType type = DType::kF32;
};
bool pattern_matches(std::string_view pattern, std::string_view name);
/// "ffn_down=Q6_K"
Result<TypeRule> parse_type_rule(std::string_view text);

/// Names that ConversionOptions::target may have, besides "keep".
std::vector<std::string> recipe_names();

struct ConversionOptions {
  /// A recipe ("Q4_K_M", "Q8_0", "F16", ...) or "keep": each tensor as it is, as far as GGUF has
  /// its type.
  std::string target;
  std::vector<TypeRule> rules;  ///< the first that matches decides
  const ImportanceMatrix* importance = nullptr;
};

/// A tensor of the result and what it is made of: one of the source's, or several (experts) stacked
/// along a new last axis.
struct PlannedTensor {
  GgufTensor tensor;
  std::vector<const TensorView*> parts;
  /// Above 0: so many heads, whose rows (entries, of a bias) come as two halves that rope turns
  /// against each other, and go as GGUF has them for the architecture: pair beside pair.
  int64_t interleaved_heads = 0;
};

/// What will be written. Borrows the source file and the options' importance matrix.
class Conversion {
 public:
  /// Errors name the tensor that is missing or does not fit, or the target that is unknown.
  static Result<Conversion> plan(const GgufFile& source, const ConversionOptions& options);

  std::span<const PlannedTensor> tensors() const { return tensors_; }
  /// What the user should know: types replaced because of row widths, requantised sources.
  std::span<const std::string> notes() const { return notes_; }
  uint64_t bytes() const;          ///< of all tensors
  double bits_per_weight() const;  ///< over all tensors

  struct WriteOptions {
    bool overwrite = false;
    /// Bytes of tensors done, of all; called by the thread that called write().
    std::function<void(uint64_t, uint64_t)> progress;
  };
  /// Writes the file, going on where an interrupted call with the same source and options stopped.
  /// On errors nothing is left behind. Needs some ten MB beside the mapped source. Returns how many
  /// tensors an earlier call had left.
  Result<size_t> write(const std::filesystem::path& path, const WriteOptions& options,
                       ThreadPool& pool) const;

 private:
  explicit Conversion(const GgufFile& source) : source_(&source) {}
  std::vector<GgufEntry> entries() const;
  uint64_t fingerprint() const;

  const GgufFile* source_;
  const ImportanceMatrix* importance_ = nullptr;
  std::string target_;
  uint32_t file_type_ = 0;
  bool quantised_ = false;  ///< some tensor has a block format
  std::vector<PlannedTensor> tensors_;
  std::vector<std::string> notes_;
};

}  // namespace hadal
