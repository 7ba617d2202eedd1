#pragma once
/// GrammarStore: compiled grammars of one served model.
#include <functional>
#include <list>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "text/grammar_matcher.h"

namespace hadal {

using GrammarRef = std::shared_ptr<const CompiledGrammar>;  // immutable; tidy: allow

/// The grammars of one model that were asked for lately, by a text that says all about each.
/// Thread-safe. Rows of the engine use what it owns: it outlives them.
class GrammarStore {
 public:
  /// The grammar under `key`, made by `make` when it is not there. `tokenizer` is always the same
  /// one and is borrowed from the first use on.
  Result<GrammarRef> get(const Tokenizer& tokenizer, const std::string& key,
                         const std::function<Result<Grammar>()>& make);

 private:
  struct Entry {
    std::string key;
    GrammarRef grammar;
  };
  Mutex mu_;
  std::unique_ptr<GrammarVocabulary> vocabulary_ GUARDED_BY(mu_);  ///< from the first use on
  std::list<Entry> recent_ GUARDED_BY(mu_);                        ///< last used first
};

}  // namespace hadal
