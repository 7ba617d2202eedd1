#pragma once
/// Our own plain dialect: POST /generate and the WebSocket /stream.
///
///   {"prompt": "..."} or {"messages": [...]}, plus the parameters of params.h
///   /generate  -> {"text", "reasoning", "finish_reason", "usage", "timings"}; streamed: one
///                 data: {"text": ...} per piece and a last one with "done": true
///   /stream    -> the same objects as text messages; "STOP" or {"stop": true} ends an answer
#include <memory>
#include <string>

#include "net/exchange.h"
#include "serve/backend.h"
#include "serve/generation.h"

namespace hadal {

Checked plan_generate(const ServedModel& model, std::string_view body, Env& env,
                      GenerationPlan& out);

/// A WebSocket's message: JSON as above, or plain text, which is a prompt.
Checked plan_socket_message(const ServedModel& model, std::string_view message, Env& env,
                            GenerationPlan& out);

/// The state of one /stream connection. Borrows all but `peer`.
std::unique_ptr<PeerState> make_stream_socket(const PeerRef& peer, const ServedModel& model,
                                              TokenBackend& backend, Env& env);

}  // namespace hadal
