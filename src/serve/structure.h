#pragma once
/// Structured output: from what a request asks for (a format, calls of tools) to the TokenFilter of
/// its rows.
#include "serve/errors.h"

namespace hadal {

struct GenerationPlan;
struct ServedModel;

/// Sets plan.filter when the plan's format or its tools ask for one. 400 naming the field where
/// that cannot be done.
Checked constrain_answer(const ServedModel& model, GenerationPlan& plan);

}  // namespace hadal
