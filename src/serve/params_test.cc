// Goal: every request parameter keeps its declared range: each row x {min-1, min, max, max+1, huge,
// string, list, object, bool} is accepted or refused with a 400 that names the row.
#include "serve/params.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

json::object body_of(const std::string& text) {
  auto parsed = parse_json(text);
  EXPECT_TRUE(parsed.ok()) << text;
  return parsed.ok() && parsed.value().is_object() ? parsed.value().get_object() : json::object{};
}

std::string number_text(double number) {
  if (number >= 9.2e18) return "9223372036854774784";
  if (number <= -9.2e18) return "-9223372036854775808";
  std::string out;
  append_json_number(out, number);
  return out;
}

struct Probe {
  std::string value;
  bool accepted;
};

std::vector<Probe> probes(const ParamRow& row) {
  std::vector<Probe> out = {{"null", true}, {"\"1\"", false}, {"[]", false}, {"{}", false}};
  if (row.kind == ParamKind::kBoolean) {
    out.insert(out.end(), {{"true", true}, {"false", true}, {"1", false}, {"0", false}});
    return out;
  }
  out.insert(out.end(), {{"true", false},
                         {number_text(row.min), true},
                         {number_text(row.max), true},
                         {"1e300", false},
                         {"-1e300", false},
                         {"18446744073709551615", false}});
  if (std::abs(row.min) < 9e18) out.push_back({number_text(row.min - 1), false});
  if (row.max < 9e18) out.push_back({number_text(row.max + 1), false});
  if (row.kind == ParamKind::kInteger)
    out.push_back({number_text(row.min < 0 ? -0.5 : 1.5), false});
  return out;
}

void check_rows(std::span<const ParamRow> rows) {
  for (const ParamRow& row : rows) {
    for (const Probe& probe : probes(row)) {
      const std::string name(row.name);
      RequestParams params;
      const Checked error =
          read_params(body_of("{\"" + name + "\":" + probe.value + "}"), rows, params);
      EXPECT_EQ(!error, probe.accepted) << name << " = " << probe.value;
      if (!error) continue;
      EXPECT_EQ(error->status, 400);
      EXPECT_EQ(error->param, name);
      EXPECT_NE(error->message.find(name), std::string::npos);
    }
  }
}

TEST(Params, EveryRowKeepsItsRange) {
  check_rows(common_params());
  check_rows(chat_params());
  check_rows(completion_params());
}

TEST(Params, AcceptedValuesPassTheEngine) {
  // Goal: nothing the table lets through is refused by the sampler.
  for (const ParamRow& row : common_params()) {
    for (const double value : {row.min, row.max}) {
      if (row.kind == ParamKind::kBoolean) continue;
      RequestParams params;
      const std::string text = "{\"" + std::string(row.name) + "\":" + number_text(value) + "}";
      ASSERT_FALSE(read_params(body_of(text), common_params(), params)) << text;
      EXPECT_TRUE(validate(params.sampling, 1000).ok()) << text;
    }
  }
}

TEST(Params, NumbersBeyondDoubleAreRefused) {
  for (const char* text : {"{\"temperature\":1e400}", "{\"temperature\":-1e400}"}) {
    auto parsed = parse_json(text);
    if (!parsed.ok()) continue;  // refused by the parser: just as well
    RequestParams params;
    EXPECT_TRUE(read_params(parsed.value().get_object(), common_params(), params)) << text;
  }
  EXPECT_FALSE(parse_json("{\"temperature\":NaN}").ok());
  EXPECT_FALSE(parse_json("{\"temperature\":Infinity}").ok());
}

TEST(Params, UnknownFieldsAreIgnored) {
  RequestParams params;
  EXPECT_FALSE(read_params(body_of(R"({"metadata":{},"store":true,"user":"u","n_discard":-5})"),
                           common_params(), params));
}

TEST(Params, SeedMinusOneIsRandom) {
  RequestParams params;
  params.sampling.seed = 5;
  EXPECT_FALSE(read_params(body_of(R"({"seed":-1})"), common_params(), params));
  EXPECT_FALSE(params.sampling.seed.has_value());
  EXPECT_FALSE(read_params(body_of(R"({"seed":7})"), common_params(), params));
  EXPECT_EQ(params.sampling.seed, 7u);
}

std::string error_param(const std::string& text) {
  RequestParams params;
  const Checked error = read_structured_params(body_of(text), 100, params);
  return error ? error->param : "";
}

TEST(Params, StopStrings) {
  EXPECT_EQ(error_param(R"({"stop":"x"})"), "");
  EXPECT_EQ(error_param(R"({"stop":["x","y"]})"), "");
  EXPECT_EQ(error_param(R"({"stop":[]})"), "");
  EXPECT_EQ(error_param(R"({"stop":5})"), "stop");
  EXPECT_EQ(error_param(R"({"stop":[5]})"), "stop");
  EXPECT_EQ(error_param(R"({"stop":["1","2","3","4","5","6","7","8","9",)"
                        R"("10","11","12","13","14","15","16","17"]})"),
            "stop");
  std::string million = "{\"stop\":[\"a\"";
  for (int i = 1; i < 1'000'000; ++i) million += ",\"a\"";
  EXPECT_EQ(error_param(million + "]}"), "stop");
  EXPECT_EQ(error_param("{\"stop\":\"" + std::string(256, 'x') + "\"}"), "");
  EXPECT_EQ(error_param("{\"stop\":\"" + std::string(257, 'x') + "\"}"), "stop");
}

TEST(Params, LogitBiasAndIds) {
  EXPECT_EQ(error_param(R"({"logit_bias":{"0":-100,"99":100}})"), "");
  for (const char* bad : {R"({"100":1})", R"({"-1":1})", R"({"x":1})", R"({"1":101})",
                          R"({"1":-101})", R"({"1":"2"})", R"([])", R"("a")"}) {
    EXPECT_EQ(error_param("{\"logit_bias\":" + std::string(bad) + "}"), "logit_bias") << bad;
  }
  std::string many = "{\"logit_bias\":{";
  for (int i = 0; i < 1025; ++i) many += (i ? ",\"" : "\"") + std::to_string(i) + "\":1";
  EXPECT_EQ(error_param(many + "}}"), "logit_bias");
  EXPECT_EQ(error_param(R"({"stop_token_ids":[1,2]})"), "");
  std::string ids = "{\"stop_token_ids\":[0";
  for (int i = 1; i <= 1024; ++i) ids += ",1";
  EXPECT_EQ(error_param(ids + "]}"), "stop_token_ids");
  EXPECT_EQ(error_param(R"({"stop_token_ids":[100]})"), "stop_token_ids");
  EXPECT_EQ(error_param(R"({"stop_token_ids":1})"), "stop_token_ids");
  EXPECT_EQ(error_param(R"({"stream_options":{"include_usage":1}})"),
            "stream_options.include_usage");
  EXPECT_EQ(error_param(R"({"stream_options":[]})"), "stream_options");
}

}  // namespace
}  // namespace hadal
