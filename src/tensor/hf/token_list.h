#pragma once
/// The tokens of a tokenizer.json by id. Private to the room.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "tensor/hf/json_file.h"

namespace hadal {

struct HfTokens {
  std::vector<std::string> tokens;
  std::vector<int64_t> kinds;  ///< tokenizer.ggml.token_type
  std::vector<float> scores;   ///< of Unigram, else empty

  /// A token that tokenizer.json lists under "added_tokens".
  std::optional<int64_t> find_added(std::string_view text) const;
  bool is_control(size_t id) const;
};

/// A token's id in JSON; nullopt for anything else.
std::optional<int64_t> hf_token_id(const json::value* value);

/// "vocab" of the file's "model" (an object of ids, or Unigram's list of pieces and scores) and the
/// added tokens. `rows`: of the embedding, 0 when it is not known; ids without a token are unused
/// ones. kCorrupt for two tokens with one id and for ids beyond the rows.
Result<HfTokens> read_hf_tokens(const JsonFile& file, const JsonFile& model, int64_t rows);

}  // namespace hadal
