/// Any bytes as a model: a file that loads must survive a forward pass and its prediction layer,
/// one that does not must say why. Seeds are whole tiny models, one of every architecture and
/// layout (tools/make_fuzz_models.py), so that mutations reach the config and the weights.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "model/encoder.h"
#include "model/model.h"

namespace {

/// Headers may declare large shapes that tensors of zero cost bytes cannot back; what remains is
/// bounded by the input, so this only keeps one run short.
constexpr uint64_t kMacsMax = 1 << 22;

/// A text of two tokens, and a pair where the model judges pairs.
void use_encoder(hadal::Encoder& encoder) {
  if (encoder.macs_per_token() > kMacsMax) return;
  const auto last = static_cast<hadal::TokenId>(encoder.config().n_vocab - 1);
  const std::vector<hadal::TokenId> ids = {0, last};
  const hadal::EncoderText text{ids, 1};
  const bool fits = encoder.config().n_ctx >= 2;
  std::vector<float> out(static_cast<size_t>(encoder.config().d_model));
  CHECK(encoder.embed({&text, 1}, out).ok() == fits);
  if (encoder.config().n_labels == 0) return;
  std::vector<float> scores(static_cast<size_t>(encoder.config().n_labels));
  CHECK(encoder.classify({&text, 1}, scores).ok() == fits);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::byte> bytes(size);
  if (size > 0) std::memcpy(bytes.data(), data, size);
  bytes.shrink_to_fit();
  const auto file = hadal::GgufFile::from_memory(bytes);
  if (!file.ok()) return 0;
  hadal::ThreadPool pool(1);
  if (hadal::Encoder::is_encoder(file.value())) {
    const auto encoder = hadal::Encoder::load(file.value(), {}, pool);
    CHECK(encoder.ok() || !encoder.error().message.empty());
    if (encoder.ok()) use_encoder(*encoder.value());
    return 0;
  }
  const auto loaded = hadal::Model::load(file.value(), {.predict = true}, pool);
  if (!loaded.ok()) {
    CHECK(!loaded.error().message.empty());
    return 0;
  }
  hadal::Model& model = *loaded.value();
  if (model.macs_per_token() > kMacsMax) return 0;
  hadal::KvPool kv(model.kv_layout(), 4, 1);
  const std::vector<hadal::PageId> pages = {0};
  const auto last = static_cast<hadal::TokenId>(model.n_vocab() - 1);
  hadal::Batch batch{{{0, 0, 0, false}, {last, 1, 0, true}}, {{pages}}};
  std::vector<float> logits(static_cast<size_t>(model.n_vocab()));
  CHECK(model.forward(batch, kv, logits).ok());
  if (model.predicts()) {
    const hadal::Batch guess{{{last, 1, 0, true}}, {{pages}}};
    CHECK(model.predict(guess, kv, logits).ok());
  }
  return 0;
}
