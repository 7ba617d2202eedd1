#include "text/tokenizer/vocabulary.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "base/utf8.h"

namespace hadal {
namespace {

constexpr std::array<std::string_view, 10> kEndTexts = {
    "<|eot_id|>",      "<|im_end|>", "<|end|>", "<|endoftext|>",         "<|eom_id|>",
    "<|end_of_text|>", "<EOT>",      "</s>",    "<｜end▁of▁sentence｜>", "<|EOT|>"};

/// A special id as files write it: absent, -1 and 2^32 - 1 all mean "none".
Result<std::optional<TokenId>> special_id(const char* name, std::optional<int64_t> id,
                                          size_t count) {
  if (!id || *id == -1 || *id == int64_t{0xFFFFFFFF}) return std::optional<TokenId>();
  if (*id < 0 || static_cast<uint64_t>(*id) >= count) {
    return Error{Code::kCorrupt, fmt::format("special token {} has id {}, outside the vocabulary "
                                             "of {} tokens",
                                             name, *id, count)};
  }
  return std::optional<TokenId>(static_cast<TokenId>(*id));
}

Status check_length(const char* what, size_t found, size_t tokens) {
  if (found == 0 || found == tokens) return Status::success();
  return Error{Code::kCorrupt,
               fmt::format("vocabulary of {} tokens has {} {}", tokens, found, what)};
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

bool is_bracketed(std::string_view text, std::string_view open, std::string_view close) {
  return text.size() > open.size() + close.size() && text.starts_with(open) &&
         text.ends_with(close);
}

}  // namespace

bool looks_like_control(std::string_view text) {
  return is_bracketed(text, "<", ">") || is_bracketed(text, "[", "]") ||
         is_bracketed(text, "｜", "｜");
}

std::optional<uint8_t> parse_byte_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  const int high = hex_digit(text[3]);
  const int low = hex_digit(text[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<uint8_t>(high * 16 + low);
}

Vocabulary::Vocabulary(VocabSpec spec) : spec_(std::move(spec)), index_(spec_.tokens.size()) {
  for (size_t id = 0; id < size(); ++id) index_.insert(text(id), static_cast<TokenId>(id));
}

Result<std::unique_ptr<Vocabulary>> Vocabulary::build(VocabSpec spec) {
  if (spec.tokens.empty()) return Error{Code::kCorrupt, "the vocabulary has no tokens"};
  if (spec.tokens.size() > limits::kVocabTokens) {
    return Error{Code::kExhausted, fmt::format("the vocabulary has {} tokens; at most {} are read",
                                               spec.tokens.size(), limits::kVocabTokens)};
  }
  std::unique_ptr<Vocabulary> made(new Vocabulary(std::move(spec)));
  TRY_STATUS(made->check());
  const VocabSpec& s = made->spec_;
  TRY(made->bos, special_id("bos", s.bos, made->size()));
  TRY(made->eos, special_id("eos", s.eos, made->size()));
  TRY(made->unknown, special_id("unknown", s.unknown, made->size()));
  made->find_specials();
  made->find_end_of_generation();
  return made;
}

Status Vocabulary::check() const {
  TRY_STATUS(check_length("scores", spec_.scores.size(), size()));
  TRY_STATUS(check_length("token types", spec_.kinds.size(), size()));
  for (size_t id = 0; id < size(); ++id) {
    if (text(id).size() > limits::kTokenBytes) {
      return Error{Code::kExhausted, fmt::format("token {} has {} bytes; at most {} are read", id,
                                                 text(id).size(), limits::kTokenBytes)};
    }
    if (kind(id) > TokenKind::kByte) {
      return Error{Code::kCorrupt,
                   fmt::format("token {} has the unknown type {}", id, spec_.kinds[id])};
    }
  }
  const std::pair<const char*, const std::optional<int64_t>*> ids[] = {
      {"eot", &spec_.eot},
      {"eom", &spec_.eom},
      {"separator", &spec_.separator},
      {"padding", &spec_.padding},
      {"cls", &spec_.cls},
      {"mask", &spec_.mask},
      {"fim_prefix", &spec_.fim_prefix},
      {"fim_suffix", &spec_.fim_suffix},
      {"fim_middle", &spec_.fim_middle},
      {"fim_pad", &spec_.fim_pad},
      {"fim_repo", &spec_.fim_repo},
      {"fim_separator", &spec_.fim_separator}};
  for (const auto& [name, id] : ids) {
    auto checked = special_id(name, *id, size());
    if (!checked.ok()) return std::move(checked).error();
  }
  return Status::success();
}

void Vocabulary::find_specials() {
  for (size_t id = 0; id < size(); ++id) {
    const TokenKind k = kind(id);
    const bool control = k == TokenKind::kControl || k == TokenKind::kUnknown;
    if (!control && k != TokenKind::kUserDefined) continue;
    specials_.add(text(id), static_cast<TokenId>(id), control || looks_like_control(text(id)));
  }
  specials_.seal();
}

void Vocabulary::find_end_of_generation() {
  auto& ids = end_of_generation_;
  for (const auto& id : {spec_.eos, spec_.eot, spec_.eom}) {
    if (id && *id >= 0 && static_cast<size_t>(*id) < size()) {
      ids.push_back(static_cast<TokenId>(*id));
    }
  }
  for (const std::string_view end : kEndTexts) {
    const auto id = find(end);
    // An ordinary piece of text that happens to read "</s>" does not end anything.
    const bool ordinary =
        id && !spec_.kinds.empty() && kind(static_cast<size_t>(*id)) == TokenKind::kNormal;
    if (id && !ordinary) ids.push_back(*id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

}  // namespace hadal
