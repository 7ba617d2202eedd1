/// Handlers of vectors and relevances.
#include "serve/dialects/embeddings.h"

#include <utility>

#include "serve/handlers.h"

namespace hadal::handlers {
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

/// Has the numbers of `plan` made and answers with what `write` makes of them.
template <typename Plan, typename Write>
void answer(const ServedRef& served, const PeerRef& peer, Plan plan, Write write) {
  EmbeddingRequest request = std::move(plan.request);
  auto kept = std::make_shared<const Plan>(std::move(plan));  // by callback and answer; tidy: allow
  auto id = served->embeddings->submit(
      std::move(request), [served, peer, kept, write](Result<std::vector<float>> numbers) {
        // Long lists of numbers are written on a worker, not on the thread that computes.
        peer.work([served, peer, kept, write, numbers = std::move(numbers)] {
          if (!numbers.ok()) return peer.reply(error_reply(to_api_error(numbers.error())));
          peer.post([tokens = kept->tokens, body = write(*served->model, *kept, numbers.value())](
                        Exchange& exchange) mutable {
            exchange.note_tokens(tokens, 0);
            exchange.reply({.body = std::move(body)});
          });
        });
      });
  if (!id.ok()) {
    ApiError error = to_api_error(id.error());
    if (id.error().code == Code::kExhausted) error.status = 429;
    return peer.reply(error_reply(error));
  }
  auto state = std::make_unique<EmbeddingPeer>(served, id.value());
  peer.post([state = std::move(state)](Exchange& exchange) mutable {
    exchange.attach(std::move(state));
  });
}

Checked has_backend(const ServedRef& served) {
  if (served->embeddings != nullptr) return std::nullopt;
  return ApiError{.status = 400,
                  .code = "model_not_embedding",
                  .message = "The model '" + served->model->id + "' gives no embeddings here.",
                  .param = "model"};
}

}  // namespace

void embeddings(Service& service, HttpRequest&& request, const PeerRef& peer) {
  service.with_body(std::move(request), peer, error_reply,
                    [peer](const ServedRef& served, json::object& body) {
                      EmbeddingsPlan plan;
                      Checked error = has_backend(served);
                      if (!error) error = plan_embeddings(*served->model, body, plan);
                      if (error) return peer.reply(error_reply(*error));
                      answer(served, peer, std::move(plan), embeddings_reply);
                    });
}

void rerank(Service& service, HttpRequest&& request, const PeerRef& peer) {
  service.with_body(std::move(request), peer, error_reply,
                    [peer, &env = service.env()](const ServedRef& served, json::object& body) {
                      RerankPlan plan;
                      Checked error = has_backend(served);
                      if (!error) error = plan_rerank(*served->model, body, plan);
                      if (error) return peer.reply(error_reply(*error));
                      answer(served, peer, std::move(plan),
                             [&env](const ServedModel& model, const RerankPlan& done,
                                    std::span<const float> scores) {
                               return rerank_reply(model, done, scores, env);
                             });
                    });
}

}  // namespace hadal::handlers
