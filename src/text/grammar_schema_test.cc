#include <iterator>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "text/grammar/testing/grammar_fixture.h"
#include "text/grammar/testing/schema_maker.h"
#include "text/grammar/testing/schema_validator.h"

// JSON Schema as grammars: each keyword with values that are valid and ones that are not, errors
// with their places, and generated schemas whose sampled outputs an independent validator judges.

namespace hadal {
namespace {

using testing::matches;
using testing::parsed;
using testing::problem;
using testing::random_text;
using testing::schema;
using testing::SchemaMaker;
using testing::SchemaValidator;
using testing::start;
using testing::WalkOptions;

struct Case {
  const char* schema;
  std::vector<const char*> good, bad;
};

void expect_cases(std::span<const Case> cases) {
  for (const Case& c : cases) {
    const auto grammar = schema(c.schema);
    ASSERT_TRUE(grammar.ok()) << c.schema << ": " << grammar.error().text();
    for (const char* text : c.good) EXPECT_TRUE(matches(grammar, text)) << c.schema << "\n" << text;
    for (const char* text : c.bad) EXPECT_FALSE(matches(grammar, text)) << c.schema << "\n" << text;
  }
}

TEST(GrammarSchemaTest, TypesAndConstants) {
  // Goal: type, enum, const, nullable and boolean schemas.
  const Case cases[] = {
      {R"({"type":"integer"})", {"0", "-12", " 7", "\n5"}, {"01", "1.0", "-", "\"1\"", "+1", "1 "}},
      {R"({"type":"number"})", {"0", "-1.5", "1e5", "2.5E-7"}, {"1.", ".5", "1e", "NaN", "00"}},
      {R"({"type":"boolean"})", {"true", "false"}, {"True", "null"}},
      {R"({"type":"null"})", {"null"}, {"\"null\"", ""}},
      {R"({"type":["string","null"]})", {"\"x\"", "null"}, {"1"}},
      {R"({"type":["integer","number"]})", {"1", "1.5"}, {"true"}},
      {R"({"enum":["a",1,null,{"b":[true]},2.5]})",
       {"\"a\"", "1", "null", "{\"b\":[true]}", "2.5"},
       {"\"b\"", "2", "{}"}},
      {R"({"type":"string","enum":["a",1,"bb"],"minLength":2})", {"\"bb\""}, {"\"a\"", "1"}},
      {R"({"enum":["ab","cd","a1"],"pattern":"^[a-z]+$"})", {"\"ab\""}, {"\"a1\""}},
      {R"({"enum":[1,5,9],"minimum":3,"maximum":7})", {"5"}, {"1", "9"}},
      {R"({"const":"x\"\n"})", {"\"x\\\"\\n\""}, {"\"x\""}},
      {R"({"type":"string","nullable":true})", {"null", "\"\""}, {"0"}},
      {R"(true)", {"1", "{\"a\": [1, 2, {}]}", "[[]]", "\"\""}, {"{\"a\"}", "[1,]", "tru"}},
      {R"({})", {"1", "[]"}, {""}},
      {R"({"title":"T","description":"D","default":1,"examples":[2],"x-mine":3,"type":"null"})",
       {"null"},
       {"1"}},
  };
  expect_cases(cases);
}

