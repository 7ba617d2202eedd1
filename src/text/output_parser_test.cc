#include "text/output_parser.h"

#include <random>

#include <gtest/gtest.h>

namespace hadal {
namespace {

using Kind = OutputEvent::Kind;

/// Events as text: "R(...)", "C(...)", "T0 name(arguments)", "W".
std::string shown(const std::vector<OutputEvent>& events) {
  std::string out;
  std::string last_call;
  for (const OutputEvent& event : events) {
    switch (event.kind) {
      case Kind::kReasoning:
        out += "R(" + event.text + ")";
        break;
      case Kind::kContent:
        out += "C(" + event.text + ")";
        break;
      case Kind::kCallBegin:
        out += "T" + std::to_string(event.index) + " " + event.name;
        break;
      case Kind::kCallArguments:
        out += "(" + event.text + ")";
        break;
      case Kind::kCallEnd:
        break;
      case Kind::kWarning:
        out += "W";
        break;
    }
  }
  return out;
}

/// Neighbouring texts of one kind as one.
std::vector<OutputEvent> merged(const std::vector<OutputEvent>& events) {
  std::vector<OutputEvent> out;
  for (const OutputEvent& event : events) {
    const bool text = event.kind == Kind::kReasoning || event.kind == Kind::kContent;
    if (text && !out.empty() && out.back().kind == event.kind) {
      out.back().text += event.text;
    } else {
      out.push_back(event);
    }
  }
  return out;
}

std::vector<OutputEvent> parse(CallSyntax syntax, OutputStart start,
                               const std::vector<std::string>& pieces, bool offered = true) {
  OutputParser parser(
      {.syntax = syntax, .start = start, .tools_offered = offered, .call_id = "id"});
  std::vector<OutputEvent> all;
  for (const std::string& piece : pieces) {
    std::vector<OutputEvent> events;
    parser.push(piece, events);
    all.insert(all.end(), events.begin(), events.end());
  }
  std::vector<OutputEvent> events;
  parser.finish(events);
  all.insert(all.end(), events.begin(), events.end());
  return merged(all);
}

struct Case {
  CallSyntax syntax;
  OutputStart start;
  std::string text;
  std::string expected;
};

constexpr CallSyntax kNone = CallSyntax::kNone;
constexpr CallSyntax kTokens = CallSyntax::kTokens;
constexpr CallSyntax kDsml = CallSyntax::kDsml;
constexpr CallSyntax kTagged = CallSyntax::kTagged;
constexpr OutputStart kAnswer = OutputStart::kAnswer;
constexpr OutputStart kReasoning = OutputStart::kReasoning;
constexpr OutputStart kAfter = OutputStart::kAfterReasoning;

const std::vector<Case>& think_cases() {
  static const std::vector<Case> list = {
      {kNone, kAnswer, "<think>\nHmm.\n</think>\n\nYes.", "R(Hmm.)C(Yes.)"},
      {kNone, kReasoning, "\n\nHmm.\n\nThen.\n</think>\n\nYes.\n", "R(Hmm.\n\nThen.)C(Yes.\n)"},
      {kNone, kReasoning, "<think>\na</think>b", "R(a)C(b)"},
      {kNone, kReasoning, "思考</think>答案", "R(思考)C(答案)"},
      {kNone, kReasoning, "never ends\n", "R(never ends\n)"},
      {kNone, kReasoning, "</think>now", "C(now)"},
      {kNone, kReasoning, "\n</think>\n</think>\nnow</think>!", "C(now!)"},
      {kNone, kAnswer, "plain <think> text </think> here", "C(plain <think> text </think> here)"},
      {kNone, kAnswer, "\n <think>a</think>b", "R(a)C(b)"},
      {kNone, kAnswer, "\n <thin", "C(\n <thin)"},
      {kNone, kAnswer, "</think>\nb", "C(b)"},
      {kNone, kReasoning, "a <thi</thin</think>b</thin", "R(a <thi</thin)C(b</thin)"},
      {kNone, kReasoning, "a<</think>b<</think>", "R(a<)C(b<)"},
      {kNone, kReasoning, "a <think> b</think>c <think> d", "R(a <think> b)C(c <think> d)"},
      {kNone, kReasoning, "a</think>b</th</think>ink>c", "R(a)C(b</th\nink>c)"},
      {kNone, kAfter, "\n\nb<think>x</think>y", "C(b<think>xy)"},
      {kNone, OutputStart::kReasoningGoesOn, "\nmore</think>b", "R(\nmore)C(b)"},
      {kNone, OutputStart::kAnswerGoesOn, "\nmore", "C(\nmore)"},
      {kNone, kAnswer, "", ""},
      {kNone, kReasoning, "", ""},
      {kDsml, kAfter, "a</think>b", "C(ab)"},
  };
  return list;
}

const std::vector<Case>& token_cases() {
  static const std::string begin = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>";
  static const std::string end = "<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
  static const std::string next = "<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>";
  static const std::string sep = "<｜tool▁sep｜>";
  static const std::vector<Case> list = {
      // V3, R1: a kind, a name, a fence.
      {kTokens, kAnswer,
       "Let me see.\n\n" + begin + "function" + sep + "get\n```json\n{\"a\": 1}\n```" + end + "x",
       "C(Let me see.)T0 get({\"a\": 1})"},
      {kTokens, kReasoning,
       "hm</think>\n\n" + begin + "function" + sep + "a\n```json\n{}\n```" + next + "function" +
           sep + "b\n```json\n{\"城市\": \"杭州\"}\n```" + end,
       "R(hm)T0 a({})T1 b({\"城市\": \"杭州\"})"},
      // V3.1: a name, JSON.
      {kTokens, kAfter, begin + "get" + sep + "{\"a\": [1, {}]}" + end, "T0 get({\"a\": [1, {}]})"},
      {kTokens, kReasoning, "r\n" + begin + "get" + sep + "{}" + end, "R(r)T0 get({})"},
      {kTokens, kAfter,
       begin + "a" + sep + "{}<｜tool▁call▁end｜><｜tool▁call▁begin｜>b" + sep + "{}" + end,
       "T0 a({})T1 b({})"},
      // What R1 makes of its tokens at times.
      {kTokens, kAfter, "<｜tool▁calls▁begin｜>function" + sep + "a\n```json\n{}\n```" + end,
       "T0 a({})"},
      {kTokens, kAfter, "<｜tool▁call▁begin｜>function" + sep + "a\n```json\n{}\n```" + end,
       "T0 a({})"},
      {kTokens, kAfter,
       "<｜tool_calls_begin｜><｜tool_call_begin｜>a<｜tool_sep｜>{}<｜tool_call_end｜>",
       "T0 a({})"},
      {kTokens, kAfter, "<｜tool\\_calls\\_begin｜>a<｜tool sep｜>{}<｜tool calls end｜>",
       "T0 a({})"},
      // Cut off, but complete in itself.
      {kTokens, kAfter, begin + "a" + sep + "{\"x\": 1}", "T0 a({\"x\": 1})"},
      // No calls: the text comes back, no marker does.
      {kTokens, kAfter, begin + "a" + sep + "{\"x\": 1", "C(a{\"x\": 1)W"},
      {kTokens, kAfter, begin + "a" + sep + "[1]" + end + "z", "C(a[1])WC(z)"},
      {kTokens, kAfter, begin + "a" + sep + end, "C(a)W"},
      {kTokens, kAfter, begin + "a b" + sep + "{}" + end, "C(a b{})W"},
      {kTokens, kAfter, begin + "{\"name\": 1}" + end, "C({\"name\": 1})W"},
      {kTokens, kAfter, begin + end + "done", "WC(done)"},
      {kTokens, kAfter, "a" + sep + "b<｜tool▁output▁begin｜>c", "C(abc)"},
      {kTokens, kAfter, begin + "a" + sep + "{bad}" + next + "b" + sep + "{}" + end,
       "C(a{bad})WT0 b({})"},
      {kTokens, kAfter, "x<｜tool▁ca" + sep + "lls▁begin｜>y", "C(x<｜tool▁ca\nlls▁begin｜>y)"},
      {kTokens, kAfter, "1 < 2，好｜<｜tool▁", "C(1 < 2，好｜<｜tool▁)"},
      {kTokens, kAnswer, "a</think>b", "C(ab)"},
  };
  return list;
}

const std::vector<Case>& dsml_cases() {
  static const std::string open = "\n\n<｜DSML｜tool_calls>\n";
  static const std::string close = "</｜DSML｜tool_calls>";
  static const std::string get = "<｜DSML｜invoke name=\"get\">\n";
  static const std::string end = "</｜DSML｜invoke>\n";
  static const auto parameter = [](const std::string& name, const std::string& text,
                                   const std::string& value) {
    return "<｜DSML｜parameter name=\"" + name + "\" string=\"" + text + "\">" + value +
           "</｜DSML｜parameter>\n";
  };
  static const std::vector<Case> list = {
      {kDsml, kReasoning,
       "r\n</think>\nhi" + open + get + parameter("z", "true", "q\n<\"") +
           parameter("a", "false", "[1, 2]") + end + "<｜DSML｜invoke name=\"f2\">\n" + end +
           close + "after",
       "R(r)C(hi)T0 get({\"z\": \"q\\n<\\\"\", \"a\": [1, 2]})T1 f2({})"},
      {kDsml, kReasoning, "r" + open + get + parameter("z", "true", "q") + end + close,
       "R(r)T0 get({\"z\": \"q\"})"},
      {kDsml, kAfter,
       "\n<｜DSML｜function_calls>\n" + get + "\n" + end + "</｜DSML｜function_calls>x",
       "T0 get({})"},
      {kDsml, kAfter, "hi" + get + end, "C(hi)T0 get({})"},
      {kDsml, OutputStart::kToolBlock, get + end + close, "T0 get({})"},
      // What claims to be JSON and is not was meant as text.
      {kDsml, kAfter, open + get + parameter("z", "false", "not json") + end + close,
       "T0 get({\"z\": \"not json\"})"},
      // A call inside a value is part of the value.
      {kDsml, kAfter,
       open + get + parameter("z", "true", "<｜DSML｜invoke name=\"x\">") + end + close,
       "T0 get({\"z\": \"<｜DSML｜invoke name=\\\"x\\\">\"})"},
      // No calls.
      {kDsml, kAfter, "hi" + open + get + "<｜DSML｜parameter name=\"z\" string=\"true\">unfin",
       "C(hi<invoke name=\"get\">\n<parameter name=\"z\" string=\"true\">unfin)W"},
      {kDsml, kAfter,
       open + get + "<｜DSML｜parameter name=\"z\">1</｜DSML｜parameter>\n" + end + close,
       "C(<invoke name=\"get\">\n<parameter name=\"z\">1</parameter>\n</invoke>)W"},
      {kDsml, kAfter, open + get + "junk" + end + close,
       "C(<invoke name=\"get\">\njunk</invoke>)W"},
      {kDsml, kAfter, open + get + get + end + close, "C(<invoke name=\"get\">\n)WT0 get({})"},
      {kDsml, kAfter, "a ｜DSML｜ b <｜DSML｜foo> c</｜DSML｜", "C(a  b foo> c)"},
      {kDsml, kAfter, "｜DS｜DSML｜ML｜", "C(｜DS\nML｜)"},
      {kDsml, kAfter, "a\n\n<b\n\n<｜DS", "C(a\n\n<b\n\n<｜DS)"},
  };
  return list;
}

const std::vector<Case>& tagged_cases() {
  static const std::vector<Case> list = {
      {kTagged, kAnswer,
       "Well.\n<tool_call>\n{\"name\": \"a\", \"arguments\": {\"x\": "
       "1}}\n</tool_call>\n<tool_call>\n"
       "{\"name\": \"b\", \"arguments\": {}}\n</tool_call>\n",
       "C(Well.)T0 a({\"x\": 1})T1 b({})"},
      {kTagged, kReasoning, "r</think>\n\n<tool_call>{\"name\": \"b\", \"arguments\": {}}",
       "R(r)T0 b({})"},
      {kTagged, kAnswer, "<tool_call>{\"name\": \"b\"}</tool_call>", "C({\"name\": \"b\"})W"},
      {kTagged, kAnswer, "<tool_call>{\"name\": \"b\", \"arguments\": {</tool_call>tail",
       "C({\"name\": \"b\", \"arguments\": {)WC(tail)"},
      {kTagged, kAnswer, "a </think> b", "C(a </think> b)"},
  };
  return list;
}

std::vector<Case> all_cases() {
  std::vector<Case> out;
  for (const auto* list : {&think_cases(), &token_cases(), &dsml_cases(), &tagged_cases()}) {
    out.insert(out.end(), list->begin(), list->end());
  }
  return out;
}

// Goal: the rules of the class comment and what each generation writes, whole text at once.
TEST(OutputParser, FollowsTheRules) {
  for (const Case& c : all_cases()) {
    EXPECT_EQ(shown(parse(c.syntax, c.start, {c.text})), c.expected) << c.text;
  }
}

// Goal: every way to cut a short text in three, and byte by byte, gives the same events.
TEST(OutputParser, CutsDoNotMatter) {
  for (const Case& c : all_cases()) {
    const auto expected = parse(c.syntax, c.start, {c.text});
    std::vector<std::string> bytes;
    for (const char byte : c.text) bytes.emplace_back(1, byte);
    ASSERT_EQ(parse(c.syntax, c.start, bytes), expected) << c.text;
    const size_t step = c.text.size() > 60 ? 7 : 1;
    for (size_t i = 0; i <= c.text.size(); ++i) {
      for (size_t j = i; j <= c.text.size(); j += step) {
        const std::vector<std::string> pieces = {c.text.substr(0, i), c.text.substr(i, j - i),
                                                 c.text.substr(j)};
        ASSERT_EQ(parse(c.syntax, c.start, pieces), expected) << c.text << " " << i << " " << j;
      }
    }
  }
}

// Goal: texts put together from pieces of the format at random: any cut gives the same events, and
// no marker is ever part of the answer.
TEST(OutputParser, RandomTextsNeverLeakMarkers) {
  const std::vector<std::string> parts = {"<｜tool▁calls▁begin｜>",
                                          "<｜tool▁call▁begin｜>",
                                          "<｜tool▁sep｜>",
                                          "<｜tool▁call▁end｜>",
                                          "<｜tool▁calls▁end｜>",
                                          "<｜tool▁ca",
                                          "lls▁begin｜>",
                                          "<think>",
                                          "</think>",
                                          "</th",
                                          "ink>",
                                          "\n",
                                          "<｜DSML｜tool_calls>",
                                          "</｜DSML｜tool_calls>",
                                          "<｜DSML｜invoke name=\"f\">",
                                          "</｜DSML｜invoke>",
                                          "<｜DSML｜parameter name=\"p\" string=\"true\">",
                                          "</｜DSML｜parameter>",
                                          "｜DSML｜",
                                          "｜DS",
                                          "ML｜",
                                          "<",
                                          "</",
                                          "{\"a\": 1}",
                                          "{",
                                          "text",
                                          "好",
                                          "<tool_call>",
                                          "</tool_call>",
                                          "<tool_",
                                          "call>",
                                          "{\"name\": \"f\", \"arguments\": {}}",
                                          "f",
                                          "function",
                                          "\n```json\n",
                                          "\n```",
                                          "tool_calls>"};
  const std::vector<std::string> forbidden[] = {
      {},
      {"<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>",
       "<｜tool▁calls▁end｜>", "</think>"},
      {"｜DSML｜", "</think>"},
      {"<tool_call>", "</tool_call>"}};
  std::mt19937 random(5);
  for (int round = 0; round < 8000; ++round) {
    std::string text;
    for (size_t n = random() % 14; n > 0; --n) text += parts[random() % parts.size()];
    const auto syntax = static_cast<CallSyntax>(1 + random() % 3);
    const auto start = static_cast<OutputStart>(random() % 5);
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t size = 1 + random() % 9;
      pieces.push_back(text.substr(at, size));
      at += size;
    }
    const auto events = parse(syntax, start, {text});
    ASSERT_EQ(parse(syntax, start, pieces), events) << text;
    std::string content;
    for (const OutputEvent& event : events) {
      if (event.kind == Kind::kContent) content += event.text;
      if (event.kind != Kind::kCallArguments) continue;
      const auto arguments = parse_json(event.text);
      ASSERT_TRUE(arguments.ok() && arguments.value().is_object()) << text;
    }
    for (const std::string& marker : forbidden[static_cast<size_t>(syntax)]) {
      ASSERT_EQ(content.find(marker), std::string::npos) << text << "\n" << content;
    }
  }
}

// Goal: text is handed on at once unless it may belong to a marker.
TEST(OutputParser, HoldsBackOnlyMarkers) {
  OutputParser parser({.syntax = kDsml, .start = kReasoning});
  const auto push = [&](std::string_view text) {
    std::vector<OutputEvent> events;
    parser.push(text, events);
    return shown(events);
  };
  EXPECT_EQ(push("ab\n</th"), "R(ab)");
  EXPECT_EQ(push("e"), "R(\n</the)");
  EXPECT_EQ(push("x</think>c<"), "R(x)C(c)");
  EXPECT_EQ(push("｜DSML"), "");
  EXPECT_EQ(push("x"), "C(<｜DSMLx)");
  EXPECT_FALSE(parser.inside_reasoning());
}

// Goal: calls have ids of their own, a finished block ends the answer, and where no tool was
// offered a call is text.
TEST(OutputParser, CallsHaveIdsAndEndTheAnswer) {
  const std::string text =
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>a<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
      "<｜tool▁call▁begin｜>b<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>more";
  OutputParser parser({.syntax = kTokens, .call_id = "call_x"});
  std::vector<OutputEvent> events;
  parser.push(text, events);
  EXPECT_TRUE(parser.ended());
  EXPECT_EQ(parser.calls(), 2);
  ASSERT_EQ(events.size(), 6U);
  EXPECT_EQ(events[0].id, "call_x");
  EXPECT_EQ(events[3].id, "call_x_0001");
  EXPECT_EQ(events[5].index, 1);
  EXPECT_EQ(shown(parse(kTokens, kAnswer, {text}, false)), "C(a{})WC(b{})WC(more)");
}

// Goal: text on the two sides of a dropped marker never grows together into a marker, not where the
// first part comes from a call that was given back either.
TEST(OutputParser, DroppedMarkersLeaveNoneBehind) {
  const std::string end = "<｜tool▁call▁end｜>";
  const std::string split = "<｜tool▁calls" + end + "▁end｜>";
  EXPECT_EQ(shown(parse(kTokens, kAnswer, {"x" + split})), "C(x<｜tool▁calls\n▁end｜>)");
  EXPECT_EQ(shown(parse(kTokens, kAnswer, {"<｜tool▁calls▁begin｜>get{}" + split})),
            "C(get{}<｜tool▁calls)WC(\n▁end｜>)");
}

// Goal: a call that does not end is given back when it grows too long; a nameless one much sooner.
TEST(OutputParser, CallsAreBounded) {
  OutputParser parser({.syntax = kTokens});
  std::vector<OutputEvent> events;
  parser.push("<｜tool▁call▁begin｜>" + std::string(300, 'a'), events);
  EXPECT_EQ(events.size(), 3U);  // text, warning, text
  parser.push("<｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": \"", events);
  const std::string chunk(1 << 20, 'b');
  size_t shown_bytes = 0;
  for (int i = 0; i < 6; ++i) {
    events.clear();
    parser.push(chunk, events);
    for (const OutputEvent& event : events) shown_bytes += event.text.size();
  }
  EXPECT_GT(shown_bytes, size_t{6} << 20);
  EXPECT_EQ(parser.calls(), 0);
}

}  // namespace
}  // namespace hadal
