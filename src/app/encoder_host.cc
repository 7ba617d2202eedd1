#include "app/encoder_host.h"

#include <semaphore>
#include <utility>

#include "base/env.h"

namespace hadal {
namespace {

/// An encoder as serve sees it, where it asks for tokens.
class NoTokens final : public TokenBackend {
 public:
  NoTokens(const EmbeddingQueue& queue, std::string name) : queue_(queue), name_(std::move(name)) {}

  Result<RequestId> submit(GenerateRequest, std::unique_ptr<TokenSink>) override {
    return Error{Code::kUnsupported,
                 name_ + " is an encoder: it gives vectors of texts and answers no prompts"};
  }
  void cancel(RequestId) override {}
  EngineStats stats() const override {
    const EmbeddingQueue::Stats own = queue_.stats();
    EngineStats out;
    out.waiting = own.waiting;
    out.waiting_by_class[static_cast<size_t>(Priority::kNormal)] = own.waiting;
    out.requests = own.requests;
    out.refused = own.refused;
    out.prompt_tokens = own.tokens;
    return out;
  }

 private:
  const EmbeddingQueue& queue_;
  std::string name_;
};

class EncoderInstance final : public HubInstance {
 public:
  EncoderInstance(LoadedEncoder loaded, const HubModel& listed, size_t waiting,
                  uint64_t memory_bytes, Turns& turns)
      : loaded_(std::move(loaded)),
        memory_bytes_(memory_bytes),
        embedder_(make_encoder_embedder(*loaded_.encoder, *loaded_.tokenizer,
                                        [&turns](const std::function<void()>& work) {
                                          const Turn turn(turns);
                                          work();
                                          return Status::success();
                                        })),
        queue_(*embedder_, waiting),
        tokens_(queue_, listed.id) {
    const EncoderConfig& config = loaded_.encoder->config();
    auto model = std::make_unique<ServedModel>();
    model->id = listed.id;
    model->aliases = listed.aliases;
    model->tokenizer = loaded_.tokenizer.get();
    model->n_ctx = config.n_ctx;
    model->generates = false;
    model->embeddings = embedder_->shape();
    model->created = Env::real().unix_micros() / 1'000'000;
    model->facts = listed.facts;
    model->facts["n_vocab"] = config.n_vocab;
    served_ = {std::move(model), &tokens_, &queue_};
  }

  const Served& served() const override { return served_; }
  uint64_t memory_bytes() const override { return memory_bytes_; }
  void drain(int64_t timeout_micros) override { queue_.drain(timeout_micros); }
  void stop() override { queue_.stop(); }

 private:
  LoadedEncoder loaded_;
  uint64_t memory_bytes_;
  std::unique_ptr<Embedder> embedder_;
  EmbeddingQueue queue_;
  NoTokens tokens_;
  Served served_;
};

}  // namespace

std::unique_ptr<HubInstance> make_encoder_instance(LoadedEncoder loaded, const HubModel& listed,
                                                   size_t waiting, uint64_t memory_bytes,
                                                   Turns& turns) {
  return std::make_unique<EncoderInstance>(std::move(loaded), listed, waiting, memory_bytes, turns);
}

std::string_view encoder_task(const GgufFile& file) {
  const auto pooling = file.integer("bert.pooling_type");
  const bool judges = pooling.ok() && pooling.value() == static_cast<int64_t>(Pooling::kRank);
  return judges ? "rerank" : "embedding";
}

OnModelThread between_steps_of(Engine& engine, Turns& turns) {
  return [&engine, &turns](const std::function<void()>& work) -> Status {
    std::binary_semaphore done(0);
    TRY_STATUS(engine.between_steps([&] {
      const Turn turn(turns);
      work();
      done.release();
    }));
    done.acquire();
    return {};
  };
}

}  // namespace hadal
