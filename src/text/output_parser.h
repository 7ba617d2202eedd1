#pragma once
/// OutputParser: streamed model text into reasoning, answer and calls of tools. Works byte by
/// byte: the way a stream is cut never changes what comes out.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/conversation.h"

namespace hadal {

/// How a family writes calls of tools.
enum class CallSyntax : uint8_t {
  kNone,    ///< none known: everything is text
  kTokens,  ///< DeepSeek V2.5, V3, R1, V3.1: <｜tool▁call▁begin｜>...<｜tool▁sep｜>...
  kDsml,    ///< DeepSeek V3.2, V4: <｜DSML｜invoke name="...">
  kTagged,  ///< Qwen: <tool_call>{"name": ..., "arguments": {...}}</tool_call>
};

/// Where the prompt has left the model.
enum class OutputStart : uint8_t {
  kAnswer,           ///< nothing said about reasoning: it begins if the model writes <think>
  kReasoning,        ///< just behind an open <think>
  kReasoningGoesOn,  ///< inside reasoning that the prompt holds the beginning of
  kAfterReasoning,   ///< just behind </think>
  kAnswerGoesOn,     ///< inside an answer that the prompt holds the beginning of
  kToolBlock,        ///< inside an open block of calls (kDsml)
};

struct OutputEvent {
  enum class Kind : uint8_t {
    kReasoning,      ///< text
    kContent,        ///< text
    kCallBegin,      ///< index, id, name
    kCallArguments,  ///< index; text: JSON, the next part of it
    kCallEnd,        ///< index
    kWarning,        ///< text: what was wrong with a call, for people
  };
  Kind kind = Kind::kContent;
  std::string text = {};
  int index = 0;
  std::string id = {};
  std::string name = {};
  bool operator==(const OutputEvent&) const = default;
};

/// The events of one push, by kind; any part may be empty.
struct OutputPiece {
  std::string reasoning = {};
  std::string content = {};
  std::vector<OutputEvent> calls = {};  ///< kCallBegin, kCallArguments, kCallEnd in their order
  std::vector<std::string> warnings = {};

  bool empty() const { return reasoning.empty() && content.empty() && calls.empty(); }
  /// Takes what is in them and leaves none.
  void add(std::vector<OutputEvent>&& events);
};

struct OutputParserOptions {
  CallSyntax syntax = CallSyntax::kNone;
  OutputStart start = OutputStart::kAnswer;
  bool tools_offered = true;  ///< false: what looks like a call comes back as text
  /// An answer that has begun as text is text to its end, markers in it too: it has a format, and
  /// strings in it may hold anything.
  bool plain_content = false;
  std::string call_id = {};  ///< id of the first call; further ones get "_0001", ...
};

/// One per stream; not thread-safe. Rules (as DeepSeek's API shows its own models):
///  - Reasoning begins at a <think> that is the first text (blanks before it are dropped), or at
///    once when the prompt had opened it; a model that repeats <think> there is understood.
///  - Newlines right after <think>, right before </think> and right after </think> are dropped.
///  - A </think> in front of all text, or a further one after the reasoning, is dropped.
///  - A <think> in the middle of an answer is text. Without any reasoning </think> is text too,
///    unless the family has calls of tools: its markers never show.
///  - A stream that ends inside the reasoning is all reasoning, its last newlines included.
///  - The marker of a call ends reasoning as well as answer; newlines before it are dropped.
///  - A call is held back until it is complete. When its name and its arguments (a JSON object) are
///    there it comes out as kCallBegin, kCallArguments, kCallEnd; when not, its text comes out as
///    content without the markers, with a warning. No argument is ever made up.
///  - After a block with a good call the answer is over: ended().
/// Memory is bounded by limits::kToolCallBytes.
class OutputParser {
 public:
  struct Marker;  ///< private: text/codec/markers.h
  explicit OutputParser(OutputParserOptions options);

  /// Appends the events of `text`; text of one kind is joined with the event before it.
  void push(std::string_view text, std::vector<OutputEvent>& out);
  /// The stream has ended: gives what was held back.
  void finish(std::vector<OutputEvent>& out);

  bool inside_reasoning() const;
  bool ended() const { return ended_; }  ///< a block of calls is complete; the rest is dropped
  int calls() const { return calls_; }   ///< good ones so far

 private:
  enum class Where : uint8_t {
    kStart,           ///< no text yet
    kReasoningStart,  ///< behind <think>
    kReasoning,
    kAfterReasoning,  ///< behind </think>
    kContent,
    kBlock,  ///< in a block of calls, between calls
    kCall,
  };
  size_t plain_run(std::string_view text) const;
  void take(char byte);
  void resolve(bool at_end);
  bool active(const Marker& marker) const;
  void take_text(char byte);
  void take_block_text(char byte);
  void append_to_call(std::string_view text);
  void take_marker(const Marker& marker);
  void take_think(bool opens);
  void take_marker_in_text(const Marker& marker);
  void take_marker_in_call(const Marker& marker);
  void open_block();
  void begin_call();
  void end_call();
  void end_block();
  void give_back(std::string_view problem);
  void release_held();
  void emit_text(std::string_view text);
  void emit(OutputEvent event);

  OutputParserOptions options_;
  const std::vector<Marker>& markers_;
  Where where_ = Where::kStart;
  bool reasoned_ = false;  ///< a reasoning part was seen or offered
  bool ended_ = false;
  int calls_ = 0;
  std::string pending_;              ///< the part of a marker read so far
  std::string held_;                 ///< blanks that are dropped if a marker follows
  std::string call_;                 ///< the call being read
  std::optional<size_t> separator_;  ///< kTokens: where name and arguments part in call_
  bool in_parameter_ = false;        ///< kDsml: between a parameter's tags
  bool fresh_block_ = false;         ///< no call was read since the block began
  bool seam_ = false;                ///< a marker was dropped since the last text
  bool tail_reasoning_ = false;      ///< tail_ is reasoning, not content
  std::string tail_;                 ///< the last text from where a marker might have begun
  std::vector<OutputEvent>* out_ = nullptr;
};

/// A complete call's text as its family writes it, or why it is none. `text` of kTokens has its
/// separator at `separator`. Arguments are JSON text of an object.
Result<ToolCall> parse_call(CallSyntax syntax, std::string_view text,
                            std::optional<size_t> separator);

}  // namespace hadal
