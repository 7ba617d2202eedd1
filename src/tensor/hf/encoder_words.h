#pragma once
/// WordPiece and Unigram vocabularies of tokenizer.json, the ones that encoders (BERT, XLM-R) have,
/// as GGUF keys. Private to the room.
#include "base/result.h"
#include "tensor/hf/json_file.h"
#include "tensor/hf/metadata.h"
#include "tensor/hf/token_list.h"

namespace hadal {

/// kUnsupported for rules of normalising and splitting other than BERT's. `tokens` become GGUF's
/// texts: pieces that begin a word with U+2581 before them, others bare.
Status write_word_pieces(const JsonFile& tokenizer, const JsonFile& model, HfTokens& tokens,
                         MetadataWriter& out);

/// kUnsupported for rules other than a charsmap, runs of blanks made one, and U+2581 for blanks.
Status write_unigram(const JsonFile& tokenizer, const JsonFile& model, const HfTokens& tokens,
                     MetadataWriter& out);

/// Special ids, and what the post-processor puts around a text.
Status write_encoder_specials(const JsonFile& tokenizer, const HfTokens& tokens,
                              MetadataWriter& out);

}  // namespace hadal
