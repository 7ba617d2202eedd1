#include "serve/manners.h"

#include <algorithm>
#include <memory>

#include "serve/idempotency.h"

namespace hadal {
namespace {

/// Malformed bodies are left to the handler, which refuses them anyway.
Checked check_strict(const EndpointShape& shape, const HttpRequest& request) {
  json::object body;
  if (!has_body(shape) || parse_body(request.body, body)) return std::nullopt;
  return check_known(shape, body);
}

/// The header that says who asks; empty without a key.
std::string_view caller_of(const HttpRequest& request) {
  for (const char* name : {"authorization", "x-api-key"}) {
    if (const std::string* value = request.header(name)) return *value;
  }
  return {};
}

ApiError key_error(int status, std::string_view code, std::string_view message) {
  return {.status = status, .code = std::string(code), .message = std::string(message)};
}

/// Keeps the answer for the next request with this key; dropped without one, it frees the key.
void observe(const PeerRef& peer, IdempotencyClaim claim) {
  peer.post([kept = std::move(claim)](Exchange& exchange) mutable {
    exchange.observe_reply(
        [owned = std::move(kept)](const HttpReply& reply) mutable { owned.complete(reply); });
  });
}

/// What a request with an Idempotency-Key is answered at once; nothing: the handler goes on.
std::optional<HttpReply> claim_key(Service& service, const EndpointShape& shape,
                                   const HttpRequest& request, const std::string& key,
                                   const PeerRef& peer) {
  using Outcome = IdempotencyClaim::Outcome;
  if (!well_formed_idempotency_key(key)) {
    return shape.refuse(key_error(400, "invalid_idempotency_key",
                                  "Idempotency-Key must be 1 to 255 printable ASCII characters."));
  }
  IdempotencyClaim claim = service.keys().claim(
      caller_of(request), key, request.method + " " + request.path + "\n" + request.body);
  switch (claim.outcome()) {
    case Outcome::kFirst:
      observe(peer, std::move(claim));
      return std::nullopt;
    case Outcome::kReplay: {
      HttpReply reply = claim.reply();
      reply.headers.emplace_back("idempotent-replayed", "true");
      return reply;
    }
    case Outcome::kRunning:
      return shape.refuse(
          key_error(409, "idempotency_key_in_use",
                    "The first request with this Idempotency-Key is still running."));
    case Outcome::kMismatch:
      return shape.refuse(key_error(422, "idempotency_key_reused",
                                    "This Idempotency-Key was used for a different request."));
    case Outcome::kFull:
      return shape.refuse(
          key_error(503, "overloaded", "Too many requests with an Idempotency-Key are running."));
  }
  return std::nullopt;
}

std::string duration_text(int64_t micros) {
  const int64_t ms = std::max<int64_t>((micros + 999) / 1000, 0);
  return ms < 1000 ? std::to_string(ms) + "ms" : std::to_string((ms + 999) / 1000) + "s";
}

}  // namespace

void run_handler(Service& service, Handler handler, const EndpointShape* shape,
                 HttpRequest&& request, const PeerRef& peer) {
  if (shape != nullptr && service.strict()) {
    if (Checked problem = check_strict(*shape, request)) {
      peer.reply(shape->refuse(*problem));
      return;
    }
  }
  if (shape != nullptr && shape->creates) {
    if (const std::string* key = request.header("idempotency-key")) {
      if (auto reply = claim_key(service, *shape, request, *key, peer)) {
        peer.reply(std::move(*reply));
        return;
      }
    }
  }
  handler(service, std::move(request), peer);
}

HeaderList rate_headers(const EngineStats& stats) {
  if (stats.queue_max == 0) return {};
  const int limit = stats.rows_max + stats.queue_max;
  const int remaining = std::max(limit - stats.running - stats.waiting, 0);
  return {{"x-ratelimit-limit-requests", std::to_string(limit)},
          {"x-ratelimit-remaining-requests", std::to_string(remaining)},
          {"x-ratelimit-reset-requests", duration_text(stats.queue_wait_micros)}};
}

}  // namespace hadal