TEST(GrammarSchemaTest, Strings) {
  // Goal: escapes, code points as the unit of length, patterns and their escaping, formats.
  const Case cases[] = {
      {R"({"type":"string"})",
       {R"("")", R"("a\"b\\\/\b\f\n\r\t")", R"("\u00e9\uD83D\ude00")", "\"\xF0\x9F\x98\x80\""},
       {"\"\n\"", R"("\x")", R"("\uD83D")", R"("\uDE00")", R"("\uD83Dx")", "\"\xC3\"", "\"\x80\"",
        "\"a", "a"}},
      {R"({"type":"string","minLength":2,"maxLength":3})",
       {R"("ab")", R"("abc")", "\"\xC3\xA9\xF0\x9F\x98\x80\"", R"("\n\uD83D\uDE00")"},
       {R"("a")", R"("abcd")", R"("\n")", "\"\xC3\xA9\""}},
      {R"({"type":"string","maxLength":0})", {R"("")"}, {R"("a")"}},
      {R"({"type":"string","pattern":"^[a-z]{2,40}$"})", {R"("ab")"}, {R"("a")", R"("A1")"}},
      {R"({"type":"string","pattern":"b+"})",
       {R"("b")", R"("abba")", R"("x\nb")"},
       {R"("a")", R"("")"}},
      {R"({"type":"string","pattern":"^\"\\\\/\n$"})",
       {R"("\"\\/\n")", R"("\"\\\/\n")"},
       {R"("")"}},
      {R"({"type":"string","pattern":"^a|b$"})", {R"("ax")", R"("xb")"}, {R"("xax")"}},
      {R"({"type":"string","pattern":"^a*$","minLength":2,"maxLength":3})",
       {R"("aa")", R"("aaa")"},
       {R"("a")", R"("aaaa")"}},
      {R"({"type":"string","pattern":"^(ab)*$","minLength":3,"maxLength":5})",
       {R"("abab")"},
       {R"("ab")", R"("ababab")"}},
      {R"({"type":"string","format":"date"})",
       {R"("2024-02-29")", R"("1999-12-31")"},
       {R"("2023-02-29")", R"("2024-13-01")", R"("2024-1-1")", R"("1900-02-29")"}},
      {R"({"type":"string","format":"time"})",
       {R"("12:00:00Z")", R"("23:59:59.5+01:00")"},
       {R"("24:00:00Z")", R"("12:00")"}},
      {R"({"type":"string","format":"date-time"})",
       {R"("2024-02-29T00:00:00Z")"},
       {R"("2024-02-29")"}},
      {R"({"type":"string","format":"duration"})",
       {R"("P1DT2H")", R"("PT5S")", R"("P3W")"},
       {R"("P")", R"("P1DT")", R"("P1H")"}},
      {R"({"type":"string","format":"uuid"})",
       {R"("123e4567-e89b-12d3-a456-426614174000")"},
       {R"("123e4567e89b12d3a456426614174000")"}},
      {R"({"type":"string","format":"email"})",
       {R"("a.b+c@mail.example.org")"},
       {R"("a@b@c.org")", R"("a@-b.org")", R"("a@b")", R"(".a@b.org")"}},
      {R"({"type":"string","format":"hostname"})",
       {R"("a-1.example.org")"},
       {R"("-a")", R"("a..b")"}},
      {R"({"type":"string","format":"ipv4"})",
       {R"("255.0.10.199")"},
       {R"("256.1.1.1")", R"("1.1.1")"}},
      {R"({"type":"string","format":"ipv6"})",
       {R"("::1")", R"("fe80::1:2")", R"("1:2:3:4:5:6:7:8")"},
       {R"("1:2:3")", R"("1::2::3")", R"("12345::")"}},
      {R"({"type":"string","format":"uri"})",
       {R"("https://example.org:80/a/b?q=1#f")", R"("mailto:a@b.org")"},
       {R"("example")", R"("http://a b")"}},
      {R"({"type":"string","format":"something-else","maxLength":2})", {R"("ab")"}, {R"("abc")"}},
      {R"({"minLength":1})", {R"("a")"}, {"1", R"("")"}},
  };
  expect_cases(cases);
}

TEST(GrammarSchemaTest, Numbers) {
  // Goal: bounds at, below and above, whole and broken, both signs; multiples.
  const Case cases[] = {
      {R"({"type":"integer","minimum":-3,"maximum":12})",
       {"-3", "0", "7", "12", "-1"},
       {"-4", "13", "100", "1.5"}},
      {R"({"type":"integer","exclusiveMinimum":9,"exclusiveMaximum":101})",
       {"10", "99", "100"},
       {"9", "101", "1000", "0"}},
      {R"({"type":"integer","minimum":0.5,"maximum":2.5})", {"1", "2"}, {"0", "3"}},
      {R"({"type":"integer","maximum":-5})", {"-5", "-99"}, {"-4", "0", "5"}},
      {R"({"type":"integer","minimum":1000})", {"1000", "99999"}, {"999", "-1000"}},
      {R"({"type":"number","minimum":0,"maximum":1})",
       {"0", "0.5", "1", "1.0", "0.999"},
       {"1.01", "-0.5", "2", "5e-1"}},
      {R"({"type":"number","exclusiveMinimum":0,"exclusiveMaximum":1})",
       {"0.001", "0.5", "0.99"},
       {"0", "0.0", "1", "1.0"}},
      {R"({"type":"number","minimum":-1.25,"maximum":3.75})",
       {"-1.25", "-1.2", "-0.5", "0", "3.75", "3.7", "3.750"},
       {"-1.26", "-2", "3.76", "3.8", "4"}},
      {R"({"type":"number","minimum":0,"exclusiveMinimum":true})", {"0.1"}, {"0"}},
      {R"({"type":"integer","multipleOf":7})", {"0", "7", "-14", "21"}, {"1", "8"}},
      {R"({"type":"number","multipleOf":0.01})", {"1.25", "3", "0.1"}, {"0.125"}},
      {R"({"type":"integer","multipleOf":1000})", {"0", "5000", "-12000"}, {"500", "5001"}},
      {R"({"type":"integer","multipleOf":5,"minimum":8,"maximum":21})",
       {"10", "15", "20"},
       {"5", "25", "8"}},
      {R"({"type":"number","maximum":1e300})", {"5"}, {}},
  };
  expect_cases(cases);
}

TEST(GrammarSchemaTest, Objects) {
  // Goal: order, optional and required properties, other keys, counts, layouts.
  const Case cases[] = {
      {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"null"},
          "c":{"type":"null"}},"required":["b"]})",
       {R"({"b":null})", R"({"a": 1, "b": null})", R"({"b":null,"c":null})",
        "{\n  \"a\": 1,\n  \"b\": null\n}"},
       {R"({})", R"({"a":1})", R"({"b":null,"a":1})", R"({"b":null,})", R"({"b":null,"d":1})",
        R"({"b":null)", R"({"b" :null})", R"({"b":null  })"}},
      {R"({"type":"object","properties":{"a":{"type":"null"}}})",
       {"{}", R"({"a":null})"},
       {R"({"z":1})"}},
      {R"({"type":"object","properties":{}})", {"{}"}, {R"({"a":1})"}},
      {R"({"type":"object"})", {"{}", R"({"a":{"b":[]},"c":1})"}, {"[]"}},
      {R"({"type":"object","properties":{"a":{"type":"null"}},
          "additionalProperties":{"type":"integer"}})",
       {R"({"a":null,"b":1,"aa":2})", R"({"x":1})", "{}"},
       {R"({"a":1})", R"({"b":null})"}},
      {R"({"type":"object","additionalProperties":false})", {"{}"}, {R"({"a":1})"}},
      {R"({"type":"object","required":["k"],"additionalProperties":{"type":"integer"}})",
       {R"({"k":1})"},
       {"{}", R"({"k":null})"}},
      {R"({"type":"object","additionalProperties":{"type":"null"},"minProperties":1,
          "maxProperties":2})",
       {R"({"a":null})", R"({"a":null,"b":null})"},
       {"{}", R"({"a":null,"b":null,"c":null})"}},
      {R"({"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"},
          "c":{"type":"null"}},"minProperties":2,"maxProperties":2})",
       {R"({"a":null,"c":null})", R"({"b":null,"c":null})"},
       {R"({"a":null})", R"({"a":null,"b":null,"c":null})", "{}"}},
      {R"({"type":"object","patternProperties":{"^n_":{"type":"integer"},
          "^s_":{"type":"string"}}})",
       {R"({"n_x":1,"s_y":"z"})", "{}"},
       {R"({"n_x":"z"})", R"({"q":1})"}},
      {R"({"type":"object","properties":{"n_a":{"minimum":5}},
          "patternProperties":{"^n_":{"type":"integer"}}})",
       {R"({"n_a":6,"n_b":1})"},
       {R"({"n_a":4})", R"({"n_a":5.5})"}},
      {R"({"type":"object","propertyNames":{"pattern":"^[a-z]+$"},
          "additionalProperties":{"type":"null"}})",
       {R"({"ab":null})"},
       {R"({"A":null})"}},
      {R"({"properties":{"a\"/~":{"type":"null"}}})", {R"({"a\"/~":null})"}, {"1"}},
  };
  expect_cases(cases);
  JsonGrammarOptions compact{JsonLayout::kCompact};
  const auto grammar = schema(cases[0].schema, compact);
  EXPECT_TRUE(matches(grammar, R"({"a":1,"b":null})"));
  EXPECT_FALSE(matches(grammar, R"({"a": 1,"b":null})"));
}

