#include "text/tokenizer/byte_bpe.h"

#include <unordered_map>

#include <fmt/format.h>

#include "base/limits.h"
#include "text/tokenizer/byte_alphabet.h"
#include "text/tokenizer/unicode.h"
#include "text/tokenizer/word_cache.h"

namespace hadal {
namespace {

/// Gives symbols to texts: vocabulary ids where ordinary text may become that token, else numbers
/// from the vocabulary's size on ("virtual": written out byte by byte in the end).
class Interner {
 public:
  explicit Interner(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  Symbol symbol(std::string_view text) {
    if (const auto id = vocabulary_.find_plain(text)) return *id;
    const auto made = static_cast<Symbol>(vocabulary_.size() + texts_.size());
    const auto [entry, added] = extra_.try_emplace(std::string(text), made);
    if (added) texts_.push_back(entry->first);
    return entry->second;
  }

  /// The bytes of each virtual symbol.
  std::vector<std::string> bytes() const {
    std::vector<std::string> out;
    for (const std::string_view text : texts_) {
      out.push_back(from_byte_alphabet(text).value_or(std::string(text)));
    }
    return out;
  }

 private:
  const Vocabulary& vocabulary_;
  std::unordered_map<std::string, Symbol> extra_;
  std::vector<std::string_view> texts_;  // by symbol; into the keys of extra_
};

}  // namespace

struct ByteBpeTokenizer::Rules {
  PreTokenizer pre = PreTokenizer::kDefault;
  MergeTable merges;
  std::array<Symbol, 256> byte_symbols{};
  std::vector<std::string> virtual_bytes;
};

Result<std::unique_ptr<Tokenizer>> ByteBpeTokenizer::create(
    std::unique_ptr<Vocabulary> vocabulary) {
  const VocabSpec& spec = vocabulary->spec();
  if (spec.merges.size() > limits::kVocabTokens) {
    return Error{Code::kExhausted, fmt::format("the vocabulary has {} merges; at most {} are read",
                                               spec.merges.size(), limits::kVocabTokens)};
  }
  Rules rules{PreTokenizer::kDefault, MergeTable(spec.merges.size()), {}, {}};
  const auto pre = find_pre_tokenizer(spec.pre);
  rules.pre = pre.value_or(PreTokenizer::kDefault);
  if (rules.pre == PreTokenizer::kDefault) {
    vocabulary->warning = fmt::format(
        "pre-tokenizer \"{:.40}\" is not known: text is split by default rules, and the model may "
        "answer worse than it can",
        spec.pre);
  }

  Interner interner(*vocabulary);
  for (size_t byte = 0; byte < 256; ++byte) {
    std::string text;
    utf8_append(text, kByteAlphabet[byte]);
    rules.byte_symbols[byte] = interner.symbol(text);
  }
  std::string joined;
  for (size_t i = 0; i < spec.merges.size(); ++i) {
    const std::string_view merge = spec.merges[i];
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size() ||
        merge.size() > 2 * limits::kTokenBytes) {
      return Error{Code::kCorrupt, fmt::format("merge {} is not \"left right\"", i)};
    }
    const std::string_view left = merge.substr(0, space);
    const std::string_view right = merge.substr(space + 1);
    joined.assign(left).append(right);
    rules.merges.add(interner.symbol(left), interner.symbol(right), interner.symbol(joined));
  }
  rules.virtual_bytes = interner.bytes();

  vocabulary->pieces.reserve(vocabulary->size());
  for (size_t id = 0; id < vocabulary->size(); ++id) {
    const std::string& text = vocabulary->text(id);
    vocabulary->pieces.push_back(vocabulary->is_plain(id) ? from_byte_alphabet(text).value_or(text)
                                                          : text);
  }
  vocabulary->adds_bos = spec.add_bos.value_or(rules.pre == PreTokenizer::kLlama3);
  vocabulary->adds_eos = spec.add_eos.value_or(false);
  return std::unique_ptr<Tokenizer>(new ByteBpeTokenizer(std::move(vocabulary), std::move(rules)));
}

ByteBpeTokenizer::ByteBpeTokenizer(std::unique_ptr<const Vocabulary> vocabulary_in, Rules rules)
    : Tokenizer(std::move(vocabulary_in)),
      pre_(rules.pre),
      normalises_(rules.pre == PreTokenizer::kQwen2),
      ignores_merges_(rules.pre == PreTokenizer::kLlama3),
      cache_owner_(WordCache::new_owner()),
      merges_(std::move(rules.merges)),
      byte_symbols_(rules.byte_symbols),
      virtual_bytes_(std::move(rules.virtual_bytes)) {
  std::vector<TokenId> ids;
  append_bytes("\xEF\xBF\xBD", ids);  // replacement_ is still empty: missing bytes are left out
  if (ids.size() == 3) replacement_ = std::move(ids);
}

void ByteBpeTokenizer::encode_plain(std::string_view text, bool /*starts*/,
                                    std::vector<TokenId>& ids) const {
  std::string normal;
  if (normalises_ && !unicode::surely_nfc(text, unicode::ClassTable::get())) {
    normal = unicode::nfc(text);
    text = normal;
  }
  std::vector<size_t> ends;
  ends.reserve(text.size() / 4 + 4);
  pre_tokenize(pre_, text, ends);

  WordCache& cache = WordCache::of_thread();
  std::vector<Symbol> scratch;
  size_t start = 0;
  for (const size_t end : ends) {
    const std::string_view piece = text.substr(start, end - start);
    if (piece.size() > WordCache::kWordBytes) {
      append_piece(piece, scratch, ids);
    } else {
      const WordCache::Key key = WordCache::key_of(text, start, piece.size());
      const std::span<const TokenId> known = cache.find(cache_owner_, key, piece.size());
      if (!known.empty()) {
        ids.insert(ids.end(), known.begin(), known.end());
      } else {
        const size_t before = ids.size();
        append_piece(piece, scratch, ids);
        cache.put(cache_owner_, key, piece.size(), std::span(ids).subspan(before));
      }
    }
    start = end;
  }
}

void ByteBpeTokenizer::append_piece(std::string_view piece, std::vector<Symbol>& scratch,
                                    std::vector<TokenId>& ids) const {
  if (ignores_merges_ && piece.size() <= limits::kTokenBytes) {
    if (const auto whole = vocabulary().find_plain(to_byte_alphabet(piece))) {
      ids.push_back(*whole);
      return;
    }
  }
  scratch.clear();
  for (const char byte : piece) scratch.push_back(byte_symbols_[static_cast<uint8_t>(byte)]);
  merges_.merge(scratch);
  const auto real = static_cast<Symbol>(vocabulary().size());
  for (const Symbol symbol : scratch) {
    if (symbol < real) {
      ids.push_back(symbol);
    } else {
      append_bytes(virtual_bytes_[static_cast<size_t>(symbol - real)], ids);
    }
  }
}

/// One token per byte. A byte without a token (a vocabulary may lack those that UTF-8 never uses)
/// becomes U+FFFD, if that can be written.
void ByteBpeTokenizer::append_bytes(std::string_view bytes, std::vector<TokenId>& ids) const {
  const auto real = static_cast<Symbol>(vocabulary().size());
  for (const char byte : bytes) {
    const Symbol symbol = byte_symbols_[static_cast<uint8_t>(byte)];
    if (symbol < real) {
      ids.push_back(symbol);
    } else {
      ids.insert(ids.end(), replacement_.begin(), replacement_.end());
    }
  }
}

}  // namespace hadal
