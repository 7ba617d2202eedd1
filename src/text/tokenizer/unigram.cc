#include "text/tokenizer/unigram.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "base/utf8.h"

namespace hadal {
namespace {

constexpr std::string_view kBlank = "▁";  // U+2581, three bytes
/// How much worse than the worst piece an unknown character is (SentencePiece's kUnkPenalty).
constexpr double kUnknownPenalty = 10.0;

std::string with_spaces(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const bool blank = text.substr(i).starts_with(kBlank);
    out.push_back(blank ? ' ' : text[i]);
    i += blank ? kBlank.size() : 1;
  }
  return out;
}

bool has_inner_blank(std::string_view text) {
  while (text.starts_with(kBlank)) text.remove_prefix(kBlank.size());
  return text.find(kBlank) != std::string_view::npos;
}

/// How the best way to a place of the text ends.
struct Step {
  double score = -std::numeric_limits<double>::infinity();
  size_t from = 0;
  TokenId id = kNoToken;  ///< kNoToken: an unknown character
};

/// The bytes that decode() writes for each id.
Status write_pieces(Vocabulary& vocabulary) {
  vocabulary.pieces.reserve(vocabulary.size());
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    const std::string& text = vocabulary.text(id);
    if (vocabulary.kind(id) == TokenKind::kByte) {
      const auto byte = parse_byte_token(text);
      if (!byte) {
        return Error{Code::kCorrupt,
                     fmt::format("byte token {} reads \"{:.20}\", not <0xNN>", id, text)};
      }
      vocabulary.pieces.emplace_back(1, static_cast<char>(*byte));
    } else {
      vocabulary.pieces.push_back(vocabulary.is_plain(id) ? with_spaces(text) : text);
    }
  }
  return Status::success();
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> UnigramTokenizer::create(
    std::unique_ptr<Vocabulary> vocabulary) {
  const VocabSpec& spec = vocabulary->spec();
  if (spec.scores.empty()) {
    return Error{Code::kCorrupt, "the Unigram vocabulary has no scores"};
  }
  for (size_t id = 0; id < vocabulary->size(); ++id) {
    if (!std::isfinite(vocabulary->score(id))) {
      return Error{Code::kCorrupt, fmt::format("the score of token {} is no number", id)};
    }
  }
  if (!vocabulary->unknown) vocabulary->unknown = vocabulary->find("<unk>");
  if (!vocabulary->unknown) {
    return Error{Code::kCorrupt, "the Unigram vocabulary has no token for unknown characters"};
  }
  TRY(Charsmap charsmap, Charsmap::parse(spec.charsmap));
  TRY_STATUS(write_pieces(*vocabulary));
  vocabulary->adds_bos = spec.add_bos.value_or(false);
  vocabulary->adds_eos = spec.add_eos.value_or(true);
  vocabulary->drops_leading_blank = spec.add_space_prefix.value_or(true);
  return std::unique_ptr<Tokenizer>(
      new UnigramTokenizer(std::move(vocabulary), std::move(charsmap)));
}

UnigramTokenizer::UnigramTokenizer(std::unique_ptr<const Vocabulary> vocabulary_in,
                                   Charsmap charsmap)
    : Tokenizer(std::move(vocabulary_in)),
      charsmap_(std::move(charsmap)),
      adds_blank_(vocabulary().spec().add_space_prefix.value_or(true)),
      drops_blanks_(vocabulary().spec().remove_extra_whitespaces.value_or(true)),
      blanks_separate_(true) {
  byte_ids_.fill(*vocabulary().unknown);
  std::vector<std::pair<std::string_view, TokenId>> pieces;
  double worst = 0;
  for (size_t id = 0; id < vocabulary().size(); ++id) {
    const std::string& text = vocabulary().text(id);
    worst = std::min(worst, static_cast<double>(vocabulary().score(id)));
    const TokenKind kind = vocabulary().kind(id);
    if (kind == TokenKind::kByte) {
      byte_ids_[*parse_byte_token(text)] = static_cast<TokenId>(id);
      has_bytes_ = true;
    }
    const bool usable = kind == TokenKind::kNormal || kind == TokenKind::kUndefined;
    if (!usable || static_cast<TokenId>(id) == *vocabulary().unknown || text.empty() ||
        text.size() > limits::kUnigramPieceBytes) {
      continue;
    }
    pieces.emplace_back(text, static_cast<TokenId>(id));
    if (has_inner_blank(text)) blanks_separate_ = false;
  }
  trie_ = PieceTrie(std::move(pieces));
  unknown_score_ = worst - kUnknownPenalty;
}

void UnigramTokenizer::encode_plain(std::string_view text, bool starts,
                                    std::vector<TokenId>& ids) const {
  const std::string normal = normalise(text, starts);
  for (size_t start = 0; start < normal.size();) {
    size_t end = normal.size();
    if (blanks_separate_) {
      end = start;
      while (normal.compare(end, kBlank.size(), kBlank) == 0) end += kBlank.size();
      end = std::min(normal.find(kBlank, end), normal.size());
    }
    if (end - start > limits::kUnigramWordBytes) {
      end = start +
            utf8_complete_prefix(std::string_view(normal).substr(start, limits::kUnigramWordBytes));
    }
    append_best(std::string_view(normal).substr(start, end - start), ids);
    start = end;
  }
}

/// Characters replaced, runs of blanks made one, a blank put before the text, blanks marked.
std::string UnigramTokenizer::normalise(std::string_view text, bool starts) const {
  std::string plain;
  plain.reserve(text.size() + text.size() / 4);
  for (size_t i = 0; i < text.size();) {
    const Charsmap::Replacement step = charsmap_.longest(text, i);
    plain.append(step.text);
    i += step.size;
  }
  std::string out;
  out.reserve(plain.size() + plain.size() / 2 + kBlank.size());
  size_t end = plain.size();
  while (drops_blanks_ && end > 0 && plain[end - 1] == ' ') --end;
  const bool begins_blank = end > 0 && (plain[0] == ' ' || plain.starts_with(kBlank));
  if (end > 0 && starts && adds_blank_ && !begins_blank) out.append(kBlank);
  for (size_t i = 0; i < end; ++i) {
    if (plain[i] != ' ') {
      out.push_back(plain[i]);
    } else if (!drops_blanks_ || i == 0 || plain[i - 1] != ' ') {
      out.append(kBlank);
    }
  }
  return out;
}

/// Place by place: every piece that begins here is a way to where it ends; of equal scores the
/// earlier found stays, which is that of the longer last piece.
void UnigramTokenizer::append_best(std::string_view text, std::vector<TokenId>& ids) const {
  thread_local std::vector<Step> best;
  best.assign(text.size() + 1, Step());
  best[0].score = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t character = utf8_decode(text, at).size;
    const double so_far = best[at].score;
    bool covers_character = false;
    trie_.each_prefix(text.substr(at), [&](size_t size, TokenId id) {
      const double score = so_far + vocabulary().score(static_cast<size_t>(id));
      if (score > best[at + size].score) best[at + size] = {score, at, id};
      covers_character = covers_character || size == character;
    });
    if (!covers_character && so_far + unknown_score_ > best[at + character].score) {
      best[at + character] = {so_far + unknown_score_, at, kNoToken};
    }
    at += character;
  }
  std::vector<std::pair<size_t, size_t>> cuts;  // begin and end, last first
  for (size_t end = text.size(); end > 0; end = best[end].from) {
    cuts.emplace_back(best[end].from, end);
  }
  for (size_t i = cuts.size(); i-- > 0;) {
    const auto [begin, end] = cuts[i];
    if (best[end].id != kNoToken) {
      ids.push_back(best[end].id);
      continue;
    }
    size_t last = i;  // a run of unknown characters is one token
    while (last > 0 && best[cuts[last - 1].second].id == kNoToken) --last;
    append_unknown(text.substr(begin, cuts[last].second - begin), ids);
    i = last;
  }
}

void UnigramTokenizer::append_unknown(std::string_view text, std::vector<TokenId>& ids) const {
  if (!has_bytes_) return ids.push_back(*vocabulary().unknown);
  for (const char byte : text) ids.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
}

}  // namespace hadal
