#pragma once
/// For this room's tests: GGUF files built in memory, and a runner that feeds token sequences
/// through a model with pages in a shuffled order.
#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/kernels.h"
#include "model/model.h"

namespace hadal::testing_model {

using KeyValue = std::variant<std::string, uint32_t, float, uint64_t, std::vector<int32_t>,
                              std::vector<std::string>>;

/// Keys and float tensors that become the bytes of a GGUF v3 file. Later settings replace earlier.
struct GgufBuilder {
  struct Tensor {
    std::vector<uint64_t> ne;
    std::vector<float> data;
    uint32_t type = 0;  ///< F32; a test may lie
  };
  std::map<std::string, KeyValue> keys;
  std::map<std::string, Tensor> tensors;

  std::vector<std::byte> build() const {
    std::vector<std::byte> out;
    append(out, "GGUF", 4);
    number<uint32_t>(out, 3);
    number<uint64_t>(out, tensors.size());
    number<uint64_t>(out, keys.size());
    for (const auto& [key, value] : keys) append_key(out, key, value);
    uint64_t offset = 0;
    for (const auto& [name, tensor] : tensors) {
      text(out, name);
      number<uint32_t>(out, static_cast<uint32_t>(tensor.ne.size()));
      for (uint64_t n : tensor.ne) number<uint64_t>(out, n);
      number<uint32_t>(out, tensor.type);
      number<uint64_t>(out, offset);
      offset += (tensor.data.size() * 4 + 31) / 32 * 32;
    }
    out.resize((out.size() + 31) / 32 * 32);
    for (const auto& [name, tensor] : tensors) {
      append(out, tensor.data.data(), tensor.data.size() * 4);
      out.resize((out.size() + 31) / 32 * 32);
    }
    return out;
  }

 private:
  static void append(std::vector<std::byte>& out, const void* data, size_t bytes) {
    const auto* first = static_cast<const std::byte*>(data);
    out.insert(out.end(), first, first + bytes);
  }
  template <typename T>
  static void number(std::vector<std::byte>& out, T value) {
    append(out, &value, sizeof(value));
  }
  static void text(std::vector<std::byte>& out, const std::string& value) {
    number<uint64_t>(out, value.size());
    append(out, value.data(), value.size());
  }
  static void append_key(std::vector<std::byte>& out, const std::string& key,
                         const KeyValue& value) {
    text(out, key);
    if (const auto* s = std::get_if<std::string>(&value)) {
      number<uint32_t>(out, 8);
      text(out, *s);
    } else if (const auto* u = std::get_if<uint32_t>(&value)) {
      number<uint32_t>(out, 4);
      number(out, *u);
    } else if (const auto* f = std::get_if<float>(&value)) {
      number<uint32_t>(out, 6);
      number(out, *f);
    } else if (const auto* u64 = std::get_if<uint64_t>(&value)) {
      number<uint32_t>(out, 10);
      number(out, *u64);
    } else if (const auto* ints = std::get_if<std::vector<int32_t>>(&value)) {
      number<uint32_t>(out, 9);
      number<uint32_t>(out, 5);
      number<uint64_t>(out, ints->size());
      for (int32_t i : *ints) number(out, i);
    } else if (const auto* strings = std::get_if<std::vector<std::string>>(&value)) {
      number<uint32_t>(out, 9);
      number<uint32_t>(out, 8);
      number<uint64_t>(out, strings->size());
      for (const std::string& item : *strings) text(out, item);
    }
  }
};

/// A complete model with seeded random weights: 2 layers, d 16, 4 heads of 4 sharing 2 KV heads,
/// ff 24, 40 tokens, context 4096.
inline GgufBuilder tiny_model(const std::string& arch = "llama") {
  GgufBuilder b;
  b.keys = {{"general.architecture", arch},
            {arch + ".block_count", 2u},
            {arch + ".context_length", 4096u},
            {arch + ".embedding_length", 16u},
            {arch + ".feed_forward_length", 24u},
            {arch + ".attention.head_count", 4u},
            {arch + ".attention.head_count_kv", 2u},
            {arch + ".attention.layer_norm_rms_epsilon", 1e-5f},
            {arch + ".vocab_size", 40u}};
  std::mt19937 random(7);
  auto add = [&](const std::string& name, std::vector<uint64_t> ne, float center, float spread) {
    std::normal_distribution<float> normal(center, spread);
    uint64_t elements = 1;
    for (uint64_t n : ne) elements *= n;
    std::vector<float> data(elements);
    for (float& value : data) value = normal(random);
    b.tensors[name] = {std::move(ne), std::move(data)};
  };
  add("token_embd.weight", {16, 40}, 0, 0.7f);
  add("output.weight", {16, 40}, 0, 0.5f);
  add("output_norm.weight", {16}, 1, 0.2f);
  for (const std::string block : {"blk.0.", "blk.1."}) {
    add(block + "attn_norm.weight", {16}, 1, 0.2f);
    add(block + "attn_q.weight", {16, 16}, 0, 0.35f);
    add(block + "attn_k.weight", {16, 8}, 0, 0.35f);
    add(block + "attn_v.weight", {16, 8}, 0, 0.35f);
    add(block + "attn_output.weight", {16, 16}, 0, 0.35f);
    add(block + "ffn_norm.weight", {16}, 1, 0.2f);
    add(block + "ffn_gate.weight", {16, 24}, 0, 0.35f);
    add(block + "ffn_up.weight", {16, 24}, 0, 0.35f);
    add(block + "ffn_down.weight", {24, 16}, 0, 0.3f);
    if (arch == "qwen3") {
      add(block + "attn_q_norm.weight", {4}, 1, 0.2f);
      add(block + "attn_k_norm.weight", {4}, 1, 0.2f);
    }
  }
  return b;
}

/// Sequences of tokens and the keys and values computed for them so far. Pages are dealt out from
/// the end of the pool, so that neighbours in a sequence are not neighbours in memory.
class Runner {
 public:
  Runner(Model& model, int64_t n_sequences, int64_t tokens_max, KvType type = KvType::kF32,
         int64_t page_tokens = 16)
      : model_(model),
        pages_per_sequence_((tokens_max + page_tokens - 1) / page_tokens),
        kv_(layout_of(model, type), page_tokens, n_sequences * pages_per_sequence_) {
    PageId next = static_cast<PageId>(n_sequences * pages_per_sequence_);
    pages_.resize(static_cast<size_t>(n_sequences));
    for (int64_t p = 0; p < pages_per_sequence_; ++p) {
      for (auto& pages : pages_) pages.push_back(--next);
    }
    n_past_.resize(static_cast<size_t>(n_sequences));
  }