TEST(GrammarSchemaTest, Arrays) {
  // Goal: items, tuples and counts.
  const Case cases[] = {
      {R"({"type":"array","items":{"type":"integer"}})",
       {"[]", "[1]", "[1, 2,3]"},
       {"[1,]", "[\"a\"]", "[,1]"}},
      {R"({"type":"array","items":{"type":"null"},"minItems":2,"maxItems":3})",
       {"[null,null]", "[null,null,null]"},
       {"[]", "[null]", "[null,null,null,null]"}},
      {R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"}},
      {R"({"type":"array"})", {"[]", "[1,{\"a\":[]}]"}, {"{}"}},
      {R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"null"}]})",
       {"[]", "[1]", "[1,null]"},
       {"[null]", "[1,null,2]"}},
      {R"({"type":"array","prefixItems":[{"type":"integer"}],"items":{"type":"null"},
          "minItems":2})",
       {"[1,null]", "[1,null,null]"},
       {"[1]", "[1,2]"}},
      {R"({"type":"array","items":[{"type":"integer"}],"additionalItems":false})",
       {"[1]", "[]"},
       {"[1,2]"}},
      {R"({"type":"array","items":false})", {"[]"}, {"[1]"}},
      {R"({"type":"array","items":{"type":"null"},"uniqueItems":false})", {"[null,null]"}, {}},
      {R"({"type":"array","items":{"type":"null"},"maxItems":1,"uniqueItems":true})",
       {"[null]"},
       {}},
  };
  expect_cases(cases);
}

