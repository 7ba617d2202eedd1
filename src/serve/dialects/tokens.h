#pragma once
/// POST /tokenize and /detokenize, in the shapes of both llama.cpp ("content") and vLLM ("prompt"
/// or "messages").
#include <string>

#include "base/env.h"
#include "serve/backend.h"
#include "serve/errors.h"

namespace hadal {

/// {"content" | "prompt": text, "add_special": bool, "parse_special": bool} or {"messages": ...}
/// -> {"tokens", "count", "max_model_len"}. "with_pieces" makes tokens {"id", "piece"} objects,
/// "return_token_strs" adds a list of texts.
/// add_special (BOS) is on for "prompt" and off for "content", as those servers have it.
Checked tokenize_body(const ServedModel& model, const json::object& body, Env& env,
                      std::string& out);

/// GET /tokenizer_info, as vLLM has it: special tokens by their texts, and the chat template.
std::string tokenizer_info_body(const ServedModel& model);

/// {"tokens": [...]} -> {"content", "prompt"}, the same text under both names.
Checked detokenize_body(const ServedModel& model, const json::object& body, std::string& out);

}  // namespace hadal
