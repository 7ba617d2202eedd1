// Goal: prompts equal to the byte to those of DeepSeek's own encoders and templates, and answers
// read as DeepSeek's own stream parser reads them. tools/make_codec_vectors.py made the vectors.
#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "serve/conversation.h"
#include "text/codec.h"

namespace hadal {
namespace {

json::object vectors() {
  std::ifstream file(HADAL_SOURCE_DIR "/src/serve/testdata/codec_vectors.json");
  std::stringstream text;
  text << file.rdbuf();
  auto parsed = parse_json(text.str());
  CHECK(parsed.ok());
  return parsed.value().get_object();
}

/// Length and FNV-1a of the bytes, as make_template_vectors.py writes it.
std::string digest(std::string_view text) {
  uint64_t value = 0xCBF29CE484222325;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return fmt::format("{}:{:016x}", text.size(), value);
}

bool agrees(const std::string& text, const json::value& expected) {
  return text == expected.get_string() || digest(text) == expected.get_string();
}

/// "start-end;" of every control token that the format wrote itself.
std::string specials_of(const MarkedText& text) {
  static constexpr std::string_view kTokens[] = {"<｜begin▁of▁sentence｜>",
                                                 "<｜end▁of▁sentence｜>",
                                                 "<｜User｜>",
                                                 "<｜Assistant｜>",
                                                 "<think>",
                                                 "</think>",
                                                 "｜DSML｜"};
  std::map<size_t, size_t> found;
  for (const std::string_view token : kTokens) {
    for (size_t at = text.bytes.find(token); at != std::string::npos;
         at = text.bytes.find(token, at + 1)) {
      const std::string_view origin = std::string_view(text.origin).substr(at, token.size());
      if (std::ranges::count(origin, MarkedText::kTemplate) ==
          static_cast<std::ptrdiff_t>(token.size())) {
        found[at] = at + token.size();
      }
    }
  }
  std::string out;
  for (const auto& [start, end] : found) out += fmt::format("{}-{};", start, end);
  return out;
}

// Goal: at least 500 prompts with tools, reasoning, Chinese and hostile text; those of V4 also know
// which of their bytes are control tokens.
TEST(CodecVectors, PromptsAreTheReferences) {
  int prompts = 0;
  const json::object all = vectors();
  for (const json::value& row : all.at("conversations").get_array()) {
    const json::object& body = row.at("body").get_object();
    Conversation conversation;
    const Checked problem = read_conversation(body, conversation);
    ASSERT_FALSE(problem) << problem->message;
    for (const auto& [name, expected] : row.at("prompts").get_object()) {
      auto codec = Codec::named(name, {});
      ASSERT_TRUE(codec.ok()) << name;
      const auto rendered = codec.value().render(conversation, {});
      ASSERT_TRUE(rendered.ok()) << rendered.error().text();
      const MarkedText& text = rendered.value().text;
      ASSERT_EQ(text.bytes.size(), text.origin.size());
      EXPECT_TRUE(agrees(text.bytes, expected)) << name << "\n"
                                                << to_json(body) << "\n"
                                                << text.bytes << "\n"
                                                << to_json(expected);
      ++prompts;
      if (std::string_view(name) != "deepseek-v4") continue;
      const std::string specials = specials_of(text);
      EXPECT_TRUE(agrees(specials, row.at("specials"))) << to_json(body) << "\n" << specials;
    }
    if (HasFailure()) return;
  }
  EXPECT_GE(prompts, 500);
}

// Goal: V4 answers as deepseek-recipe's parser reads them; arguments are compared as JSON.
TEST(CodecVectors, AnswersAreReadAsTheReferenceReadsThem) {
  const json::object all = vectors();
  for (const json::value& row : all.at("answers").get_array()) {
    OutputParser parser({.syntax = CallSyntax::kDsml,
                         .start = row.at("thinking").get_bool() ? OutputStart::kReasoning
                                                                : OutputStart::kAfterReasoning});
    std::vector<OutputEvent> events;
    parser.push(row.at("answer").get_string(), events);
    parser.finish(events);
    OutputPiece piece;
    piece.add(std::move(events));
    const std::string shown = to_json(row);
    EXPECT_EQ(piece.reasoning, row.at("reasoning").get_string()) << shown;
    EXPECT_EQ(piece.content, row.at("content").get_string()) << shown;
    EXPECT_TRUE(piece.warnings.empty()) << shown;
    const json::array& calls = row.at("calls").get_array();
    ASSERT_EQ(piece.calls.size(), calls.size() * 3) << shown;
    for (size_t i = 0; i < calls.size(); ++i) {
      EXPECT_EQ(piece.calls[3 * i].name, calls[i].at(0).get_string());
      const auto ours = parse_json(piece.calls[3 * i + 1].text);
      const auto theirs = parse_json(calls[i].at(1).get_string());
      ASSERT_TRUE(ours.ok() && theirs.ok()) << shown;
      EXPECT_EQ(to_json(ours.value()), to_json(theirs.value()));
    }
  }
}

}  // namespace
}  // namespace hadal