TEST(GrammarSchemaTest, ReferencesAndCombinations) {
  // Goal: $ref in its forms, recursion, anyOf, oneOf, allOf and what stands beside them.
  const Case cases[] = {
      {R"({"$defs":{"a/b":{"type":"integer"}},"$ref":"#/$defs/a~1b"})", {"1"}, {"null"}},
      {R"({"definitions":{"x":{"type":"null"}},"properties":{"p":{"$ref":"#/definitions/x"}}})",
       {R"({"p":null})"},
       {R"({"p":1})"}},
      {R"({"type":"object","properties":{"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},
          "required":["next"]})",
       {R"({"next":{"next":null}})"},
       {R"({"next":{}})"}},
      {R"({"$defs":{"t":{"type":"array","items":{"$ref":"#/$defs/t"}}},"$ref":"#/$defs/t"})",
       {"[]", "[[],[[]]]"},
       {"[1]"}},
      {R"({"$defs":{"n":{"type":"integer"}},"$ref":"#/$defs/n","minimum":5})", {"5"}, {"4"}},
      {R"({"anyOf":[{"type":"integer"},{"type":"string"}]})", {"1", "\"\""}, {"null"}},
      {R"({"oneOf":[{"const":1},{"const":2}],"description":"d"})", {"1", "2"}, {"3"}},
      {R"({"type":"integer","anyOf":[{"maximum":1},{"minimum":5}]})", {"0", "7"}, {"3", "null"}},
      {R"({"allOf":[{"type":"integer"},{"minimum":3},{"maximum":9,"minimum":1}]})",
       {"3", "9"},
       {"2", "10"}},
      {R"({"allOf":[{"properties":{"a":{"type":"null"}},
          "required":["a"]},{"properties":{"b":{"type":"null"}}}]})",
       {R"({"a":null,"b":null})", R"({"a":null})"},
       {"{}"}},
      {R"({"$defs":{"base":{"type":"object","properties":{"a":{"type":"integer"}}}},
          "allOf":[{"$ref":"#/$defs/base"},{"properties":{"a":{"maximum":3}},"required":["a"]}]})",
       {R"({"a":2})"},
       {R"({"a":4})", "{}"}},
      {R"({"allOf":[{"type":["string","number"]},{"type":["integer","null"]}]})",
       {"1"},
       {"1.5", "null", "\"\""}},
      {R"({"allOf":[{"enum":[1,2,3]},{"enum":[2,3,4]}]})", {"2"}, {"1", "4"}},
      {R"({"allOf":[{"type":"string","pattern":"^a"},{"pattern":"z$"}]})",
       {R"("az")", R"("abz")"},
       {R"("a")"}},

      {R"({"allOf":[{"anyOf":[{"type":"integer"},{"type":"null"}]},
          {"anyOf":[{"type":"integer"},{"type":"string"}]}]})",

       {"1"},
       {"null", "\"\""}},
      {R"({"allOf":[{"multipleOf":4},{"multipleOf":6}]})", {"12", "24"}, {"4", "6"}},
      {R"({"allOf":[{"additionalProperties":false,
          "properties":{"a":{"type":"null"}}},{"properties":{"b":{"type":"null"}}}]})",
       {R"({"a":null})"},
       {R"({"b":null})"}},
  };
  expect_cases(cases);
}

