#pragma once
/// POST /tokenize and /detokenize, in the shapes of both llama.cpp ("content") and vLLM ("prompt"
/// or "messages").
#include <string>
#include <string_view>

#include "base/env.h"
#include "serve/backend.h"
#include "serve/errors.h"

namespace hadal {

/// {"content" | "prompt": text, "add_special": bool, "parse_special": bool} or {"messages": ...}
/// -> {"tokens", "count", "max_model_len"}. "with_pieces" makes tokens {"id", "piece"} objects,
/// "return_token_strs" adds a list of texts.
/// add_special (BOS) is on for "prompt" and off for "content", as those servers have it.
Checked tokenize_body(const ServedModel& model, std::string_view body, Env& env, std::string& out);

/// {"tokens": [...]} -> {"content", "prompt"}, the same text under both names.
Checked detokenize_body(const ServedModel& model, std::string_view body, std::string& out);

}  // namespace hadal
