/// Multi-token prediction (2412.19437, 2.2), one layer deep: from the state h behind a token and
/// the token that came after it, a guess at the one after that.
///
/// Here the row of position p joins the embedding of its own token with the state of position p -
/// 1, so that what is cached at p depends on the tokens up to p alone, like all other keys and
/// values, and goes with their pages. Position 0 has no state before it and is invisible to the
/// layer. The state of each position, behind the output norm, is kept in F16 beside its keys
/// (KvPool::extra).
#include <cstring>

#include "model/check_batch.h"
#include "model/decoder/decoder.h"

namespace hadal {
namespace {

uint16_t* state_of(KvPool& kv, int64_t state_bytes, const KvSequence& sequence, int64_t position) {
  const auto page = static_cast<size_t>(position / kv.page_tokens());
  std::byte* extra = kv.extra(sequence.pages[page]);
  return reinterpret_cast<uint16_t*>(extra + position % kv.page_tokens() * state_bytes);
}

}  // namespace

/// What forward() does for predict(): the rows' states, and their keys in the prediction layer.
void Decoder::keep_for_prediction(std::span<const KvSequence> sequences, KvPool& kv) {
  store_states(weights_.output_norm, sequences, kv);
  join_states(sequences, kv);
  std::swap(x_, joined_);
  project(config_.n_layers, sequences, kv);
  std::swap(x_, joined_);
}

void Decoder::store_states(const std::vector<float>& norm_weight,
                           std::span<const KvSequence> sequences, KvPool& kv) {
  const int64_t d = config_.d_model;
  each_row([&](int64_t begin, int64_t end) {
    float* state = norm_rows_.data() + begin / kRowGrain * d;
    for (int64_t r = begin; r < end; ++r) {
      const auto row = static_cast<size_t>(r);
      rms_norm(x_.data() + r * d, d, norm_weight.data(), config_.rms_eps, 1, d, state, d);
      const auto sequence = static_cast<size_t>(row_sequences_[row]);
      uint16_t* out = state_of(kv, state_bytes(), sequences[sequence], positions_[row]);
      for (int64_t i = 0; i < d; ++i) out[i] = f32_to_f16(state[i]);
    }
  });
}

/// joined_ = W [norm(embedding) | norm(state before)]
void Decoder::join_states(std::span<const KvSequence> sequences, KvPool& kv) {
  const PredictionWeights& weights = *weights_.prediction;
  const int64_t d = config_.d_model;
  reserve_rows(joined_, n_rows_, d);
  embed(weights.embedding, joined_);
  const Weight* const readers[] = {&weights.join.weight};
  pairs_.reset(n_rows_, readers);
  each_row([&](int64_t begin, int64_t end) {
    std::vector<float> pair(static_cast<size_t>(2 * d));
    for (int64_t r = begin; r < end; ++r) {
      const auto row = static_cast<size_t>(r);
      float* const state = pair.data() + d;
      rms_norm(joined_.data() + r * d, d, weights.token_norm.data(), config_.rms_eps, 1, d,
               pair.data(), d);
      std::fill_n(state, d, 0.0f);
      if (positions_[row] > 0) {
        const auto sequence = static_cast<size_t>(row_sequences_[row]);
        const uint16_t* before =
            state_of(kv, state_bytes(), sequences[sequence], positions_[row] - 1);
        for (int64_t i = 0; i < d; ++i) state[i] = f16_to_f32(before[i]);
      }
      rms_norm(state, d, weights.state_norm.data(), config_.rms_eps, 1, d, state, d);
      pairs_.set(r, 0, 2 * d, pair.data());
    }
  });
  const MatmulTask tasks[] = {task(weights.join, joined_.data())};
  matmul(pairs_, tasks, pool_, workspace_);
}

void Decoder::predict_slice(std::span<const BatchRow> rows, std::span<const KvSequence> sequences,
                            KvPool& kv, float* logits) {
  const PredictionWeights& weights = *weights_.prediction;
  begin_rows(rows);
  join_states(sequences, kv);
  std::swap(x_, joined_);
  project(config_.n_layers, sequences, kv);
  add_attention(config_.n_layers, sequences, kv);
  add_feed_forward(layer(config_.n_layers));
  store_states(weights.output_norm, sequences, kv);  // a guess may go on from here
  project_head(weights.head ? *weights.head : weights_.head, weights.output_norm, logits);
}

Status Decoder::predict(const Batch& batch, KvPool& kv, std::span<float> logits) {
  if (!predicts()) return ForwardModel::predict(batch, kv, logits);
  TRY_STATUS(check_batch(batch, kv, kv_layout(), config_.n_vocab, logits.size()));
  for (const BatchRow& row : batch.rows) {
    if (row.position == 0 || !row.wants_logits) {
      return Error{Code::kInvalidArgument, "rows to predict want logits and follow another token"};
    }
  }
  each_slice(batch.rows, [&](std::span<const BatchRow> slice, int64_t done) {
    predict_slice(slice, batch.sequences, kv, logits.data() + done * config_.n_vocab);
  });
  return {};
}

}  // namespace hadal
