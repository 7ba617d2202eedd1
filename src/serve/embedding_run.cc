#include "serve/embedding_run.h"

#include <memory>
#include <utility>

namespace hadal {
namespace {

/// Tells the backend when nobody waits any more; also when the client was gone before this could be
/// attached. Numbers that are made already know nothing of it.
class EmbeddingPeer final : public PeerState {
 public:
  EmbeddingPeer(ServedRef served, EmbeddingId id) : served_(std::move(served)), id_(id) {}
  ~EmbeddingPeer() override { served_->embeddings->cancel(id_); }

 private:
  ServedRef served_;
  EmbeddingId id_;
};

}  // namespace

void run_embedding(const ServedRef& served, const PeerRef& peer, EmbeddingJob job) {
  EmbeddingRequest request = std::move(job.request);
  const auto kept =
      std::make_shared<const EmbeddingJob>(std::move(job));  // the callback copies; tidy: allow
  auto id = served->embeddings->submit(
      std::move(request), [served, peer, kept](Result<std::vector<float>> numbers) {
        // Long lists of numbers are written on a worker, not on the thread that computes.
        peer.work([served, peer, kept, numbers = std::move(numbers)] {
          if (!numbers.ok()) return peer.reply(kept->refuse(to_api_error(numbers.error())));
          peer.post([tokens = kept->tokens, reply = kept->write(*served->model, numbers.value())](
                        Exchange& exchange) mutable {
            exchange.note_tokens(tokens, 0);
            exchange.reply(std::move(reply));
          });
        });
      });
  if (!id.ok()) {
    ApiError error = to_api_error(id.error());
    if (id.error().code == Code::kExhausted) error.status = 429;
    return peer.reply(kept->refuse(error));
  }
  auto state = std::make_unique<EmbeddingPeer>(served, id.value());
  peer.post([state = std::move(state)](Exchange& exchange) mutable {
    exchange.attach(std::move(state));
  });
}

Checked gives_numbers(const ServedRef& served) {
  if (served->embeddings != nullptr) return std::nullopt;
  return ApiError{.status = 400,
                  .code = "model_not_embedding",
                  .message = "The model '" + served->model->id + "' gives no embeddings here.",
                  .param = "model"};
}

}  // namespace hadal
