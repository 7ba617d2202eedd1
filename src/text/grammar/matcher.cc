#include <utility>

#include "text/grammar/lexeme.h"
#include "text/grammar/machine.h"
#include "text/grammar/token_trie.h"
#include "text/grammar_matcher.h"

namespace hadal {
namespace {

/// Most masks differ from "everything" in their first words.
bool all_set(std::span<const uint64_t> mask, size_t bits) {
  for (size_t word = 0; word < bits / 64; ++word) {
    if (mask[word] != ~uint64_t{0}) return false;
  }
  return bits % 64 == 0 || mask[bits / 64] == (uint64_t{1} << (bits % 64)) - 1;
}

}  // namespace

GrammarVocabulary::GrammarVocabulary(const Tokenizer& tokenizer)
    : tokenizer_(tokenizer),
      trie_(std::make_unique<TokenTrie>(tokenizer)),
      lexemes_(std::make_unique<LexemeStore>(*trie_)) {}
GrammarVocabulary::~GrammarVocabulary() = default;

std::unique_ptr<GrammarVocabulary> GrammarVocabulary::create(const Tokenizer& tokenizer) {
  return std::unique_ptr<GrammarVocabulary>(new GrammarVocabulary(tokenizer));
}

size_t GrammarVocabulary::size() const {
  return trie_->size();
}
size_t GrammarVocabulary::words() const {
  return trie_->words();
}
size_t GrammarVocabulary::memory_bytes() const {
  return trie_->memory_bytes() + lexemes_->memory_bytes();
}

CompiledGrammar::CompiledGrammar(const GrammarVocabulary& vocabulary,
                                 std::unique_ptr<GrammarMachine> machine)
    : vocabulary_(vocabulary), machine_(std::move(machine)) {}
CompiledGrammar::~CompiledGrammar() = default;

Result<CompiledGrammarPtr> CompiledGrammar::compile(const Grammar& grammar,
                                                    const GrammarVocabulary& vocabulary) {
  TRY(auto machine, GrammarMachine::build(grammar.ir(), vocabulary));
  return CompiledGrammarPtr(new CompiledGrammar(vocabulary, std::move(machine)));
}

size_t CompiledGrammar::memory_bytes() const {
  return machine_->memory_bytes();
}

GrammarMatcher::GrammarMatcher(CompiledGrammarPtr grammar) : grammar_(std::move(grammar)) {
  grammar_->machine().attach(&heads_);
  grammar_->machine().begin(heads_);
}

GrammarMatcher::GrammarMatcher(GrammarMatcher&& other) noexcept
    : grammar_(std::move(other.grammar_)),
      mask_(std::move(other.mask_)),
      finished_(other.finished_) {
  if (grammar_) grammar_->machine().move(other.heads_, heads_);
}

GrammarMatcher& GrammarMatcher::operator=(GrammarMatcher&& other) noexcept {
  if (this == &other) return *this;
  if (grammar_) grammar_->machine().detach(&heads_);
  grammar_ = std::move(other.grammar_);
  mask_ = std::move(other.mask_);
  finished_ = other.finished_;
  if (grammar_) grammar_->machine().move(other.heads_, heads_);
  return *this;
}

GrammarMatcher::~GrammarMatcher() {
  if (grammar_) grammar_->machine().detach(&heads_);
}

GrammarMatcher GrammarMatcher::fork() const {
  GrammarMatcher out(grammar_);
  grammar_->machine().copy(heads_, out.heads_);
  out.finished_ = finished_;
  return out;
}

AllowedTokens GrammarMatcher::allowed() {
  if (finished_) {
    mask_.assign(grammar_->vocabulary().words(), 0);
    return {mask_, false};
  }
  grammar_->machine().allowed(heads_, mask_);
  return {mask_, all_set(mask_, grammar_->vocabulary().size())};
}

bool GrammarMatcher::is_allowed(TokenId id) const {
  if (finished_ || id < 0 || static_cast<size_t>(id) >= grammar_->vocabulary().size()) return false;
  if (grammar_->vocabulary().tokenizer().is_end_of_generation(id)) return can_end();
  return grammar_->machine().is_allowed(heads_, id);
}

bool GrammarMatcher::accept(TokenId id) {
  if (finished_ || id < 0 || static_cast<size_t>(id) >= grammar_->vocabulary().size()) return false;
  if (grammar_->vocabulary().tokenizer().is_end_of_generation(id)) {
    finished_ = can_end();
    return finished_;
  }
  return grammar_->machine().accept(heads_, id);
}

bool GrammarMatcher::accept_text(std::string_view text) {
  return !finished_ && grammar_->machine().accept_text(heads_, text);
}

bool GrammarMatcher::can_end() const {
  return !heads_.empty() && heads_.front() == 0;
}

bool GrammarMatcher::must_end() const {
  return heads_.size() == 1 && heads_.front() == 0;
}

std::string GrammarMatcher::forced_text(size_t max_bytes) {
  bool ends = false;
  return finished_ ? std::string() : grammar_->machine().forced(heads_, max_bytes, ends);
}

std::vector<TokenId> GrammarMatcher::forced(size_t max_tokens) {
  constexpr size_t kBytesPerToken = 16;
  if (finished_ || max_tokens == 0) return {};
  const TokenId only = grammar_->machine().forced_token(heads_);
  if (only != kNoToken) return {only};
  bool ends = false;
  const std::string text = grammar_->machine().forced(heads_, max_tokens * kBytesPerToken, ends);
  if (text.empty()) return {};
  const TokenTrie& trie = grammar_->vocabulary().trie();
  std::vector<TokenId> ids = trie.tokenizer().encode(text, Specials::kText);
  // The model might have chosen a longer token than the last: it is left to it.
  if (!ends && !ids.empty()) ids.pop_back();
  size_t at = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string_view bytes = trie.bytes(ids[i]);
    if (bytes.empty() || text.substr(at, bytes.size()) != bytes || i == max_tokens) {
      ids.resize(i);
      break;
    }
    at += bytes.size();
  }
  return ids;
}

}  // namespace hadal
