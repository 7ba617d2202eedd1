/// Handlers of the endpoints that llama.cpp and vLLM have beside the OpenAI ones.
#include "serve/dialects/llama_cpp.h"
#include "serve/dialects/tokens.h"
#include "serve/handlers.h"

namespace hadal::handlers {
namespace {

/// Answers with what `body` says of the default model.
template <typename Body>
void reply_of_model(Service& service, const PeerRef& peer, Body body) {
  service.acquire(peer, "", [peer, body](const ServedRef& served, const Checked& missing) {
    peer.reply(missing ? error_reply(*missing) : HttpReply{.body = body(*served)});
  });
}

}  // namespace

void llama_completion(Service& service, HttpRequest&& request, const PeerRef& peer) {
  service.generate(std::move(request), peer, {.plan = plan_llama_completion});
}

void llama_infill(Service& service, HttpRequest&& request, const PeerRef& peer) {
  service.generate(std::move(request), peer, {.plan = plan_llama_infill});
}

void apply_template(Service& service, HttpRequest&& request, const PeerRef& peer) {
  service.with_body(std::move(request), peer, error_reply,
                    [peer, &env = service.env()](const ServedRef& served, json::object& body) {
                      HttpReply reply;
                      Checked error = apply_template_body(*served->model, body, env, reply.body);
                      peer.reply(error ? error_reply(*error) : std::move(reply));
                    });
}

void props(Service& service, HttpRequest&&, const PeerRef& peer) {
  reply_of_model(service, peer, [](const Served& served) {
    return props_body(*served.model, served.backend->stats());
  });
}

void slots(Service& service, HttpRequest&&, const PeerRef& peer) {
  reply_of_model(service, peer, [](const Served& served) {
    return slots_body(*served.model, served.backend->stats());
  });
}

void tokenizer_info(Service& service, HttpRequest&&, const PeerRef& peer) {
  reply_of_model(service, peer,
                 [](const Served& served) { return tokenizer_info_body(*served.model); });
}

void ping(Service& service, HttpRequest&&, const PeerRef& peer) {
  reply_of_model(service, peer, [](const Served&) { return std::string(); });
}

}  // namespace hadal::handlers
