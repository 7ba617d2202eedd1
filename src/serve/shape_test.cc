// Goal: type expressions become the JSON Schema they say, every name in the shapes is defined once,
// and unknown members are found.
#include <functional>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "serve/shapes.h"

namespace hadal {
namespace {

std::string schema(std::string_view type) {
  return to_json(schema_of(type));
}

TEST(Shape, TypesBecomeSchemas) {
  EXPECT_EQ(schema("string"), R"({"type":"string"})");
  EXPECT_EQ(schema("any"), "{}");
  EXPECT_EQ(schema("string|null"), R"({"type":["string","null"]})");
  EXPECT_EQ(schema("integer(0..20)"), R"({"type":"integer","minimum":0,"maximum":20})");
  EXPECT_EQ(schema("number(-2..)"), R"({"type":"number","minimum":-2})");
  EXPECT_EQ(schema("'a'|'b c'|true"), R"({"enum":["a","b c",true]})");
  EXPECT_EQ(schema("Thing[1..3]"),
            R"({"type":"array","items":{"$ref":"#/components/schemas/Thing"},)"
            R"("minItems":1,"maxItems":3})");
  EXPECT_EQ(schema("string|integer[][]"), R"({"anyOf":[{"type":"string"},{"type":"array","items":)"
                                          R"({"type":"array","items":{"type":"integer"}}}]})");
}

TEST(Shape, OptionalMembersMayBeNull) {
  constexpr FieldRow kFields[] = {
      {"a", "string", kRequired}, {"b", "integer"}, {"c", "any"}, {"d", "'x'|'y'"}};
  EXPECT_EQ(to_json(schema_of(ObjectShape{"T", kFields})),
            R"({"type":"object","properties":{"a":{"type":"string"},)"
            R"("b":{"type":["integer","null"]},"c":{},)"
            R"("d":{"anyOf":[{"const":"x"},{"const":"y"},{"type":"null"}]}},"required":["a"]})");
}

TEST(Shape, ParametersBringTheirRange) {
  const json::object body = schema_of_body(shapes::kChatCompletions);
  const json::object& members = body.if_contains("properties")->get_object();
  EXPECT_EQ(to_json(members.at("temperature")),
            R"({"type":["number","null"],"minimum":0,"maximum":100})");
  EXPECT_EQ(to_json(members.at("stream")), R"({"type":["boolean","null"]})");
  EXPECT_TRUE(members.contains("top_logprobs"));
  EXPECT_TRUE(members.contains("messages"));
}

TEST(Shape, EveryNameIsDefinedOnce) {
  std::set<std::string> defined;
  std::set<std::string> used;
  const std::function<void(const json::value&)> collect = [&](const json::value& value) {
    if (value.is_array()) {
      for (const json::value& entry : value.get_array()) collect(entry);
    } else if (value.is_object()) {
      for (const auto& member : value.get_object()) {
        if (member.key() == "$ref") used.insert(std::string(member.value().get_string()));
        collect(member.value());
      }
    }
  };
  for (const auto& list : all_objects()) {
    for (const ObjectShape& object : list) {
      EXPECT_TRUE(defined.insert("#/components/schemas/" + std::string(object.name)).second)
          << object.name;
      collect(schema_of(object));
    }
  }
  for (const std::string& name : used) EXPECT_TRUE(defined.contains(name)) << name;
}

TEST(Shape, UnknownMembersAreNamed) {
  auto body = parse_json(R"({"prompt": "a", "temperature": 1, "stop": null})");
  EXPECT_FALSE(check_known(shapes::kCompletions, body.value().get_object()));
  body = parse_json(R"({"prompt": "a", "temprature": 1})");
  const Checked problem = check_known(shapes::kCompletions, body.value().get_object());
  ASSERT_TRUE(problem);
  EXPECT_EQ(problem->param, "temprature");
  EXPECT_EQ(problem->status, 400);
}

}  // namespace
}  // namespace hadal
