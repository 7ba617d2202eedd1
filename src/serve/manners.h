#pragma once
/// Rules of the protocol that hold whatever the dialect: idempotency keys, strict parameters, rate
/// headers.
#include "engine/engine.h"
#include "serve/handlers.h"
#include "serve/shape.h"

namespace hadal {

/// Runs `handler` for `request`. Before that: with --strict-params a body with a member that
/// `shape` does not know is refused; where `shape` creates something, a request whose
/// Idempotency-Key was seen before gets the answer of then (`idempotent-replayed: true`). `shape`
/// may be null.
void run_handler(Service& service, Handler handler, const EndpointShape* shape,
                 HttpRequest&& request, const PeerRef& peer);

/// x-ratelimit-*-requests: how many requests may run and wait, how many more fit now, and how long
/// a new one would wait. Nothing when the backend has no such bound.
HeaderList rate_headers(const EngineStats& stats);

}  // namespace hadal
