#pragma once
/// Dfa: a regular language over bytes as a table.
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/grammar/regex.h"

namespace hadal {

/// Deterministic automaton. State 0 is dead; from every other state a text can be completed.
/// Immutable after it is built.
struct Dfa {
  static constexpr uint32_t kDead = 0;

  std::array<uint8_t, 256> class_of = {};
  uint32_t classes = 1;
  uint32_t start = kDead;        ///< kDead: the language is empty
  std::vector<uint32_t> next;    ///< state * classes + class -> state
  std::vector<uint8_t> accepts;  ///< per state: 0, or 1 + the label of the text that ends here
  std::vector<bool> boundary;    ///< per state: the loop of a counted unit begins here

  size_t states() const { return accepts.size(); }
  uint32_t step(uint32_t state, uint8_t byte) const {
    return next[size_t{state} * classes + class_of[byte]];
  }
  size_t memory_bytes() const { return next.size() * 4 + accepts.size() * 2; }
};

/// The automaton of `regex`. kExhausted beyond limits::kGrammarNfaStates or kGrammarDfaStates, or
/// when it takes more than `work` steps, which become fewer (as for the functions below).
Result<Dfa> build_dfa(const Regex& regex, size_t& work);

/// prefix, then `unit` any number of times, then suffix, where the loop's states are marked. The
/// first bytes of unit and suffix differ, and no text of `unit` begins another.
Result<Dfa> build_counted_dfa(const std::string& prefix, const Regex& unit,
                              const std::string& suffix, size_t& work);

/// Texts of both.
Result<Dfa> intersect(const Dfa& a, const Dfa& b, size_t& work);
/// Texts of `a` that `b` does not have.
Result<Dfa> subtract(const Dfa& a, const Dfa& b, size_t& work);

/// Any bytes up to and with the marker that is complete first (of several at one byte, the
/// longest); accepts with its index as the label. Nothing follows.
Dfa build_until_dfa(std::span<const std::string> markers);

}  // namespace hadal
