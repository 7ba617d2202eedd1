#pragma once
/// Pre-tokenizers whose steps cannot be folded into one scanner: each step really runs over the
/// pieces that the step before left, and may cut a piece that was a match earlier.
#include <cstddef>
#include <string_view>
#include <vector>

namespace hadal {

class Scanner;

/// As pre_tokenize(), for deepseek-llm and deepseek-coder.
void split_deepseek_llm(std::string_view text, std::vector<size_t>& ends);
void split_deepseek_coder(std::string_view text, std::vector<size_t>& ends);
/// For unknown names. `gpt2_piece` is the second step.
void split_default(std::string_view text, std::vector<size_t>& ends,
                   size_t (*gpt2_piece)(const Scanner&, size_t));

}  // namespace hadal
