#pragma once
/// Codec: a model generation's own way to write a conversation as a prompt and calls of tools in
/// an answer. DeepSeek's generations have native renderers, equal to DeepSeek's own encoders and
/// templates to the byte; every other model keeps the Jinja template of its file.
///
///   Codec::choose(model) -> render(conversation) -> MarkedText + parser options -> OutputParser
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_template.h"
#include "text/conversation.h"
#include "text/output_parser.h"
#include "text/tokenizer.h"

namespace hadal {

enum class CodecKind : uint8_t {
  kTemplate,     ///< the file's template, or ChatML, or plain lines
  kDeepSeekLlm,  ///< deepseek-llm, V2: "User: ... Assistant:"
  kDeepSeekV3,   ///< V2.5, V3, V3-0324
  kDeepSeekR1,   ///< R1, R1-0528
  kR1Distill,    ///< Qwen and Llama distills: the file's template as long as no tools are used
  kDeepSeekV31,  ///< V3.1, V3.1-Terminus
  kDeepSeekV32,  ///< V3.2
  kDeepSeekV4,   ///< V4
};

/// What a codec is chosen by. Pointers are borrowed and outlive the codec.
struct CodecModel {
  std::string_view architecture = {};           ///< general.architecture; may be empty
  const ChatTemplate* chat_template = nullptr;  ///< null: the file has none
  const Tokenizer* tokenizer = nullptr;         ///< null: unknown vocabulary
};

/// A prompt and what its end means for the answer.
struct RenderedPrompt {
  MarkedText text;
  OutputStart start = OutputStart::kAnswer;
  std::vector<std::string> stops = {};  ///< further stop strings that the rendering needs
};

/// Immutable and thread-safe.
class Codec {
 public:
  /// Recognises the known templates by their marks; a model without one by architecture and
  /// vocabulary.
  static Codec choose(const CodecModel& model);
  /// By name; kNotFound lists the names.
  static Result<Codec> named(std::string_view name, const CodecModel& model);

  CodecKind kind() const { return kind_; }
  std::string_view name() const;
  CallSyntax call_syntax() const;

  /// Each byte of the prompt knows whether the caller wrote it. Errors are the caller's: a template
  /// that refuses the conversation, a last message that cannot be continued.
  Result<RenderedPrompt> render(const Conversation& conversation,
                                const TemplateOptions& options) const;

  /// Control tokens that structure an answer: a detokenizer must show them to the parser.
  std::vector<TokenId> marker_ids(const Tokenizer& tokenizer) const;

 private:
  Codec(CodecKind kind, const CodecModel& model);

  CodecKind kind_;
  CodecModel model_;
  bool opens_think_ = true;  ///< R1: the prompt ends with an open <think>
  bool late_effort_ = true;  ///< V4: the effort levels of release 0731 and later
};

}  // namespace hadal
