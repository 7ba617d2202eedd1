#pragma once
/// POST /v1/chat/completions.
#include <string>

#include "serve/backend.h"
#include "serve/generation.h"

namespace hadal {

/// Body to plan. `env` gives time and ids.
Checked plan_openai_chat(const ServedModel& model, std::string_view body, Env& env,
                         GenerationPlan& out);

}  // namespace hadal
