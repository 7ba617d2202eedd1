#include "text/output_parser.h"

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "text/codec/markers.h"

namespace hadal {
namespace {

constexpr size_t kHeldBytes = 4096;  // more blanks than this are text
constexpr size_t kTailBytes = 64;    // longer than any marker

bool is_blank(char byte) {
  return byte == '\n' || byte == '\r' || byte == ' ' || byte == '\t';
}

/// Whether a marker may begin with this byte: '<' or the first of U+FF5C.
bool may_begin(char byte) {
  return byte == '<' || byte == '\xEF';
}

}  // namespace

void OutputPiece::add(std::vector<OutputEvent>&& events) {
  for (OutputEvent& event : events) {
    switch (event.kind) {
      case OutputEvent::Kind::kReasoning:
        reasoning += event.text;
        break;
      case OutputEvent::Kind::kContent:
        content += event.text;
        break;
      case OutputEvent::Kind::kWarning:
        warnings.push_back(std::move(event.text));
        break;
      default:
        calls.push_back(std::move(event));
    }
  }
  events.clear();
}

OutputParser::OutputParser(OutputParserOptions options)
    : options_(std::move(options)), markers_(markers_of(options_.syntax)) {
  switch (options_.start) {
    case OutputStart::kAnswer:
      where_ = Where::kStart;
      break;
    case OutputStart::kReasoning:
      where_ = Where::kReasoningStart;
      break;
    case OutputStart::kReasoningGoesOn:
      where_ = Where::kReasoning;
      break;
    case OutputStart::kAfterReasoning:
      where_ = Where::kAfterReasoning;
      break;
    case OutputStart::kAnswerGoesOn:
      where_ = Where::kContent;
      break;
    case OutputStart::kToolBlock:
      open_block();
      break;
  }
  reasoned_ = options_.start == OutputStart::kReasoning ||
              options_.start == OutputStart::kReasoningGoesOn ||
              options_.start == OutputStart::kAfterReasoning ||
              options_.syntax == CallSyntax::kTokens || options_.syntax == CallSyntax::kDsml;
}

bool OutputParser::inside_reasoning() const {
  return where_ == Where::kReasoningStart || where_ == Where::kReasoning;
}

void OutputParser::push(std::string_view text, std::vector<OutputEvent>& out) {
  out_ = &out;
  while (!text.empty() && !ended_) {
    const size_t run = plain_run(text);
    if (run > 0) {
      emit_text(text.substr(0, run));
    } else {
      take(text.front());
    }
    text.remove_prefix(std::max<size_t>(run, 1));
  }
  out_ = nullptr;
}

/// Bytes at the front of `text` that take() would hand on one by one, unchanged.
size_t OutputParser::plain_run(std::string_view text) const {
  const bool in_text = where_ == Where::kReasoning || where_ == Where::kContent;
  if (!in_text || !pending_.empty() || !held_.empty()) return 0;
  const auto special = [](char byte) { return may_begin(byte) || byte == '\n'; };
  return static_cast<size_t>(std::ranges::find_if(text, special) - text.begin());
}

void OutputParser::finish(std::vector<OutputEvent>& out) {
  out_ = &out;
  resolve(true);
  if (!ended_ && where_ == Where::kCall) {
    if (options_.syntax == CallSyntax::kDsml) {
      give_back("the call was cut off");
    } else {
      end_call();
    }
  }
  if (!ended_) release_held();
  out_ = nullptr;
}

void OutputParser::take(char byte) {
  if (pending_.empty() && !may_begin(byte)) {
    take_text(byte);
    return;
  }
  pending_.push_back(byte);
  resolve(false);
}

/// Settles what has been read of a possible marker: the longest marker wins, the rest is text.
void OutputParser::resolve(bool at_end) {
  while (!pending_.empty() && !ended_) {
    const Marker* best = nullptr;
    bool longer = false;
    for (const Marker& marker : markers_) {
      if (!active(marker)) continue;
      if (marker.text.size() > pending_.size()) {
        longer = longer || marker.text.starts_with(pending_);
      } else if (pending_.starts_with(marker.text) &&
                 (best == nullptr || best->text.size() < marker.text.size())) {
        best = &marker;
      }
    }
    if (longer && !at_end) return;
    if (best != nullptr) {
      pending_.erase(0, best->text.size());
      take_marker(*best);
    } else {
      const char byte = pending_.front();
      pending_.erase(0, 1);
      take_text(byte);
    }
  }
}

bool OutputParser::active(const Marker& marker) const {
  if (options_.plain_content && where_ == Where::kContent) return false;
  const bool at_start = where_ == Where::kStart || where_ == Where::kReasoningStart;
  switch (marker.role) {
    case MarkerRole::kThinkOpen:
      return at_start;
    case MarkerRole::kThinkClose:
      return where_ != Where::kCall && (at_start || reasoned_);
    default:
      return true;
  }
}

void OutputParser::take_text(char byte) {
  switch (where_) {
    case Where::kStart:
      held_.push_back(byte);
      if (is_blank(byte) && held_.size() < kHeldBytes) return;
      where_ = Where::kContent;
      release_held();
      return;
    case Where::kReasoningStart:
      if (byte == '\n') return;
      where_ = Where::kReasoning;
      emit_text({&byte, 1});
      return;
    case Where::kAfterReasoning:
      if (byte == '\n') return;
      where_ = Where::kContent;
      emit_text({&byte, 1});
      return;
    case Where::kReasoning:
    case Where::kContent:
      held_.push_back(byte);
      if (byte == '\n' && held_.size() < kHeldBytes &&
          (where_ == Where::kReasoning || options_.syntax != CallSyntax::kNone)) {
        return;
      }
      release_held();
      return;
    case Where::kBlock:
      take_block_text(byte);
      return;
    case Where::kCall:
      append_to_call({&byte, 1});
      return;
  }
}

void OutputParser::take_block_text(char byte) {
  if (is_blank(byte)) return;
  if (options_.syntax == CallSyntax::kTokens && fresh_block_) {
    begin_call();  // R1 forgets the mark of its first call at times
    append_to_call({&byte, 1});
    return;
  }
  where_ = Where::kContent;
  emit_text({&byte, 1});
}

/// A call whose name does not come, or whose text does not end, is none.
void OutputParser::append_to_call(std::string_view text) {
  call_ += text;
  const bool nameless = options_.syntax == CallSyntax::kTokens && !separator_ &&
                        call_.size() > limits::kToolNameBytes;
  if (nameless) {
    give_back("the call has no name");
  } else if (call_.size() > limits::kToolCallBytes) {
    give_back("the call is too long");
  }
}

void OutputParser::take_marker(const Marker& marker) {
  seam_ = true;
  if (marker.role == MarkerRole::kThinkOpen || marker.role == MarkerRole::kThinkClose) {
    take_think(marker.role == MarkerRole::kThinkOpen);
  } else if (where_ == Where::kCall) {
    take_marker_in_call(marker);
  } else {
    take_marker_in_text(marker);
  }
  seam_ = true;  // a call that was given back has emitted text in front of the marker
}

void OutputParser::take_think(bool opens) {
  if (where_ == Where::kContent || where_ == Where::kAfterReasoning || where_ == Where::kBlock) {
    return;  // a further </think>
  }
  held_.clear();
  reasoned_ = true;
  where_ = opens ? Where::kReasoningStart : Where::kAfterReasoning;
}

void OutputParser::take_marker_in_text(const Marker& marker) {
  switch (marker.role) {
    case MarkerRole::kBlockOpen:
      open_block();
      return;
    case MarkerRole::kCallOpen:
      if (where_ != Where::kBlock) open_block();
      begin_call();
      if (options_.syntax == CallSyntax::kDsml) call_ = marker.text;
      return;
    case MarkerRole::kSeparator:
      if (where_ != Where::kBlock || !fresh_block_) return;
      begin_call();
      separator_ = 0;
      return;
    case MarkerRole::kBlockClose:
      end_block();
      return;
    default:
      return;  // means nothing here and does not show
  }
}

void OutputParser::take_marker_in_call(const Marker& marker) {
  const bool dsml = options_.syntax == CallSyntax::kDsml;
  switch (marker.role) {
    case MarkerRole::kCallOpen:
      if (dsml && in_parameter_) break;
      if (dsml) {
        give_back("the call has no end");
      } else {
        end_call();
      }
      begin_call();
      if (dsml) call_ = marker.text;
      return;
    case MarkerRole::kCallClose:
      if (dsml) call_ += marker.text;
      end_call();
      return;
    case MarkerRole::kBlockClose:
      if (dsml) {
        give_back("the call has no end");
      } else {
        end_call();
      }
      end_block();
      return;
    case MarkerRole::kBlockOpen:
      if (dsml) break;
      end_call();
      open_block();
      return;
    case MarkerRole::kSeparator:
      if (separator_) break;
      separator_ = call_.size();
      return;
    case MarkerRole::kParameterOpen:
    case MarkerRole::kParameterClose:
      in_parameter_ = marker.role == MarkerRole::kParameterOpen;
      break;
    default:
      break;
  }
  append_to_call(marker.text);  // part of what the call says
}

void OutputParser::open_block() {
  held_.clear();
  where_ = Where::kBlock;
  fresh_block_ = true;
}

void OutputParser::begin_call() {
  where_ = Where::kCall;
  fresh_block_ = false;
  call_.clear();
  separator_.reset();
  in_parameter_ = false;
}

void OutputParser::end_call() {
  auto parsed = parse_call(options_.syntax, call_, separator_);
  if (!parsed.ok()) {
    give_back(parsed.error().message);
  } else if (!options_.tools_offered) {
    give_back("the model called a tool, but none was offered");
  } else if (calls_ >= limits::kToolCalls) {
    give_back("the answer has too many calls");
  } else {
    ToolCall call = std::move(parsed).value();
    std::string id = options_.call_id;
    // Padded, because V4 sorts calls and results by their ids as text.
    const std::string number = std::to_string(calls_);
    if (calls_ > 0) id += "_" + std::string(4 - std::min<size_t>(number.size(), 4), '0') + number;
    emit({.kind = OutputEvent::Kind::kCallBegin, .index = calls_, .id = id, .name = call.name});
    emit({.kind = OutputEvent::Kind::kCallArguments, .text = call.arguments, .index = calls_});
    emit({.kind = OutputEvent::Kind::kCallEnd, .index = calls_});
    ++calls_;
  }
  call_.clear();
  where_ = options_.syntax == CallSyntax::kTagged ? Where::kAfterReasoning : Where::kBlock;
}

void OutputParser::end_block() {
  if (calls_ > 0) {
    ended_ = true;
    held_.clear();
    pending_.clear();
  } else if (where_ == Where::kBlock) {
    where_ = Where::kAfterReasoning;
  }
}

/// The text of a call that is none, without its markers, and a warning.
void OutputParser::give_back(std::string_view problem) {
  const std::string text = std::exchange(call_, {});
  where_ = Where::kContent;
  for (size_t at = 0; at < text.size();) {
    const Marker* best = nullptr;
    for (const Marker& marker : markers_) {
      if (may_begin(text[at]) && text.compare(at, marker.text.size(), marker.text) == 0 &&
          (best == nullptr || best->text.size() < marker.text.size())) {
        best = &marker;
      }
    }
    if (best == nullptr) {
      emit_text({&text[at], 1});
      ++at;
    } else {
      seam_ = true;
      if (!best->shown.empty()) emit_text(best->shown);
      at += best->text.size();
      seam_ = true;
    }
  }
  emit({.kind = OutputEvent::Kind::kWarning,
        .text = "not a call of a tool: " + std::string(problem)});
}

void OutputParser::release_held() {
  if (!held_.empty()) emit_text(std::exchange(held_, {}));
}

/// Reasoning or content, as it is the time for. A marker that was dropped must not let the text on
/// its two sides grow together into another one: a newline keeps them apart.
void OutputParser::emit_text(std::string_view text) {
  const bool reasoning = inside_reasoning();
  if (reasoning != tail_reasoning_) tail_.clear();
  tail_reasoning_ = reasoning;
  const bool grows =
      seam_ && !tail_.empty() && std::ranges::any_of(markers_, [&](const Marker& marker) {
        return marker.text.starts_with(tail_);
      });
  std::string shown = grows ? "\n" : "";
  shown += text;
  seam_ = false;
  for (const char byte : shown) {
    if (may_begin(byte) && (byte == '<' || options_.syntax == CallSyntax::kDsml)) {
      tail_ = byte;
    } else if (tail_.size() >= kTailBytes) {
      tail_.clear();
    } else if (!tail_.empty()) {
      tail_.push_back(byte);
    }
  }
  emit({.kind = reasoning ? OutputEvent::Kind::kReasoning : OutputEvent::Kind::kContent,
        .text = std::move(shown)});
}

void OutputParser::emit(OutputEvent event) {
  const bool text =
      event.kind == OutputEvent::Kind::kReasoning || event.kind == OutputEvent::Kind::kContent;
  if (text && !out_->empty() && out_->back().kind == event.kind) {
    out_->back().text += event.text;
  } else {
    out_->push_back(std::move(event));
  }
}

}  // namespace hadal
