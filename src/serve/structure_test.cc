// Goal: whatever a model wants to say, an answer with a format or with tools is what was asked for:
// tokens are drawn at random from what the filter allows, read like any answer, and checked.
#include "serve/structure.h"

#include <algorithm>
#include <bit>
#include <random>

#include <gtest/gtest.h>

#include "serve/dialects/openai_chat.h"
#include "serve/dialects/openai_completions.h"
#include "serve/generation.h"
#include "serve/service.h"
#include "serve/testing/scripted.h"

namespace hadal {
namespace {

constexpr size_t kMostTokens = 20'000;

std::vector<std::string> tool_tokens() {
  return {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>",
          "<｜tool▁call▁end｜>",    "<｜tool▁sep｜>",       "｜DSML｜"};
}

/// A served model of random words.
class Babbler {
 public:
  Babbler(std::string_view codec, bool control_tokens)
      : tokenizer_(byte_tokenizer(control_tokens ? tool_tokens() : std::vector<std::string>())) {
    if (codec == "tagged") {
      auto parsed = ChatTemplate::parse("{{ messages[0].content }}{# <tool_call> #}");
      CHECK(parsed.ok());
      template_ = std::make_unique<ChatTemplate>(std::move(parsed).value());
      model.chat_template = template_.get();
    } else {
      auto chosen = Codec::named(codec, {.tokenizer = tokenizer_.get()});
      CHECK(chosen.ok());
      model.chosen_codec = std::move(chosen).value();
    }
    model.id = "babbler";
    model.tokenizer = tokenizer_.get();
    model.n_ctx = 1 << 20;
  }

  /// The plan of a body, as a handler makes it.
  Checked plan(std::string_view text, GenerationPlan& out, Planner planner = plan_openai_chat) {
    json::object body;
    CHECK(!parse_body(text, body));
    if (Checked error = planner(model, body, Env::real(), out)) return error;
    return constrain_answer(model, out);
  }

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  ServedModel model;

 private:
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> template_;
};

struct Answer {
  OutputPiece piece;
  bool ended = false;  ///< by itself, before kMostTokens
  std::vector<ToolCall> calls() const {
    std::vector<ToolCall> out;
    for (const OutputEvent& event : piece.calls) {
      if (event.kind == OutputEvent::Kind::kCallBegin) out.push_back({event.id, event.name, ""});
      if (event.kind == OutputEvent::Kind::kCallArguments) out.back().arguments += event.text;
    }
    return out;
  }
};

void append(OutputPiece& to, OutputPiece piece) {
  to.reasoning += piece.reasoning;
  to.content += piece.content;
  to.calls.insert(to.calls.end(), piece.calls.begin(), piece.calls.end());
  to.warnings.insert(to.warnings.end(), piece.warnings.begin(), piece.warnings.end());
}

/// Draws tokens; those that end things come more often, so that answers do not grow for ever.
class Walk {
 public:
  Walk(const Babbler& babbler, const GenerationPlan& plan, uint32_t seed)
      : tokenizer_(babbler.tokenizer()),
        filter_(plan.filter),
        output_(tokenizer_, plan.output, {}),
        random_(seed) {}

  /// `text` first, whatever the odds.
  Answer run(std::string_view text = {}) {
    Answer answer;
    for (const TokenId id : tokenizer_.encode(text, Specials::kParse)) take(id, answer);
    for (size_t i = 1; i < kMostTokens && !answer.ended; ++i) {
      // Chance alone would hardly ever spell these.
      if (i % 50 == 0) say("</think>", answer);
      if (i % 50 == 25) say("</｜DSML｜parameter>", answer);
      if (!answer.ended) take(draw(), answer);
    }
    append(answer.piece, output_.finish());
    return answer;
  }

 private:
  /// `text`, if it may come here.
  void say(std::string_view text, Answer& answer) {
    const auto ids = tokenizer_.encode(text, Specials::kParse);
    FilterSlot ahead = filter_;
    const auto may = [&](TokenId id) {
      const auto bits = ahead->allowed();
      const auto at = static_cast<size_t>(id);
      return (bits.empty() || ((bits[at / 64] >> (at % 64)) & 1) != 0) && ahead->accept(id);
    };
    if (!std::ranges::all_of(ids, may)) return;
    for (const TokenId id : ids) take(id, answer);
  }

  void take(TokenId id, Answer& answer) {
    EXPECT_TRUE(filter_->accept(id)) << "token " << id;
    if (tokenizer_.is_end_of_generation(id)) {
      answer.ended = true;
      return;
    }
    append(answer.piece, output_.push(id));
    answer.ended = output_.stopped();
  }