  struct Piece {
    int32_t sequence;
    std::vector<TokenId> tokens;
  };

  /// Appends each piece to its sequence in one forward pass; logits of all rows, in row order.
  std::vector<float> append(const std::vector<Piece>& pieces) {
    Batch batch;
    for (const auto& pages : pages_) batch.sequences.push_back({pages});
    for (const Piece& piece : pieces) {
      for (TokenId token : piece.tokens) {
        int32_t& position = n_past_[static_cast<size_t>(piece.sequence)];
        batch.rows.push_back({token, position++, piece.sequence, true});
      }
    }
    std::vector<float> logits(batch.rows.size() * static_cast<size_t>(model_.n_vocab()));
    CHECK(model_.forward(batch, kv_, logits).ok());
    return logits;
  }

  KvPool& kv() { return kv_; }
  const std::vector<PageId>& pages(size_t sequence) const { return pages_[sequence]; }

 private:
  static KvLayout layout_of(const Model& model, KvType type) {
    KvLayout layout = model.kv_layout();
    layout.type = type;
    return layout;
  }

  Model& model_;
  int64_t pages_per_sequence_;
  KvPool kv_;
  std::vector<std::vector<PageId>> pages_;
  std::vector<int32_t> n_past_;
};

/// A model with everything it borrows.
struct LoadedModel {
  std::vector<std::byte> bytes;
  std::unique_ptr<GgufFile> file;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<Model> model;
};

/// Fails the program when the file is bad: for tests that need a good one.
inline LoadedModel load_from(GgufFile file, int threads,
                             const LoadOptions& options = {.latent_form = LatentForm::kAbsorbed,
                                                           .activations = Activations::kInt8}) {
  LoadedModel out;
  out.file = std::make_unique<GgufFile>(std::move(file));
  out.pool = std::make_unique<ThreadPool>(threads);
  auto model = Model::load(*out.file, options, *out.pool);
  if (!model.ok()) std::fprintf(stderr, "%s\n", model.error().text().c_str());
  out.model = std::move(model).value();
  return out;
}

inline LoadedModel load_built(const GgufBuilder& builder, int threads = 1) {
  std::vector<std::byte> bytes = builder.build();
  LoadedModel out = load_from(GgufFile::from_memory(bytes).value(), threads);
  out.bytes = std::move(bytes);
  return out;
}

}  // namespace hadal::testing_model
