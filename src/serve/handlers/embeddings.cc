/// Handlers of vectors and relevances.
#include "serve/dialects/embeddings.h"

#include <utility>

#include "serve/dialects/ollama.h"
#include "serve/embedding_run.h"
#include "serve/handlers.h"

namespace hadal::handlers {
namespace {

void embed_for_ollama(Service& service, HttpRequest&& request, const PeerRef& peer,
                      OllamaKind kind) {
  json::object body;
  OllamaRequest asked{.began_micros = service.env().now_micros()};
  Checked problem = parse_body(request.body, body);
  if (!problem) problem = read_ollama_request(body, kind, asked);
  const bool unload = !problem && asked.load_only && asked.keep_alive == 0;
  if (unload) problem = service.models().unload(asked.model);
  if (problem) return peer.reply(plain_error_reply(*problem));
  if (unload) return peer.reply({.body = ollama_no_vectors(asked)});
  const std::string name = asked.model;
  service.acquire(
      peer, name,
      [&service, peer, asked = std::move(asked), body = std::move(body)](const ServedRef& served,
                                                                         const Checked& missing) {
        if (missing) return peer.reply(plain_error_reply(*missing));
        if (asked.keep_alive) service.models().keep(asked.model, *asked.keep_alive);
        if (asked.load_only) return peer.reply({.body = ollama_no_vectors(asked)});
        EmbeddingsPlan plan;
        Checked error = gives_numbers(served);
        if (!error) error = plan_ollama_vectors(*served->model, body, asked.kind, plan);
        if (error) return peer.reply(plain_error_reply(*error));
        EmbeddingJob job{.request = std::move(plan.request),
                         .tokens = plan.tokens,
                         .refuse = plain_error_reply,
                         .write = {}};
        job.write = [&env = service.env(), asked, loaded_micros = service.env().now_micros(),
                     plan = std::move(plan)](const ServedModel& model,
                                             std::span<const float> numbers) {
          const int64_t now = env.now_micros();
          return HttpReply{.body =
                               ollama_vectors(asked, embeddings_wanted(model, plan, numbers),
                                              {.tokens = plan.tokens,
                                               .width = plan.width,
                                               .total_micros = now - asked.began_micros,
                                               .load_micros = loaded_micros - asked.began_micros})};
        };
        run_embedding(served, peer, std::move(job));
      });
}

}  // namespace

void embeddings(Service& service, HttpRequest&& request, const PeerRef& peer) {
  service.with_body(
      std::move(request), peer, error_reply, [peer](const ServedRef& served, json::object& body) {
        EmbeddingsPlan plan;
        Checked error = gives_numbers(served);
        if (!error) error = plan_embeddings(*served->model, body, plan);
        if (error) return peer.reply(error_reply(*error));
        EmbeddingJob job{.request = std::move(plan.request), .tokens = plan.tokens, .write = {}};
        job.write = [plan = std::move(plan)](const ServedModel& model,
                                             std::span<const float> numbers) {
          return HttpReply{.body = embeddings_reply(model, plan, numbers)};
        };
        run_embedding(served, peer, std::move(job));
      });
}

void rerank(Service& service, HttpRequest&& request, const PeerRef& peer) {
  service.with_body(std::move(request), peer, error_reply,
                    [peer, &env = service.env()](const ServedRef& served, json::object& body) {
                      RerankPlan plan;
                      Checked error = gives_numbers(served);
                      if (!error) error = plan_rerank(*served->model, body, plan);
                      if (error) return peer.reply(error_reply(*error));
                      EmbeddingJob job{
                          .request = std::move(plan.request), .tokens = plan.tokens, .write = {}};
                      job.write = [&env, plan = std::move(plan)](const ServedModel& model,
                                                                 std::span<const float> scores) {
                        return HttpReply{.body = rerank_reply(model, plan, scores, env)};
                      };
                      run_embedding(served, peer, std::move(job));
                    });
}

void score(Service& service, HttpRequest&& request, const PeerRef& peer) {
  service.with_body(std::move(request), peer, error_reply,
                    [peer, &env = service.env()](const ServedRef& served, json::object& body) {
                      ScorePlan plan;
                      Checked error = gives_numbers(served);
                      if (!error) error = plan_score(*served->model, body, plan);
                      if (error) return peer.reply(error_reply(*error));
                      EmbeddingJob job{
                          .request = std::move(plan.request), .tokens = plan.tokens, .write = {}};
                      job.write = [&env, plan = std::move(plan)](const ServedModel& model,
                                                                 std::span<const float> scores) {
                        return HttpReply{.body = score_reply(model, plan, scores, env)};
                      };
                      run_embedding(served, peer, std::move(job));
                    });
}

void ollama_embed(Service& service, HttpRequest&& request, const PeerRef& peer) {
  embed_for_ollama(service, std::move(request), peer, OllamaKind::kEmbed);
}

void ollama_embeddings(Service& service, HttpRequest&& request, const PeerRef& peer) {
  embed_for_ollama(service, std::move(request), peer, OllamaKind::kEmbeddings);
}

}  // namespace hadal::handlers
