#include "serve/grammar_store.h"

#include "base/limits.h"

namespace hadal {

Result<GrammarRef> GrammarStore::get(const Tokenizer& tokenizer, const std::string& key,
                                     const std::function<Result<Grammar>()>& make) {
  const GrammarVocabulary* vocabulary = nullptr;
  {
    MutexLock lock(mu_);
    if (vocabulary_ == nullptr) vocabulary_ = GrammarVocabulary::create(tokenizer);
    vocabulary = vocabulary_.get();
    for (auto entry = recent_.begin(); entry != recent_.end(); ++entry) {
      if (entry->key != key) continue;
      recent_.splice(recent_.begin(), recent_, entry);
      return entry->grammar;
    }
  }
  TRY(const Grammar grammar, make());
  TRY(GrammarRef compiled, CompiledGrammar::compile(grammar, *vocabulary));
  MutexLock lock(mu_);
  recent_.push_front({key, compiled});
  if (recent_.size() > limits::kGrammarsKept) recent_.pop_back();
  return compiled;
}

}  // namespace hadal
