#pragma once
/// Grammar: a description of the texts that an answer may be. Made from a JSON Schema, a regular
/// expression, a list of choices or GBNF, and put together with the functions below.
///
///   Grammar -> CompiledGrammar (text/grammar_matcher.h) -> one GrammarMatcher per running answer
///
/// docs/STRUCTURED_OUTPUT.md lists what is accepted; decision 0023 says why it is built this way.
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/json.h"
#include "base/result.h"
#include "text/tokenizer.h"

namespace hadal {

struct GrammarIr;  // private: text/grammar/ir.h

/// How freely JSON may be laid out. Blanks are bounded either way, so that a model cannot loop.
enum class JsonLayout : uint8_t {
  kFlexible,  ///< after { [ , : one blank or one line break with indentation, or nothing
  kCompact,   ///< no blanks at all: most tokens are forced
};

struct JsonGrammarOptions {
  JsonLayout layout = JsonLayout::kFlexible;
  /// oneOf means anyOf where a value may match several of its options; else that is kUnsupported.
  bool one_of_may_overlap = false;
};

/// What ends a stretch of free text. `text` is found in the bytes, however they are spread over
/// tokens; `token` is one control token that means the same. One of both, or both.
struct TextMarker {
  std::string text = {};
  TokenId token = kNoToken;
};

struct FreeTextBranch;
struct FreeTextSpec;

/// Immutable value; copies are cheap. Thread-safe.
class Grammar {
 public:
  /// The answer is a JSON value of this schema. Errors name the place as a JSON pointer:
  /// kInvalidArgument for a schema that contradicts itself or is malformed, kUnsupported for a
  /// keyword that cannot be enforced, kExhausted for one that is too large or explodes.
  static Result<Grammar> from_json_schema(const json::value& schema,
                                          const JsonGrammarOptions& options = {});
  /// Any JSON object; nesting is bounded by limits::kGrammarJsonDepth.
  static Grammar json_object(const JsonGrammarOptions& options = {});
  /// Any JSON value; nesting as above.
  static Grammar json_value(const JsonGrammarOptions& options = {});
  /// The whole answer matches `pattern` (no look-around, no back references; Unicode code points).
  /// Errors name the offset in bytes.
  static Result<Grammar> from_regex(std::string_view pattern);
  /// The answer is one of these texts.
  static Result<Grammar> from_choices(std::span<const std::string> choices);
  /// llama.cpp's GBNF, rule "root". `tokenizer` resolves <token> and <[id]>; null: they are errors.
  /// Errors name the line and column.
  static Result<Grammar> from_gbnf(std::string_view text, const Tokenizer* tokenizer = nullptr);

  /// Exactly these bytes; may be empty.
  static Grammar literal(std::string_view text);
  /// Exactly this token, a control token as a rule.
  static Grammar token(TokenId id);
  static Grammar sequence(std::vector<Grammar> parts);
  /// One of `options`; must not be empty.
  static Grammar choice(std::vector<Grammar> options);
  /// `min` to `max` times; no max: any number of times. kInvalidArgument when max < min, kExhausted
  /// above limits::kGrammarRepeat.
  static Result<Grammar> repeat(Grammar part, uint32_t min, std::optional<uint32_t> max);
  static Grammar optional(Grammar part);
  /// Free text with constrained parts: any bytes until a marker, then that branch. The first marker
  /// that is complete wins. kInvalidArgument for an empty marker, kExhausted for too many.
  static Result<Grammar> free_text(const FreeTextSpec& spec);

  const GrammarIr& ir() const { return *ir_; }
  explicit Grammar(std::shared_ptr<const GrammarIr> ir);  // tidy: allow (immutable)

 private:
  std::shared_ptr<const GrammarIr> ir_;  // tidy: allow (immutable)
};

/// After `marker` comes `then`; after that free text again (`resumes`), or what follows the free
/// text in its sequence.
struct FreeTextBranch {
  TextMarker marker;
  Grammar then;
  bool resumes = false;
};

/// `may_end`: the free text may also go on to what follows it at any point, without a marker (at
/// the end of the grammar: the answer may end). Control tokens count as their text when
/// markers are looked for. They pass wherever they come; with `only_listed_tokens` only as part of
/// a marker. Ends of generation never do.
///
/// Thinking, then a schema:   {.branches = {{{"</think>", think_end}, schema}}}
/// Answers with tool calls:   {.branches = {{{"<tool_call>"}, call, true}}, .may_end = true}
struct FreeTextSpec {
  std::vector<FreeTextBranch> branches;
  bool may_end = false;
  bool only_listed_tokens = false;
};

}  // namespace hadal
