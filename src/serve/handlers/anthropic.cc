/// Handlers of Anthropic's dialect.
#include "serve/dialects/anthropic.h"

#include "serve/handlers.h"

namespace hadal::handlers {

void messages(Service& service, HttpRequest&& request, const PeerRef& peer) {
  service.generate(std::move(request), peer,
                   {.plan = plan_anthropic, .refuse = anthropic_error_reply});
}

void count_message_tokens(Service& service, HttpRequest&& request, const PeerRef& peer) {
  const std::string id = request.request_id;
  service.with_body(
      std::move(request), peer, anthropic_error_reply,
      [peer, id, &env = service.env()](const ServedRef& served, json::object& body) {
        HttpReply reply{.headers = {{"request-id", id}}};
        if (Checked error = count_anthropic_tokens(*served->model, body, env, reply.body)) {
          error->request_id = id;
          reply = anthropic_error_reply(*error);
        }
        peer.reply(std::move(reply));
      });
}

}  // namespace hadal::handlers
