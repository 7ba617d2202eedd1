#pragma once
/// GET /stream: prompts in, tokens out, over one WebSocket (dialects/plain.h).
#include <memory>

#include "net/exchange.h"
#include "serve/service.h"

namespace hadal {

/// The state of one connection.
std::unique_ptr<PeerState> open_stream_socket(const PeerRef& peer, Service& service);

}  // namespace hadal
