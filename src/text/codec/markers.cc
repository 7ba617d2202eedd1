#include "text/codec/markers.h"

namespace hadal {
namespace {

using Marker = std::vector<OutputParser::Marker>::value_type;

struct TokenName {
  std::string_view words;  ///< blanks stand where the token has U+2581
  MarkerRole role;
};

constexpr TokenName kTokenNames[] = {
    {"tool calls begin", MarkerRole::kBlockOpen}, {"tool calls", MarkerRole::kBlockOpen},
    {"tool calls end", MarkerRole::kBlockClose},  {"tool call begin", MarkerRole::kCallOpen},
    {"tool call end", MarkerRole::kCallClose},    {"tool sep", MarkerRole::kSeparator},
    {"tool outputs begin", MarkerRole::kStray},   {"tool outputs end", MarkerRole::kStray},
    {"tool output begin", MarkerRole::kStray},    {"tool output end", MarkerRole::kStray},
};

std::string joined(std::string_view words, std::string_view separator) {
  std::string out;
  for (const char c : words) {
    if (c == ' ') {
      out += separator;
    } else {
      out.push_back(c);
    }
  }
  return out;
}

void add_think(std::vector<Marker>& out) {
  out.push_back({std::string(kThinkBegin), MarkerRole::kThinkOpen, ""});
  out.push_back({std::string(kThinkEnd), MarkerRole::kThinkClose, ""});
}

std::vector<Marker> token_markers() {
  std::vector<Marker> out;
  add_think(out);
  for (const TokenName& name : kTokenNames) {
    // R1 spells its tokens out in other ways at times.
    for (const std::string_view separator : {"▁", "_", " ", "\\_"}) {
      out.push_back({"<｜" + joined(name.words, separator) + "｜>", name.role, ""});
    }
  }
  return out;
}

std::vector<Marker> dsml_markers() {
  std::vector<Marker> out;
  add_think(out);
  const auto add = [&](std::string_view before, std::string_view after, MarkerRole role) {
    const std::string shown =
        role == MarkerRole::kStray ? "" : std::string(before) + std::string(after);
    out.push_back({std::string(before) + "｜DSML｜" + std::string(after), role, shown});
  };
  for (const std::string_view block : {"tool_calls>", "function_calls>"}) {
    add("<", block, MarkerRole::kBlockOpen);
    add("</", block, MarkerRole::kBlockClose);
  }
  add("<", "invoke name=\"", MarkerRole::kCallOpen);
  add("</", "invoke>", MarkerRole::kCallClose);
  add("<", "parameter name=\"", MarkerRole::kParameterOpen);
  add("</", "parameter>", MarkerRole::kParameterClose);
  for (const std::string_view before : {"<", "</", ""}) add(before, "", MarkerRole::kStray);
  return out;
}

std::vector<Marker> tagged_markers() {
  std::vector<Marker> out;
  add_think(out);
  out.push_back({"<tool_call>", MarkerRole::kCallOpen, ""});
  out.push_back({"</tool_call>", MarkerRole::kCallClose, ""});
  return out;
}

std::vector<Marker> think_markers() {
  std::vector<Marker> out;
  add_think(out);
  return out;
}

}  // namespace

const std::vector<OutputParser::Marker>& markers_of(CallSyntax syntax) {
  static const std::vector<Marker> none = think_markers();
  static const std::vector<Marker> tokens = token_markers();
  static const std::vector<Marker> dsml = dsml_markers();
  static const std::vector<Marker> tagged = tagged_markers();
  switch (syntax) {
    case CallSyntax::kNone:
      return none;
    case CallSyntax::kTokens:
      return tokens;
    case CallSyntax::kDsml:
      return dsml;
    case CallSyntax::kTagged:
      return tagged;
  }
  return none;
}

}  // namespace hadal
