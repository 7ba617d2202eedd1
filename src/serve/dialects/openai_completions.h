#pragma once
/// POST /v1/completions: text or ids in, text out. Reasoning is not split off here.
#include <string>

#include "serve/backend.h"
#include "serve/generation.h"

namespace hadal {

/// `prompt`: a string, a list of strings, a list of token ids, or a list of such lists. `suffix`:
/// fill-in-the-middle, when the vocabulary has the ids for it.
Checked plan_openai_completions(const ServedModel& model, json::object& body, Env& env,
                                GenerationPlan& out);

}  // namespace hadal
