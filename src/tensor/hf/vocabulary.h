#pragma once
/// tokenizer.json, tokenizer_config.json, chat_template.jinja and generation_config.json as GGUF
/// keys. Private to the room.
#include <cstdint>
#include <filesystem>
#include <optional>

#include "base/result.h"
#include "tensor/hf/json_file.h"
#include "tensor/hf/metadata.h"

namespace hadal {

/// Writes tokenizer.ggml.*, tokenizer.chat_template and general.sampling.* of what the directory
/// has. `vocab`: rows of the embedding, 0 when it is not known; unused entries fill the rest.
/// `config` may be null. kUnsupported names a tokenizer that is neither byte-level BPE nor
/// WordPiece nor Unigram, or whose way to split text is none of the known ones.
Status write_hf_vocabulary(const std::filesystem::path& directory, const JsonFile* config,
                           int64_t vocab, MetadataWriter& out);

}  // namespace hadal