TEST(GrammarSchemaTest, KeywordsOfSeveralSchemasHoldTogether) {
  // Goal: nothing is written that one schema of several allows and another does not.
  const Case cases[] = {
      {R"({"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"}},
          "oneOf":[{"required":["a"]},{"required":["b"]}]})",
       {R"({"a":null})", R"({"b":null})"},
       {R"({"a":null,"b":null})", "{}"}},
      {R"({"oneOf":[{"type":"object","properties":{"k":{"const":"x"},"v":{"type":"null"}},
          "required":["k"]},{"type":"object","properties":{"k":{"enum":["y","z"]}},
          "required":["k"]},{"type":["string","null"]}]})",
       {R"({"k":"x","v":null})", R"({"k":"z"})", "null", R"("x")"},
       {R"({"k":"y","v":null})", R"({"k":"q"})"}},
      {R"({"oneOf":[{"type":"object","properties":{"a":{}},"required":["a"]},
          {"type":"object","properties":{"b":{}},"required":["b"]}]})",
       {R"({"a":1})", R"({"b":1})"},
       {"{}", R"({"a":1,"b":1})"}},
      {R"({"type":"integer","oneOf":[{"exclusiveMaximum":0},{"minimum":0}]})",
       {"-1", "0"},
       {"null"}},
      {R"({"oneOf":[{"type":"integer","maximum":3},{"type":"integer","minimum":4}]})",
       {"3", "4"},
       {"null"}},
      {R"({"allOf":[{"prefixItems":[{"minimum":3}]},{"items":{"type":"integer","minimum":5}}]})",
       {"[5]", "[5,6]"},
       {"[4]", "[5,4]"}},
      {R"({"allOf":[{"items":[{"type":"integer"}]},{"items":{"minimum":5}}]})", {"[5]"}, {"[4]"}},
      {R"({"allOf":[{"properties":{"a":{"type":"null"},"xa":{"type":"null"}}},
          {"patternProperties":{"^x":{}},"additionalProperties":false}]})",
       {R"({"xa":null})"},
       {R"({"a":null})"}},
      {R"({"allOf":[{"patternProperties":{"^x":{"type":"integer"}}},
          {"additionalProperties":{"minimum":5}}]})",
       {R"({"x":5})"},
       {R"({"x":4})"}},
      {R"({"type":"object","unevaluatedProperties":false})", {"{}"}, {R"({"a":1})"}},
      {R"({"allOf":[{"prefixItems":[{},{}]},{"prefixItems":[{}],"unevaluatedItems":false}]})",
       {"[1]"},
       {"[1,2]"}},
      {R"({"type":"array","unevaluatedItems":{"type":"null"}})", {"[null]"}, {"[1]"}},
      {R"({"allOf":[{"properties":{"a":{}}},{"unevaluatedProperties":false}]})",
       {"{}"},
       {R"({"a":1})"}},
      {R"({"properties":{"ab":{},"abc":{}},"propertyNames":{"maxLength":2}})",
       {R"({"ab":1})"},
       {R"({"abc":1})"}},
      {R"({"type":"object","propertyNames":false})", {"{}"}, {R"({"a":1})"}},
      {R"({"type":"object","propertyNames":{"enum":["a","b"]}})",
       {R"({"a":1,"b":2})"},
       {R"({"c":1})"}},
      {R"({"enum":[1,2,3,4.5],"multipleOf":2})", {"2"}, {"1", "3", "4.5"}},
      {R"({"type":"number","exclusiveMaximum":100})",
       {"99.99999999999"},
       {"99.99999999999999999", "100"}},
      {R"({"type":"object","additionalProperties":{},"properties":{"a":{}},"minProperties":2})",
       {R"({"a":1,"b":2})"},
       {R"({"b":1,"b":2})", R"({"b":1,"c":2})"}},
  };
  expect_cases(cases);
  // Tools that are not strict had rather have the options than none.
  EXPECT_TRUE(matches(
      schema(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", {.one_of_may_overlap = true}),
      "1"));
}