  TokenId draw() {
    std::vector<TokenId> may;
    std::vector<TokenId> ends;
    const auto allowed = filter_->allowed();
    for (TokenId id = 0; id < tokenizer_.size(); ++id) {
      const auto at = static_cast<size_t>(id);
      if (!allowed.empty() && ((allowed[at / 64] >> (at % 64)) & 1) == 0) continue;
      may.push_back(id);
      const bool closes = id < 128 && std::string_view("\"}],:<>\n").find(static_cast<char>(id)) !=
                                          std::string_view::npos;
      if (closes || id >= 256) ends.push_back(id);
    }
    EXPECT_FALSE(may.empty());
    if (may.empty()) return kEndToken;
    const auto& from = !ends.empty() && random_() % 3 == 0 ? ends : may;
    return from[random_() % from.size()];
  }

  const Tokenizer& tokenizer_;
  FilterSlot filter_;
  ChoiceOutput output_;
  std::mt19937 random_;
};

constexpr const char* kTools =
    R"("tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object",
    "properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":1,"maximum":7},
    "unit":{"type":"string","enum":["C","F"]}},"required":["city","days"]}}},
    {"type":"function","function":{"name":"now"}}])";

std::string chat(const std::string& more) {
  return R"({"messages":[{"role":"user","content":"hi"}],)" + more + "}";
}

void expect_good_call(const ToolCall& call) {
  auto parsed = parse_json(call.arguments);
  ASSERT_TRUE(parsed.ok() && parsed.value().is_object()) << call.arguments;
  const json::object& arguments = parsed.value().get_object();
  if (call.name == "now") return;
  ASSERT_EQ(call.name, "get_weather");
  ASSERT_TRUE(arguments.contains("city") && arguments.contains("days")) << call.arguments;
  for (const auto& [name, value] : arguments) {
    if (name == "city") {
      EXPECT_TRUE(value.is_string()) << call.arguments;
    } else if (name == "days") {
      ASSERT_TRUE(value.is_int64()) << call.arguments;
      EXPECT_TRUE(value.get_int64() >= 1 && value.get_int64() <= 7) << call.arguments;
    } else {
      EXPECT_EQ(name, "unit");
      EXPECT_TRUE(value == "C" || value == "F") << call.arguments;
    }
  }
}

struct Family {
  const char* codec;
  bool control_tokens;
  const char* opens;  ///< what begins a block of calls
};

constexpr Family kFamilies[] = {
    {"deepseek-v3", true, "<｜tool▁calls▁begin｜>"},
    {"deepseek-v3", false, "<｜tool▁calls▁begin｜>"},
    {"deepseek-r1", true, "<｜tool▁calls▁begin｜>"},
    {"deepseek-v3.1", true, "<｜tool▁calls▁begin｜>"},
    {"deepseek-v3.1", false, "<｜tool▁calls▁begin｜>"},
    {"deepseek-v3.2", true, "<｜DSML｜function_calls>"},
    {"deepseek-v4", true, "<｜DSML｜tool_calls>"},
    {"deepseek-v4", false, "<｜DSML｜tool_calls>"},
    {"tagged", false, "<tool_call>"},
};

// Goal: tool_choice "required" gives good calls and nothing else, thinking or not.
TEST(Structure, RequiredCalls) {
  for (const Family& family : kFamilies) {
    for (const bool thinking : {false, true}) {
      Babbler babbler(family.codec, family.control_tokens);
      GenerationPlan plan;
      const std::string body =
          chat(std::string(kTools) + R"(,"tool_choice":"required","thinking":{"type":")" +
               (thinking ? "enabled" : "disabled") + "\"}");
      const Checked error = babbler.plan(body, plan);
      ASSERT_FALSE(error) << family.codec << ": " << error->message;
      for (uint32_t seed = 0; seed < 20; ++seed) {
        const Answer answer = Walk(babbler, plan, seed).run();
        EXPECT_TRUE(answer.ended) << family.codec;
        EXPECT_EQ(answer.piece.content, "") << family.codec;
        EXPECT_TRUE(answer.piece.warnings.empty()) << family.codec;
        EXPECT_FALSE(answer.calls().empty()) << family.codec;
        for (const ToolCall& call : answer.calls()) expect_good_call(call);
      }
    }
  }
}

