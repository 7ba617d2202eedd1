#pragma once
/// Our own plain dialect: POST /generate and the WebSocket /stream.
///
///   {"prompt": "..."} or {"messages": [...]}, plus the parameters of params.h
///   /generate  -> {"text", "reasoning", "finish_reason", "usage", "timings"}; streamed: one
///                 data: {"text": ...} per piece and a last one with "done": true
///   /stream    -> the same objects as text messages; "STOP" or {"stop": true} ends an answer
#include <string>

#include "serve/backend.h"
#include "serve/generation.h"

namespace hadal {

Checked plan_generate(const ServedModel& model, json::object& body, Env& env, GenerationPlan& out);

/// The same for a message of the WebSocket.
Checked plan_socket_message(const ServedModel& model, json::object& body, Env& env,
                            GenerationPlan& out);
/// What a plan for the socket writes is messages with this between them.
inline constexpr char kSocketMessageEnd = '\0';

}  // namespace hadal
