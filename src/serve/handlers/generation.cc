/// Handlers of endpoints that generate or turn text into ids and back.
#include "serve/dialects/openai_chat.h"
#include "serve/dialects/openai_completions.h"
#include "serve/dialects/plain.h"
#include "serve/dialects/tokens.h"
#include "serve/handlers.h"

namespace hadal::handlers {

void chat_completions(Service& service, HttpRequest&& request, const PeerRef& peer) {
  service.generate(std::move(request), peer, {.plan = plan_openai_chat});
}

void completions(Service& service, HttpRequest&& request, const PeerRef& peer) {
  service.generate(std::move(request), peer, {.plan = plan_openai_completions});
}

void generate(Service& service, HttpRequest&& request, const PeerRef& peer) {
  service.generate(std::move(request), peer, {.plan = plan_generate});
}

void tokenize(Service& service, HttpRequest&& request, const PeerRef& peer) {
  service.with_body(std::move(request), peer, error_reply,
                    [peer, &env = service.env()](const ServedRef& served, json::object& body) {
                      HttpReply reply;
                      Checked error = tokenize_body(*served->model, body, env, reply.body);
                      peer.reply(error ? error_reply(*error) : std::move(reply));
                    });
}

void detokenize(Service& service, HttpRequest&& request, const PeerRef& peer) {
  service.with_body(std::move(request), peer, error_reply,
                    [peer](const ServedRef& served, json::object& body) {
                      HttpReply reply;
                      Checked error = detokenize_body(*served->model, body, reply.body);
                      peer.reply(error ? error_reply(*error) : std::move(reply));
                    });
}

}  // namespace hadal::handlers