TEST(GrammarSchemaTest, WhatIsRefusedIsNamedWithItsPlace) {
  // Goal: no keyword that limits values is silently ignored.
  const std::pair<const char*, const char*> cases[] = {
      {R"({"not":{"type":"null"}})", "at the root: the keyword \"not\""},
      {R"({"properties":{"a/b":{"if":{},"then":{}}}})", "at /properties/a~1b: the keyword \"if\""},
      {R"({"items":{"dependentRequired":{}}})", "at /items: the keyword \"dependentRequired\""},
      {R"({"type":"array","uniqueItems":true})", "\"uniqueItems\""},
      {R"({"type":"array","contains":{}})", "\"contains\""},
      {R"x({"properties":{"x":{"type":"string","pattern":"(?=a)"}}})x",
       "at /properties/x: pattern, offset 0"},
      {R"({"$ref":"http://example.org/x"})", "is not a pointer into this schema"},
      {R"({"items":{"$ref":"#/$defs/no"}})", "at /items: $ref \"#/$defs/no\" points to nothing"},
      {R"({"type":"thing"})", "type \"thing\""},
      {R"({"type":"object","properties":[]})", "properties is not an object"},
      {R"({"type":"object","required":"a"})", "required is not an array"},
      {R"({"type":"string","minLength":3,"maxLength":1})", "no length is allowed"},
      {R"({"type":"array","minItems":3,"maxItems":1})", "no number of items"},
      {R"({"type":"object","required":["a"],"additionalProperties":false})",
       "\"a\" is not allowed"},
      {R"({"type":"integer","minimum":5,"maximum":4})", "no text matches"},
      {R"({"type":"integer","minimum":"5"})", "minimum is not a number"},
      {R"({"type":"number","multipleOf":0.3})", "multipleOf is supported for"},
      {R"({"anyOf":[]})", "anyOf is not an array of schemas"},
      {R"({"$defs":{"a":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"})", "no text matches"},
      {R"({"$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"}]}},"$ref":"#/$defs/a"})", "refer"},
      {R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", "left-recursive"},
      {R"(false)", "no text matches"},
      {R"(3)", "a schema is an object"},
      {R"({"allOf":[{"format":"date"},{"format":"time"}]})", "two different values of format"},
      {R"({"oneOf":[{"type":"integer"},{"minimum":2}]})", "option 0 and option 1 of oneOf"},
      {R"({"type":"object","minProperties":2})", "keys differ is not enforced"},
      {R"({"type":"object","enum":[{"a":1}],"required":["b"]})", "enum of objects"},
      {R"({"properties":{"a":{"$id":"http://x/y","$ref":"#/$defs/b"}}})", "$id of its own"},
      {R"({"required":["abc"],"propertyNames":{"maxLength":2}})", "not allowed by propertyNames"},
      {R"({"allOf":[{"unevaluatedItems":false,"anyOf":[{"prefixItems":[{}]}]}]})",
       "unevaluatedItems beside anyOf"},
  };
  for (const auto& [text, message] : cases) {
    const std::string found = problem(schema(text));
    EXPECT_NE(found.find(message), std::string::npos) << text << ": " << found;
  }
}

TEST(GrammarSchemaTest, AnyValueIsBoundedInDepth) {
  // Goal: json_object mode takes every layout and stops nesting where readers do.
  EXPECT_TRUE(
      matches(Grammar::json_object(), "{\"a\": {\"b\": [1, 2.5e3, {}, []]}, \"c\": \"\\u00e9\"}"));
  EXPECT_FALSE(matches(Grammar::json_object(), "[1]"));
  EXPECT_FALSE(matches(Grammar::json_object(), "{\"a\":1} "));
  EXPECT_TRUE(matches(Grammar::json_value(), "[[[[[[[[\"x\"]]]]]]]]"));
  EXPECT_FALSE(matches(Grammar::json_value(), std::string(100, '[')));
}

TEST(GrammarSchemaTest, SampledOutputsOfGeneratedSchemasAreValid) {
  // Goal: whatever tokens chance takes from the masks, the output parses and an independent
  // validator finds it valid; and no walk runs into a dead end.
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    const json::value made = SchemaMaker(seed).make(3);
    const auto grammar = Grammar::from_json_schema(made);
    ASSERT_TRUE(grammar.ok()) << to_json(made) << grammar.error().text();
    auto matcher = start(grammar);
    ASSERT_TRUE(matcher.ok()) << to_json(made) << matcher.error().text();
    const std::string text = random_text(std::move(matcher).value(), seed, {});
    const auto value = parse_json(text);
    ASSERT_TRUE(value.ok()) << to_json(made) << "\n" << text << "\n" << value.error().text();
    ASSERT_TRUE(SchemaValidator(made).valid(made, value.value())) << to_json(made) << "\n" << text;
    ASSERT_TRUE(matches(grammar, text)) << text;  // token by token equals byte by byte
  }
}

TEST(GrammarSchemaTest, MasksEqualTheirTwinOnGeneratedSchemas) {
  // Goal: the same with every mask compared to asking each token.
  WalkOptions options;
  options.check_every = 1;
  options.free_tokens = 25;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const auto grammar = Grammar::from_json_schema(SchemaMaker(seed + 5000).make(3));
    ASSERT_TRUE(grammar.ok());
    random_text(std::move(start(grammar)).value(), seed, options);
  }
}

TEST(GrammarSchemaTest, GrammarsOfOneVocabularyMayBeMadeInThreads) {
  // Goal: automata and masks that grammars share are locked: answers made in threads are those made
  // one after the other (see ./dev tsan).
  constexpr uint64_t kSeeds = 24;
  const auto answer = [](uint64_t seed) {
    auto matcher = start(Grammar::from_json_schema(SchemaMaker(seed + 7000).make(3)));
    EXPECT_TRUE(matcher.ok()) << seed;
    return matcher.ok() ? random_text(std::move(matcher).value(), seed, {}) : std::string();
  };
  std::vector<std::vector<std::string>> made(4, std::vector<std::string>(kSeeds));
  std::vector<std::thread> threads;
  for (std::vector<std::string>& mine : made) {
    threads.emplace_back([&mine, &answer] {
      for (uint64_t seed = 0; seed < kSeeds; ++seed) mine[seed] = answer(seed);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const std::string alone = answer(seed);
    for (const std::vector<std::string>& mine : made) EXPECT_EQ(mine[seed], alone) << seed;
  }
}

}  // namespace
}  // namespace hadal
