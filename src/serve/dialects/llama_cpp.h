#pragma once
/// llama.cpp's native endpoints: /completion, /infill, /apply-template, /props and /slots.
///
///   {"prompt": text | ids | mixed list | list of those, "n_predict", "n_probs", ...}
///   -> {"content", "tokens", "stop": true, "stop_type", "timings", ...}; a list for several
///   prompts streamed: data: {"content", "tokens", "stop": false}, and the whole shape (content
///   empty) last
#include <string>

#include "serve/backend.h"
#include "serve/generation.h"
#include "serve/params.h"

namespace hadal {

/// Rows that only this dialect has.
std::span<const ParamRow> llama_params();

/// Planners (service.h).
Checked plan_llama_completion(const ServedModel& model, json::object& body, Env& env,
                              GenerationPlan& out);
/// "input_prefix", "input_suffix", "input_extra": [{"filename", "text"}], "prompt" (the beginning
/// of the middle). Needs a vocabulary with fill-in-the-middle tokens; with those for repositories
/// too, the extra files go under their names, else as snippets before the prefix.
Checked plan_llama_infill(const ServedModel& model, json::object& body, Env& env,
                          GenerationPlan& out);

/// {"messages": ...} -> {"prompt": what a chat with them would send to the model}
Checked apply_template_body(const ServedModel& model, const json::object& body, Env& env,
                            std::string& out);

/// The settings of a request under llama.cpp's names.
json::object llama_settings(const RequestParams& params);
/// GET /props and /slots: what is true here. Rows of the batch stand for slots; they are not told
/// apart, so a slot only says whether it works.
std::string props_body(const ServedModel& model, const EngineStats& stats);
std::string slots_body(const ServedModel& model, const EngineStats& stats);

}  // namespace hadal
