#include "tensor/hf/token_list.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "tensor/file/reader.h"

namespace hadal {
namespace {

constexpr int64_t kNormal = 1;  // tokenizer.ggml.token_type
constexpr int64_t kControl = 3;
constexpr int64_t kUserDefined = 4;
constexpr int64_t kUnused = 5;

bool is_between(std::string_view text, std::string_view open, std::string_view close) {
  return text.size() >= open.size() + close.size() && text.starts_with(open) &&
         text.ends_with(close);
}

/// Added tokens that checkpoints do not call special, but that only a template writes.
bool looks_like_control(std::string_view text) {
  return is_between(text, "<|", "|>") || is_between(text, "<｜", "｜>");
}

std::optional<double> number_of(const json::value& value) {
  if (value.is_double()) return value.get_double();
  if (value.is_int64()) return static_cast<double>(value.get_int64());
  return std::nullopt;
}

/// Puts a token at its id. Two texts with one id, or an id beyond the embedding, are errors.
class VocabularyReader {
 public:
  VocabularyReader(const JsonFile& file, int64_t rows) : file_(file), rows_(rows) {}

  Result<HfTokens> read(const JsonFile& model) {
    const json::value* vocab = model.find("vocab");
    if (vocab != nullptr && vocab->is_array()) {
      TRY_STATUS(read_pieces(model, vocab->get_array()));
    } else if (vocab != nullptr && vocab->is_object()) {
      for (const auto& entry : vocab->get_object()) {
        const std::string_view text(entry.key().data(), entry.key().size());
        TRY_STATUS(put(text, hf_token_id(&entry.value()), kNormal, false));
      }
    } else {
      return model.error(Code::kCorrupt, "vocab", "is missing, or neither object nor array");
    }
    TRY_STATUS(read_added());
    const auto used = static_cast<int64_t>(out_.tokens.size());
    const int64_t size = std::max(rows_, used);
    out_.tokens.resize(static_cast<size_t>(size));
    out_.kinds.resize(static_cast<size_t>(size), 0);
    for (size_t id = 0; id < out_.kinds.size(); ++id) {
      if (out_.kinds[id] != 0) continue;
      out_.tokens[id] = fmt::format("[PAD{}]", id);
      out_.kinds[id] = kUnused;
    }
    if (!out_.scores.empty()) out_.scores.resize(out_.tokens.size(), 0.0F);
    return std::move(out_);
  }

 private:
  /// Unigram's: [text, score] each, the id is the place.
  Status read_pieces(const JsonFile& model, const json::array& pieces) {
    for (const json::value& piece : pieces) {
      const json::array* pair = piece.if_array();
      const bool whole = pair != nullptr && pair->size() == 2 && (*pair)[0].is_string();
      const auto score = whole ? number_of((*pair)[1]) : std::nullopt;
      if (!score) {
        return model.error(Code::kCorrupt, "vocab",
                           "holds something that is no pair of a text and a score");
      }
      const std::string_view text = (*pair)[0].get_string();
      TRY_STATUS(put(text, static_cast<int64_t>(out_.scores.size()), kNormal, false));
      out_.scores.push_back(static_cast<float>(*score));
    }
    return Status::success();
  }

  Status put(std::string_view text, std::optional<int64_t> id, int64_t kind, bool replace) {
    if (!id || (rows_ > 0 && *id >= rows_)) {
      return Error{Code::kCorrupt,
                   fmt::format("{}: token {} has no id, or one beyond the {} rows of the embedding",
                               file_.where(), gguf_quoted(text),
                               rows_ > 0 ? rows_ : static_cast<int64_t>(limits::kVocabTokens))};
    }
    const auto place = static_cast<size_t>(*id);
    if (out_.tokens.size() <= place) {
      out_.tokens.resize(place + 1);
      out_.kinds.resize(place + 1, 0);
    }
    if (!replace && out_.kinds[place] != 0) {
      return Error{Code::kCorrupt,
                   fmt::format("{}: tokens {} and {} have the same id {}", file_.where(),
                               gguf_quoted(out_.tokens[place]), gguf_quoted(text), *id)};
    }
    out_.tokens[place] = text;
    out_.kinds[place] = kind;
    return Status::success();
  }

  Status read_added() {
    const json::value* added = file_.find("added_tokens");
    if (added == nullptr) return Status::success();
    if (!added->is_array()) return file_.error(Code::kCorrupt, "added_tokens", "is no array");
    for (const json::value& value : added->get_array()) {
      const json::object* token = value.if_object();
      const json::value* content = token == nullptr ? nullptr : token->if_contains("content");
      if (content == nullptr || !content->is_string()) {
        return file_.error(Code::kCorrupt, "added_tokens", "holds something that is no token");
      }
      const json::value* special = token->if_contains("special");
      const std::string_view text = content->get_string();
      const bool control = looks_like_control(text) ||
                           (special != nullptr && special->is_bool() && special->get_bool());
      TRY_STATUS(put(text, hf_token_id(token->if_contains("id")), control ? kControl : kUserDefined,
                     true));
    }
    return Status::success();
  }

  const JsonFile& file_;
  const int64_t rows_;
  HfTokens out_;
};

}  // namespace

std::optional<int64_t> HfTokens::find_added(std::string_view text) const {
  for (size_t id = 0; id < tokens.size(); ++id) {
    const bool added = kinds[id] == kControl || kinds[id] == kUserDefined;
    if (added && tokens[id] == text) return static_cast<int64_t>(id);
  }
  return std::nullopt;
}

bool HfTokens::is_control(size_t id) const {
  return kinds[id] == kControl;
}

std::optional<int64_t> hf_token_id(const json::value* value) {
  if (value == nullptr || !value->is_int64()) return std::nullopt;
  const int64_t id = value->get_int64();
  return id >= 0 && id < static_cast<int64_t>(limits::kVocabTokens) ? std::optional(id)
                                                                    : std::nullopt;
}

Result<HfTokens> read_hf_tokens(const JsonFile& file, const JsonFile& model, int64_t rows) {
  return VocabularyReader(file, rows).read(model);
}

}  // namespace hadal
