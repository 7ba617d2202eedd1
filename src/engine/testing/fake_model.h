#pragma once
/// A ForwardModel for tests: its logits are a hash of the sequence's tokens as they are read back
/// from the KvPool, so that a wrong page, slot or position gives other tokens.
#include <cstring>
#include <functional>
#include <vector>

#include "engine/engine.h"

namespace hadal::testing {

inline uint64_t hash_step(uint64_t h, uint64_t value) {
  h = (h ^ value) * 0x9E3779B97F4A7C15u;
  return h ^ (h >> 29);
}

/// forward() runs on the engine's thread; set the hook before the engine starts.
class FakeModel : public ForwardModel {
 public:
  static constexpr int64_t kVocab = 97;

  int64_t n_vocab() const override { return kVocab; }
  int64_t n_ctx_train() const override { return 1 << 20; }
  KvLayout kv_layout() const override {
    return {.n_layers = 2, .n_kv_heads = 2, .d_head = 2, .type = KvType::kF32};
  }

  Status forward(const Batch& batch, KvPool& kv, std::span<float> logits) override {
    if (hook) TRY_STATUS(hook(batch));
    size_t next = 0;
    for (const BatchRow& row : batch.rows) {
      const KvSequence& sequence = batch.sequences[static_cast<size_t>(row.sequence)];
      store(kv, sequence, row.position, row.token);
      if (!row.wants_logits) continue;
      TRY(const uint64_t hash, read_back(kv, sequence, row.position));
      fill_logits(hash, logits.subspan(next, kVocab));
      next += kVocab;
    }
    CHECK(next == logits.size());
    return {};
  }

  /// What forward() computes for the last of `tokens`.
  static std::vector<float> logits_after(const std::vector<TokenId>& tokens) {
    uint64_t hash = kNothing;
    for (TokenId token : tokens) hash = hash_step(hash, static_cast<uint64_t>(token));
    std::vector<float> out(kVocab);
    fill_logits(hash, out);
    return out;
  }

  static constexpr uint64_t kNothing = 1;  ///< hash of no tokens
  /// The logits behind tokens of this hash (hash_step() for each).
  static void fill_logits(uint64_t hash, std::span<float> out) {
    for (size_t id = 0; id < out.size(); ++id) {
      const uint64_t bits = hash_step(hash_step(hash, id + 1), 77);
      out[id] = static_cast<float>(bits >> 40) * (8.0f / (1 << 24)) - 4.0f;  // [-4, 4)
    }
  }

  std::function<Status(const Batch&)> hook;  ///< called first in each forward; may block or fail

 private:
  static float* cell(KvPool& kv, const KvSequence& sequence, int64_t layer, int64_t head,
                     int64_t position) {
    const auto page = static_cast<size_t>(position / kv.page_tokens());
    CHECK(page < sequence.pages.size());
    std::byte* keys = kv.keys(layer, sequence.pages[page], head);
    return reinterpret_cast<float*>(keys) + (position % kv.page_tokens()) * 2;
  }

  static void store(KvPool& kv, const KvSequence& sequence, int64_t position, TokenId token) {
    for (int64_t layer = 0; layer < 2; ++layer) {
      for (int64_t head = 0; head < 2; ++head) {
        float* at = cell(kv, sequence, layer, head, position);
        at[0] = static_cast<float>(token);
        at[1] = static_cast<float>(position);
      }
    }
  }

  static Result<uint64_t> read_back(KvPool& kv, const KvSequence& sequence, int64_t last) {
    uint64_t hash = kNothing;
    for (int64_t position = 0; position <= last; ++position) {
      const float* at = cell(kv, sequence, position % 2, (position / 2) % 2, position);
      if (at[1] != static_cast<float>(position)) {
        return Error{Code::kInternal, "a page holds another position than its table says"};
      }
      hash = hash_step(hash, static_cast<uint64_t>(at[0]));
    }
    return hash;
  }
};

}  // namespace hadal::testing
