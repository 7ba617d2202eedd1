#pragma once
/// POST /v1/chat/completions.
#include <string>

#include "serve/backend.h"
#include "serve/generation.h"

namespace hadal {

/// A Planner (service.h).
Checked plan_openai_chat(const ServedModel& model, json::object& body, Env& env,
                         GenerationPlan& out);

}  // namespace hadal
