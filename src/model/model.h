#pragma once
/// model: architectures. Reads a config and weights by name from a GGUF file, runs the forward
/// pass of a batch of rows. Ids in, logits out; sampling, scheduling and text live elsewhere.
///
///   TRY(auto model, Model::load(file, {}, pool));
///   KvPool kv(model->kv_layout(), ...);
///   model->forward(batch, kv, logits);
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/kv_pool.h"
#include "kernels/matmul.h"
#include "model/config.h"
#include "model/packed_image.h"
#include "model/profile.h"
#include "tensor/gguf.h"

namespace hadal {

/// One token of a batch.
struct BatchRow {
  TokenId token = 0;
  int32_t position = 0;  ///< index in its sequence; the KV of all earlier positions is present
  int32_t sequence = 0;  ///< index into Batch::sequences
  bool wants_logits = false;
};

/// Rows of any number of sequences; rows of one sequence are consecutive with rising positions.
struct Batch {
  std::vector<BatchRow> rows;
  std::vector<KvSequence> sequences;  ///< where each sequence's keys and values live
};

/// The seam between the engine and what computes logits (a model; a fake one in simulations).
/// forward() is called by one thread at a time.
class ForwardModel {
 public:
  virtual ~ForwardModel() = default;
  virtual int64_t n_vocab() const = 0;
  virtual int64_t n_ctx_train() const = 0;
  virtual KvLayout kv_layout() const = 0;
  /// Writes the rows' keys and values into `kv` and the logits of the rows that want them, in row
  /// order, n_vocab floats each, into `logits`. A row's result does not depend on the other
  /// sequences in the batch, nor on the number of threads.
  virtual Status forward(const Batch& batch, KvPool& kv, std::span<float> logits) = 0;

  /// Whether predict() works. forward() then keeps in `kv` what it needs.
  virtual bool predicts() const { return false; }
  /// A guess at the logits of forward() for the same rows, for a small part of its cost, by a layer
  /// for multi-token prediction. All rows want logits, are behind position 0, and the row before
  /// each went through forward() or, in a guess that goes on, through predict(). What it leaves in
  /// `kv` at the rows' positions counts until forward() computes them.
  virtual Status predict(const Batch& batch, KvPool& kv, std::span<float> logits);
};

/// How latent attention is computed: both forms give the same results but for rounding.
enum class LatentForm : uint8_t {
  kAuto,      ///< whichever is faster: then a row's rounding depends on how many rows of its
              ///< sequence go along
  kAbsorbed,  ///< a row's result never depends on the rows that go along
  kExpanded,
};

struct LoadOptions {
  KvType kv_type = KvType::kF16;
  LatentForm latent_form = LatentForm::kAbsorbed;
  bool predict = false;  ///< with the layer for multi-token prediction, if the file has one
  /// The file that holds that layer alone (DeepSeek V4 as GGUF). May be null; must outlive the
  /// model.
  const GgufFile* prediction_file = nullptr;
  /// Of the large matrices; those whose cost does not matter (weights.cc) keep 16 bits anyway.
  /// None: 16 bits for models so small that they are fast as they are, 8 for others (decision
  /// 0007).
  std::optional<Activations> activations = {};
  /// Called with 0..1 while weights are prepared; may be empty.
  void (*progress)(double fraction, void* context) = nullptr;
  void* progress_context = nullptr;
  /// Matrices that it holds are mapped instead of packed. May be null; must outlive the model.
  const PackedImage* packed = nullptr;
  /// Set by Model::unpacked_parts(): receives what would be packed; weights stay without data.
  std::vector<UnpackedPart>* plan = nullptr;
};

/// A loaded model. Borrows `file` and `pool`, which must outlive it.
class Model : public ForwardModel {
 public:
  static Result<std::unique_ptr<Model>> load(const GgufFile& file, const LoadOptions& options,
                                             ThreadPool& pool);
  /// All matrices that load() would pack, in its order, the prediction layer's of this file among
  /// them; empty where the instruction set reads the file's own form. Reads little of the file.
  /// Errors as load(), but for what only the weights themselves show.
  static Result<std::vector<UnpackedPart>> unpacked_parts(const GgufFile& file, ThreadPool& pool);
  virtual const ModelConfig& config() const = 0;
  /// As forward(), but the rows that want logits get what the head reads instead: d_model floats
  /// each, after the final norm.
  virtual Status states(const Batch& batch, KvPool& kv, std::span<float> out) = 0;
  /// The matrices in packed form, for an image of them; they live as long as the model. Empty where
  /// the instruction set reads the file's own form.
  virtual std::span<const PackedPart> packed_parts() const = 0;
  /// Bytes of weights read per decoded token (for the bandwidth bound).
  virtual uint64_t weight_bytes_per_token() const = 0;
  /// The same for a token of predict(); 0 without.
  virtual uint64_t prediction_bytes_per_token() const = 0;
  /// Multiply-adds of the weights per token (attention not counted).
  virtual uint64_t macs_per_token() const = 0;
  /// From now on each op is timed into `profile`, which must outlive its use; null: no more.
  virtual void set_profile(Profile* profile) = 0;
  /// From now on `observer`, which must outlive its use, sees the inputs of the matrices; null: no
  /// more. kUnsupported where the architecture does not report them.
  virtual Status set_observer(MatmulObserver* observer);
};

}  // namespace hadal
