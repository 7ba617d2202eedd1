#pragma once
/// What the native renderers share. Private to room text.
#include <string>
#include <string_view>

#include "text/codec.h"

namespace hadal {

inline constexpr std::string_view kBos = "<｜begin▁of▁sentence｜>";
inline constexpr std::string_view kEos = "<｜end▁of▁sentence｜>";
inline constexpr std::string_view kUser = "<｜User｜>";
inline constexpr std::string_view kAssistant = "<｜Assistant｜>";

/// A prompt in the making: mark() for the format's bytes, text() for the caller's.
class PromptWriter {
 public:
  PromptWriter& mark(std::string_view text) {
    out_.append(text, MarkedText::kTemplate);
    return *this;
  }
  PromptWriter& text(std::string_view text) {
    out_.append(text, MarkedText::kCaller);
    return *this;
  }
  PromptWriter& add(const MarkedText& text) {
    out_.bytes += text.bytes;
    out_.origin += text.origin;
    return *this;
  }
  MarkedText take() { return std::move(out_); }
  size_t size() const { return out_.bytes.size(); }
  const MarkedText& so_far() const { return out_; }

 private:
  MarkedText out_;
};

/// The texts of all system messages, joined by a blank line.
std::string joined_system(const Conversation& conversation);

/// The member of a tool that describes it: {"name", "description", "parameters"}.
const json::object* function_of(const json::value& tool);
std::string_view string_member(const json::object& object, std::string_view name);

/// python_json() with small numbers as DeepSeek's V4 encoder writes them: 1e-7 and 0.00001 where
/// Python has 1e-07 and 1e-05.
std::string recipe_json(const json::value& value);

/// The index behind the last user message; 0 when there is none.
size_t behind_last_user(const Conversation& conversation);

/// The final message is one that the model goes on with.
bool is_continued(const Conversation& conversation, size_t index);

/// How the families that mark turns by tokens differ from each other.
struct TurnStyle {
  enum class Cut : uint8_t { kNothing, kBehindLastThink, kBehindFirstThink };
  bool fenced_calls = true;       ///< V3, R1: function SEP name, arguments in a fence
  bool last_system_only = false;  ///< the distills' template
  bool bos_text = true;
  Cut cut = Cut::kNothing;
  std::string_view generation = {};  ///< behind the last <｜Assistant｜>
};

/// deepseek-llm, V2.
RenderedPrompt render_lines(const Conversation& conversation, std::string_view bos);
/// V2.5, V3, R1 and the distills.
RenderedPrompt render_fenced(const Conversation& conversation, std::string_view bos,
                             const TurnStyle& style);
RenderedPrompt render_v31(const Conversation& conversation, std::string_view bos);
RenderedPrompt render_v32(const Conversation& conversation, std::string_view bos);
/// `late_effort`: low, high and max mean what they mean since release 0731.
RenderedPrompt render_v4(const Conversation& conversation, std::string_view bos, bool late_effort);

/// The file's template; ChatML or plain lines for a model without one.
Result<RenderedPrompt> render_template(const CodecModel& model, const Conversation& conversation,
                                       const TemplateOptions& options);

}  // namespace hadal