// Goal: with "auto" a model may talk; once a call begins it is a good one.
TEST(Structure, CallsThatBeginAreGood) {
  for (const Family& family : kFamilies) {
    Babbler babbler(family.codec, family.control_tokens);
    GenerationPlan plan;
    const Checked error =
        babbler.plan(chat(std::string(kTools) + R"(,"thinking":{"type":"disabled"})"), plan);
    ASSERT_FALSE(error) << family.codec << ": " << error->message;
    EXPECT_TRUE(plan.filter->allowed().empty()) << "all tokens may come before a call";
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const Answer answer =
          Walk(babbler, plan, seed).run(std::string("Let me see.") + family.opens);
      EXPECT_TRUE(answer.ended) << family.codec;
      EXPECT_EQ(answer.piece.reasoning + answer.piece.content, "Let me see.") << family.codec;
      EXPECT_TRUE(answer.piece.warnings.empty()) << family.codec;
      EXPECT_FALSE(answer.calls().empty()) << family.codec;
      for (const ToolCall& call : answer.calls()) expect_good_call(call);
    }
  }
}

TEST(Structure, OneNamedFunctionAndOneCall) {
  for (const Family& family : kFamilies) {
    Babbler babbler(family.codec, family.control_tokens);
    GenerationPlan plan;
    ASSERT_FALSE(babbler.plan(
        chat(std::string(kTools) + R"(,"parallel_tool_calls":false,"thinking":{"type":"disabled"},
             "tool_choice":{"type":"function","function":{"name":"get_weather"}})"),
        plan));
    for (uint32_t seed = 0; seed < 10; ++seed) {
      const std::vector<ToolCall> calls = Walk(babbler, plan, seed).run().calls();
      ASSERT_EQ(calls.size(), 1u) << family.codec;
      EXPECT_EQ(calls.front().name, "get_weather");
      expect_good_call(calls.front());
    }
  }
}

constexpr const char* kFormat =
    R"("response_format":{"type":"json_schema","json_schema":{"name":"x","strict":true,"schema":
    {"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"array","items":{"enum":
    ["x","y"]},"maxItems":3}},"required":["a","b"],"additionalProperties":false}}})";

void expect_format(const std::string& content) {
  auto parsed = parse_json(content);
  ASSERT_TRUE(parsed.ok() && parsed.value().is_object()) << content;
  const json::object& object = parsed.value().get_object();
  ASSERT_EQ(object.size(), 2u) << content;
  EXPECT_TRUE(object.contains("a") && object.contains("b")) << content;
}

// Goal: the boundary from thinking to answer: reasoning is free, the answer is the schema's.
TEST(Structure, SchemasBehindReasoning) {
  for (const char* codec : {"deepseek-r1", "deepseek-v3.1", "deepseek-v3.2", "deepseek-v4"}) {
    for (const bool thinking : {true, false}) {
      Babbler babbler(codec, true);
      GenerationPlan plan;
      ASSERT_FALSE(babbler.plan(chat(std::string(kFormat) + R"(,"thinking":{"type":")" +
                                     (thinking ? "enabled" : "disabled") + "\"}"),
                                plan));
      const bool reasons = plan.output.parser.start == OutputStart::kReasoning;
      for (uint32_t seed = 0; seed < 20; ++seed) {
        const Answer answer =
            Walk(babbler, plan, seed).run(reasons ? "Hm, {\"a\": x}.</think>\n\n" : "");
        EXPECT_TRUE(answer.ended) << codec;
        EXPECT_EQ(answer.piece.reasoning, reasons ? "Hm, {\"a\": x}." : "") << codec;
        expect_format(answer.piece.content);
      }
    }
  }
}

// Goal: a format and tools together: the answer is one or the other.
TEST(Structure, AFormatOrACall) {
  Babbler babbler("deepseek-v3.1", true);
  GenerationPlan plan;
  ASSERT_FALSE(babbler.plan(chat(std::string(kFormat) + "," + kTools), plan));
  int formats = 0;
  int calls = 0;
  for (uint32_t seed = 0; seed < 40; ++seed) {
    const Answer answer = Walk(babbler, plan, seed).run();
    for (const ToolCall& call : answer.calls()) expect_good_call(call);
    if (answer.calls().empty()) expect_format(answer.piece.content);
    ++(answer.calls().empty() ? formats : calls);
  }
  EXPECT_GT(formats, 0);
  EXPECT_GT(calls, 0);
}

