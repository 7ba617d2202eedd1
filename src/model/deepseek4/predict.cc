/// Multi-token prediction: one more block, from the streams behind a token and the token that came
/// after it, a guess at the one after that.
///
/// Here the row of position p joins the embedding of its own token with the streams of position
/// p - 1, so that what is kept at p depends on the tokens up to p alone, like everything else in
/// the pages. Position 0 has no streams before it and is invisible to the block. A shift of all
/// positions changes nothing: keys turn with them, and results turn back.
#include <algorithm>

#include "kernels/kv_record.h"
#include "model/deepseek4/forward.h"

namespace hadal::deepseek4 {

void Deepseek4Model::keep_for_prediction(std::span<const KvSequence> sequences, KvPool& kv) {
  store_streams(sequences, kv);
  join_streams_before(sequences, kv);
  std::swap(streams_, joined_);
  const LayerWeights& layer = weights_.prediction->layer;
  project(layer, config_.n_layers);
  store(layer.attention, config_.n_layers, kv, sequences);
  std::swap(streams_, joined_);
}

void Deepseek4Model::store_streams(std::span<const KvSequence> sequences, KvPool& kv) {
  each_row([&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const auto row = static_cast<size_t>(r);
      const KvSequence& sequence = sequences[static_cast<size_t>(row_sequences_[row])];
      store_record(kv_type_, streams_.data() + r * stream_width(), stream_width(),
                   StateLayout::at(kv, sequence, state_.streams(), positions_[row]));
    }
  });
}

void Deepseek4Model::token_before_join(int64_t row, float* out) const {
  const int64_t d = config_.d_model;
  dequantize_row(weights_.embedding, tokens_[static_cast<size_t>(row)], out);
  rms_norm(out, d, weights_.prediction->token_norm.data(), config_.rms_eps, 1, d, out, d);
}

void Deepseek4Model::join_tokens() {
  const Weight& weight = *weights_.prediction->token_join;
  const int64_t d = config_.d_model;
  const Weight* const readers[] = {&weight};
  normed_.reset(n_rows_, readers);
  each_row([&](int64_t begin, int64_t end) {
    std::vector<float> token(static_cast<size_t>(d));
    for (int64_t r = begin; r < end; ++r) {
      token_before_join(r, token.data());
      normed_.set(r, 0, d, token.data());
    }
  });
  const MatmulTask tasks[] = {task(weight, y_)};
  matmul(normed_, tasks, pool_, workspace_);
  each_row([&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t s = 0; s < config_.n_streams; ++s) {
        std::copy_n(y_.data() + r * d, d, joined_.data() + r * stream_width() + s * d);
      }
    }
  });
}

/// joined_[s] = W [norm(embedding) | norm(stream s of the position before)]
void Deepseek4Model::join_streams_before(std::span<const KvSequence> sequences, KvPool& kv) {
  const PredictionWeights& weights = *weights_.prediction;
  const int64_t d = config_.d_model;
  const int64_t n = config_.n_streams;
  const bool apart = weights.token_join.has_value();
  joined_.resize(std::max(joined_.size(), static_cast<size_t>(n_rows_ * stream_width())));
  if (apart) join_tokens();
  const Weight* const readers[] = {&weights.join};
  pairs_.reset(n_rows_ * n, readers);
  each_row([&](int64_t begin, int64_t end) {
    std::vector<float> pair(static_cast<size_t>(2 * d));
    std::vector<float> before(static_cast<size_t>(stream_width()));
    for (int64_t r = begin; r < end; ++r) {
      const auto row = static_cast<size_t>(r);
      if (!apart) token_before_join(r, pair.data());
      std::fill(before.begin(), before.end(), 0.0f);
      if (positions_[row] > 0) {
        const KvSequence& sequence = sequences[static_cast<size_t>(row_sequences_[row])];
        load_record(kv_type_, StateLayout::at(kv, sequence, state_.streams(), positions_[row] - 1),
                    stream_width(), before.data());
      }
      for (int64_t s = 0; s < n; ++s) {
        rms_norm(before.data() + s * d, d, weights.state_norm.data(), config_.rms_eps, 1, d,
                 pair.data() + d, d);
        if (apart) {
          pairs_.set(r * n + s, 0, d, pair.data() + d);
        } else {
          pairs_.set(r * n + s, 0, 2 * d, pair.data());
        }
      }
    }
  });
  MatmulTask join = task(weights.join, joined_);
  join.add = apart;
  matmul(pairs_, {&join, 1}, pool_, workspace_);
  lap(Op::kEmbed);
}

void Deepseek4Model::predict_slice(std::span<const BatchRow> rows,
                                   std::span<const KvSequence> sequences, KvPool& kv,
                                   float* logits) {
  const PredictionWeights& weights = *weights_.prediction;
  begin_rows(rows);
  join_streams_before(sequences, kv);
  std::swap(streams_, joined_);
  project(weights.layer, config_.n_layers);
  store(weights.layer.attention, config_.n_layers, kv, sequences);
  finish_layer(weights.layer, config_.n_layers, kv, sequences);
  store_streams(sequences, kv);  // a guess may go on from here
  project_head(weights.head_site, weights.output_norm, logits);
}

Status Deepseek4Model::predict(const Batch& batch, KvPool& kv, std::span<float> logits) {
  if (!predicts()) return ForwardModel::predict(batch, kv, logits);
  TRY_STATUS(check(batch, kv, logits));
  for (const BatchRow& row : batch.rows) {
    if (row.position == 0 || !row.wants_logits) {
      return Error{Code::kInvalidArgument, "rows to predict want logits and follow another token"};
    }
  }
  const std::span<const BatchRow> rows = batch.rows;
  for (size_t begin = 0; begin < rows.size(); begin += kSliceRows) {
    const auto slice = rows.subspan(begin, std::min(kSliceRows, rows.size() - begin));
    predict_slice(slice, batch.sequences, kv,
                  logits.data() + begin * static_cast<size_t>(config_.n_vocab));
  }
  return {};
}

}  // namespace hadal::deepseek4
