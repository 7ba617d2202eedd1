#pragma once
/// Drafter: guesses how rows go on, so that one forward pass can check several tokens of a row. A
/// guess never changes what comes out (speculate/speculator.h), only how many passes it takes.
#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "base/ids.h"
#include "base/limits.h"
#include "engine/sampling.h"
#include "model/model.h"

namespace hadal {

/// A guess. `kind` (below kKinds) sorts guesses of one drafter by how good they usually are:
/// acceptance is measured for each kind on its own.
struct Draft {
  static constexpr int kKinds = 4;
  static constexpr int kForced = kKinds;  ///< by the row's filter, not by a drafter
  std::array<TokenId, limits::kDraftTokens> ids = {};
  int64_t count = 0;
  int kind = 0;

  void add(TokenId id) { ids[static_cast<size_t>(count++)] = id; }
};

/// One row that a guess is wanted for. Spans and pointers hold during propose() only.
struct DraftTask {
  RequestId id = 0;
  std::span<const TokenId> tokens;   ///< prompt and output so far
  const Sampler* sampler = nullptr;  ///< as it stands behind them
  int64_t most = 0;                  ///< tokens to propose, 0 to limits::kDraftTokens
  KvSequence pages = {};             ///< the row's; behind its last token but one they are free
  KvPool* pool = nullptr;            ///< where they lie
  Draft* draft = nullptr;            ///< filled; comes empty
};

/// Belongs to the engine's thread. Real ones: earlier text of the row (make_ngram_drafter), a small
/// model (make_model_drafter) and the model's own prediction layer (make_prediction_drafter).
class Drafter {
 public:
  virtual ~Drafter() = default;
  /// Time of proposing one token, as a share of a pass of the served model over one row. 0: guesses
  /// are free, and wanted even when they will not be checked, to learn how good they are.
  virtual double cost_per_token() const = 0;
  /// Whether tasks should come with pages for their guesses.
  virtual bool computes_in_pages() const { return false; }
  /// How often guesses of `kind` come true, as long as nothing was measured.
  virtual double prior(int kind) const = 0;
  /// Fills the tasks' drafts with up to `most` tokens each, ids of the served model's vocabulary;
  /// none where there is nothing to go by.
  /// Between two calls a row's tokens only grow.
  virtual void propose(std::span<const DraftTask> tasks) = 0;
  /// The row has ended. Ids that were never seen are ignored.
  virtual void forget(RequestId id) = 0;
};

/// Prompt lookup: when the last tokens of a row occurred before in its prompt or output, what came
/// behind them is proposed. Memory: at most 24 bytes per token of a running row.
std::unique_ptr<Drafter> make_ngram_drafter();

struct ModelDrafterOptions {
  int64_t n_vocab = 0;  ///< of the served model; the small one may know a few ids less or more
  int64_t n_ctx = 0;    ///< positions per row; longer rows are not drafted for
  int rows = 1;         ///< rows with keys and values of their own; further ones get no draft
  double cost_per_token = 0.1;  ///< see Drafter
};

/// A small model of the same vocabulary: ids mean the same in both. It draws with a copy of the
/// row's sampler, hence with the random numbers that the row will use: where both models agree on a
/// distribution, they draw the same token. Borrows `model`, which must outlive it and which nobody
/// else may call.
std::unique_ptr<Drafter> make_model_drafter(ForwardModel& model,
                                            const ModelDrafterOptions& options);

/// The served model's layer for multi-token prediction. REQUIRES: model.predicts(). Draws like the
/// small model does. Borrows `model`; the engine's thread calls both.
std::unique_ptr<Drafter> make_prediction_drafter(ForwardModel& model, double cost_per_token);

}  // namespace hadal