// Goal: each way to ask for a format does what it says, in chat and in completions.
TEST(Structure, EveryWayToAsk) {
  struct Case {
    const char* field;
    bool (*fits)(const std::string& text);
  };
  const auto is_object = [](const std::string& text) {
    auto parsed = parse_json(text);
    return parsed.ok() && parsed.value().is_object();
  };
  const auto is_integer = [](const std::string& text) {
    auto parsed = parse_json(text);
    return parsed.ok() && parsed.value().is_number();
  };
  const auto is_digits = [](const std::string& text) {
    return text.size() == 3 &&
           std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  };
  const auto is_choice = [](const std::string& text) { return text == "ja" || text == "不"; };
  const Case cases[] = {
      {R"("response_format":{"type":"json_object"})", is_object},
      {R"("guided_json":{"type":"integer"})", is_integer},
      {R"("json_schema":{"type":"integer"})", is_integer},
      {R"("guided_regex":"[0-9]{3}")", is_digits},
      {R"("guided_choice":["ja","不"])", is_choice},
      {R"("grammar":"root ::= [0-9] [0-9] [0-9]")", is_digits},
      {R"("structured_outputs":{"regex":"\\d{3}"})", is_digits},
      {R"("structured_outputs":{"choice":["ja","不"]})", is_choice},
      {R"("structured_outputs":{"json":"{\"type\":\"integer\"}"})", is_integer},
      {R"("structured_outputs":{"json_object":true})", is_object},
  };
  Babbler babbler("deepseek-v3", true);
  for (const Case& one : cases) {
    for (const bool completion : {false, true}) {
      GenerationPlan plan;
      const std::string body =
          completion ? R"({"prompt":"hi",)" + std::string(one.field) + "}" : chat(one.field);
      const Checked error =
          babbler.plan(body, plan, completion ? plan_openai_completions : plan_openai_chat);
      ASSERT_FALSE(error) << one.field << ": " << error->message;
      for (uint32_t seed = 0; seed < 5; ++seed) {
        const Answer answer = Walk(babbler, plan, seed).run();
        EXPECT_TRUE(answer.ended && one.fits(answer.piece.content))
            << one.field << ": " << answer.piece.content;
      }
    }
  }
}

// Goal: a request that cannot be enforced is a 400 that names the field.
TEST(Structure, WhatCannotBeEnforcedIsSaid) {
  Babbler babbler("deepseek-v3", true);
  struct Case {
    const char* field;
    const char* param;
  };
  const Case cases[] = {
      {R"("response_format":3)", "response_format"},
      {R"("response_format":{"type":"yaml"})", "response_format.type"},
      {R"("response_format":{"type":"json_schema"})", "response_format.json_schema"},
      {R"("response_format":{"type":"json_schema","json_schema":{"schema":{"type":"nonsense"}}})",
       "response_format.schema"},
      {R"("guided_regex":"(")", "guided_regex"},
      {R"("guided_regex":7)", "guided_regex"},
      {R"("guided_choice":[])", "guided_choice"},
      {R"("grammar":"root ::= nothing")", "grammar"},
      {R"("guided_json":{"type":"object"},"guided_regex":"a")", "guided_regex"},
      {R"("structured_outputs":[])", "structured_outputs"},
      {R"("tools":[{"type":"function"}])", "tools"},
      {R"("tools":[{"type":"function","function":{"name":"f","strict":true,)"
       R"("parameters":{"type":"x"}}}])",
       "tools"},
      {R"("parallel_tool_calls":"no")", "parallel_tool_calls"},
  };
  for (const Case& one : cases) {
    GenerationPlan plan;
    const Checked error = babbler.plan(chat(one.field), plan);
    ASSERT_TRUE(error) << one.field;
    EXPECT_EQ(error->status, 400) << one.field;
    EXPECT_EQ(error->param, one.param) << one.field;
  }
  Babbler plain("deepseek-llm", false);
  GenerationPlan plan;
  const Checked error =
      plain.plan(chat(std::string(kTools) + R"(,"tool_choice":"required")"), plan);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->param, "tools");
}

// Goal: what a client asks to go on with is part of the structure.
TEST(Structure, ContinuedAnswers) {
  Babbler babbler("deepseek-v3", true);
  const auto body = [](const std::string& begun) {
    return R"({"messages":[{"role":"user","content":"hi"},)"
           R"({"role":"assistant","prefix":true,"content":)" +
           begun + "}]," + kFormat + "}";
  };
  GenerationPlan plan;
  ASSERT_FALSE(babbler.plan(body(R"("{\"a\": 4")"), plan));
  const Answer answer = Walk(babbler, plan, 1).run();
  expect_format("{\"a\": 4" + answer.piece.content);
  GenerationPlan wrong;
  const Checked error = babbler.plan(body(R"("Sure: ")"), wrong);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->param, "messages");
}

}  // namespace
}  // namespace hadal
