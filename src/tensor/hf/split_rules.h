#pragma once
/// The name of a pre-tokenizer by its rules in tokenizer.json. Private to the room.
#include <string>

#include "base/json.h"
#include "base/result.h"
#include "tensor/hf/json_file.h"

namespace hadal {

/// tokenizer.ggml.pre for the "pre_tokenizer" (and "normalizer") of a tokenizer.json.
Result<std::string> name_split_rules(const JsonFile& tokenizer);

}  // namespace hadal
