#pragma once
/// ChatTemplate: the Jinja that models ship, interpreted within bounds and without access to
/// anything but its own variables. Equal to Python's jinja2 with Hugging Face's settings
/// (trim_blocks, lstrip_blocks, tojson without escaping, loop controls, strftime_now,
/// raise_exception).
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "text/text.h"

namespace hadal {

struct TemplateOptions {
  std::string bos_token;
  std::string eos_token;
  int64_t unix_seconds = 0;  ///< what strftime_now sees (UTC); 0 = 1970
};

/// Immutable and thread-safe after parse().
class ChatTemplate {
 public:
  /// Errors name line and construct. Source size, nesting and number of nodes are bounded.
  static Result<ChatTemplate> parse(std::string_view source);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// Renders with the members of `variables` (messages, tools, add_generation_prompt, ...) as
  /// globals; bos_token and eos_token come from `options` unless given. Bytes that come from
  /// `variables` are marked MarkedText::kCaller. raise_exception and exhausted limits (steps,
  /// output, depth) are errors.
  Result<MarkedText> render(const json::object& variables, const TemplateOptions& options) const;

  const std::string& source() const;

 private:
  struct Program;
  explicit ChatTemplate(std::unique_ptr<const Program> program);
  std::unique_ptr<const Program> program_;
};

}  // namespace hadal
