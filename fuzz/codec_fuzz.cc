// Attacks the parser of model output: two bytes choose syntax, start and cuts, the rest is what the
// model says. Any cut must give the same events, content must hold no marker, arguments are JSON.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/json.h"
#include "text/output_parser.h"

namespace {

using hadal::CallSyntax;
using hadal::OutputEvent;
using hadal::OutputParser;

std::vector<OutputEvent> parse(const hadal::OutputParserOptions& options, std::string_view text,
                               uint32_t cuts) {
  OutputParser parser(options);
  std::vector<OutputEvent> all;  // neighbours of one kind are joined: cuts cannot be seen
  while (!text.empty()) {
    cuts = cuts * 1664525 + 1013904223;
    const size_t size = 1 + (cuts >> 24) % 7;
    parser.push(text.substr(0, size), all);
    text.remove_prefix(std::min(size, text.size()));
  }
  parser.finish(all);
  return all;
}

void check_content(CallSyntax syntax, const std::vector<OutputEvent>& events) {
  std::string content;
  for (const OutputEvent& event : events) {
    if (event.kind == OutputEvent::Kind::kContent) content += event.text;
    if (event.kind != OutputEvent::Kind::kCallArguments) continue;
    const auto arguments = hadal::parse_json(event.text);
    CHECK(arguments.ok() && arguments.value().is_object());
  }
  const auto lacks = [&](std::string_view marker) {
    CHECK(content.find(marker) == std::string::npos);
  };
  if (syntax == CallSyntax::kTokens) {
    for (const char* marker :
         {"<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>",
          "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>", "<｜tool_sep｜>", "</think>"}) {
      lacks(marker);
    }
  } else if (syntax == CallSyntax::kDsml) {
    lacks("｜DSML｜");
    lacks("</think>");
  } else if (syntax == CallSyntax::kTagged) {
    lacks("<tool_call>");
    lacks("</tool_call>");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const hadal::OutputParserOptions options{
      .syntax = static_cast<CallSyntax>(data[0] % 4),
      .start = static_cast<hadal::OutputStart>((data[0] >> 2) % 6),
      .tools_offered = (data[0] & 0x80) == 0,
      .call_id = "call"};
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  std::vector<OutputEvent> whole;
  OutputParser parser(options);
  parser.push(text, whole);
  parser.finish(whole);
  CHECK(parse(options, text, data[1]) == whole);
  check_content(options.syntax, whole);
  return 0;
}
