#include "text/tokenizer/sentencepiece.h"

#include <cmath>
#include <limits>
#include <queue>

#include <fmt/format.h>

#include "base/utf8.h"
#include "text/tokenizer/word_cache.h"

namespace hadal {
namespace {

constexpr std::string_view kBlank = "▁";  // U+2581, three bytes

bool is_byte_token(const Vocabulary& vocabulary, size_t id) {
  return vocabulary.kind(id) == TokenKind::kByte ||
         (vocabulary.spec().kinds.empty() && parse_byte_token(vocabulary.text(id)));
}

std::string with_spaces(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text.substr(i).starts_with(kBlank)) {
      out.push_back(' ');
      i += kBlank.size();
    } else {
      out.push_back(text[i++]);
    }
  }
  return out;
}

/// Whether a blank stands after a character that is none.
bool has_inner_blank(std::string_view text) {
  while (text.starts_with(kBlank)) text.remove_prefix(kBlank.size());
  return text.find(kBlank) != std::string_view::npos;
}

/// A part of the word: bytes [start, start + size); size 0 when it was merged away.
struct Part {
  size_t start;
  size_t size;
  size_t previous;
  size_t next;
};

struct Candidate {
  float score;
  size_t left;
  size_t right;
  size_t size;  ///< of both parts together; another size means the candidate is stale
  bool operator<(const Candidate& other) const {
    return score != other.score ? score < other.score : left > other.left;
  }
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> SentencePieceTokenizer::create(
    std::unique_ptr<Vocabulary> vocabulary) {
  const VocabSpec& spec = vocabulary->spec();
  vocabulary->pieces.reserve(vocabulary->size());
  for (size_t id = 0; id < vocabulary->size(); ++id) {
    const std::string& text = vocabulary->text(id);
    if (is_byte_token(*vocabulary, id)) {
      const auto byte = parse_byte_token(text);
      if (!byte) {
        return Error{Code::kCorrupt,
                     fmt::format("byte token {} reads \"{:.20}\", not <0xNN>", id, text)};
      }
      vocabulary->pieces.emplace_back(1, static_cast<char>(*byte));
    } else {
      vocabulary->pieces.push_back(vocabulary->is_plain(id) ? with_spaces(text) : text);
    }
  }
  vocabulary->adds_bos = spec.add_bos.value_or(true);
  vocabulary->adds_eos = spec.add_eos.value_or(false);
  vocabulary->drops_leading_blank = spec.add_space_prefix.value_or(true);
  if (spec.scores.empty()) vocabulary->warning = "the vocabulary has no scores: merges are guesses";
  return std::unique_ptr<Tokenizer>(new SentencePieceTokenizer(std::move(vocabulary)));
}

SentencePieceTokenizer::SentencePieceTokenizer(std::unique_ptr<const Vocabulary> vocabulary_in)
    : Tokenizer(std::move(vocabulary_in)),
      adds_blank_(vocabulary().spec().add_space_prefix.value_or(true)),
      blanks_separate_(true),
      cache_owner_(WordCache::new_owner()) {
  byte_ids_.fill(vocabulary().unknown.value_or(kNoToken));
  for (size_t id = vocabulary().size(); id-- > 0;) {
    if (is_byte_token(vocabulary(), id)) {
      const auto byte = parse_byte_token(vocabulary().text(id));
      if (byte) byte_ids_[*byte] = static_cast<TokenId>(id);
    } else if (vocabulary().is_plain(id) && has_inner_blank(vocabulary().text(id))) {
      blanks_separate_ = false;
    }
  }
}

void SentencePieceTokenizer::encode_plain(std::string_view text, bool starts,
                                          std::vector<TokenId>& ids) const {
  std::string blanked;
  blanked.reserve(text.size() + text.size() / 2 + kBlank.size());
  if (starts && adds_blank_) blanked.append(kBlank);
  for (const char c : text) c == ' ' ? blanked.append(kBlank) : blanked.append(1, c);

  WordCache& cache = WordCache::of_thread();
  for (size_t start = 0; start < blanked.size();) {
    size_t end = blanked.size();
    if (blanks_separate_) {
      end = start;
      while (blanked.compare(end, kBlank.size(), kBlank) == 0) end += kBlank.size();
      end = std::min(blanked.find(kBlank, end), blanked.size());
    }
    const std::string_view word = std::string_view(blanked).substr(start, end - start);
    if (word.size() > WordCache::kWordBytes) {
      append_word(word, ids);
    } else {
      const WordCache::Key key = WordCache::key_of(blanked, start, word.size());
      const std::span<const TokenId> known = cache.find(cache_owner_, key, word.size());
      if (!known.empty()) {
        ids.insert(ids.end(), known.begin(), known.end());
      } else {
        const size_t before = ids.size();
        append_word(word, ids);
        cache.put(cache_owner_, key, word.size(), std::span(ids).subspan(before));
      }
    }
    start = end;
  }
}

/// Joins the adjacent parts whose text is the token of highest score, leftmost of equals, until no
/// pair is a token.
void SentencePieceTokenizer::append_word(std::string_view word, std::vector<TokenId>& ids) const {
  std::vector<Part> parts;
  for (size_t i = 0; i < word.size();) {
    const size_t size = utf8_decode(word, i).size;
    parts.push_back({i, size, parts.size() - 1, parts.size() + 1});
    i += size;
  }
  std::priority_queue<Candidate> heap;
  const auto consider = [&](size_t left, size_t right) {
    const size_t size = parts[left].size + parts[right].size;
    const auto id = vocabulary().find_plain(word.substr(parts[left].start, size));
    if (!id) return;
    const float score = vocabulary().score(static_cast<size_t>(*id));
    const float ordered = std::isnan(score) ? -std::numeric_limits<float>::infinity() : score;
    heap.push({ordered, left, right, size});
  };
  for (size_t i = 0; i + 1 < parts.size(); ++i) consider(i, i + 1);
  while (!heap.empty()) {
    const Candidate best = heap.top();
    heap.pop();
    Part& left = parts[best.left];
    Part& right = parts[best.right];
    if (left.size == 0 || right.size == 0 || left.size + right.size != best.size) continue;
    left.size = best.size;
    right.size = 0;
    left.next = right.next;
    if (left.next < parts.size()) parts[left.next].previous = best.left;
    if (best.left > 0) consider(left.previous, best.left);
    if (left.next < parts.size()) consider(best.left, left.next);
  }
  for (size_t i = 0; i < parts.size(); i = parts[i].next) {
    append_unmerged(word.substr(parts[i].start, parts[i].size), ids);
  }
}

void SentencePieceTokenizer::append_unmerged(std::string_view symbol,
                                             std::vector<TokenId>& ids) const {
  if (const auto id = vocabulary().find_plain(symbol)) {
    ids.push_back(*id);
    return;
  }
  for (const char byte : symbol) {
    const TokenId id = byte_ids_[static_cast<uint8_t>(byte)];
    if (id != kNoToken) ids.push_back(id);
  }
}

}  // namespace hadal
