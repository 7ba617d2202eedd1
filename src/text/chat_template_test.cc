#include "text/chat_template.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "base/json.h"

namespace hadal {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

json::array testdata(const std::string& name) {
  const std::filesystem::path root = HADAL_SOURCE_DIR;
  const auto parsed = parse_json(read_file((root / "src/text/testdata" / name).string()));
  if (!parsed.ok()) {
    ADD_FAILURE() << name << ": " << parsed.error().text();
    return {};
  }
  return parsed.value().as_array();
}

const json::value& field(const json::value& value, std::string_view name) {
  const json::value* found = value.get_object().if_contains(name);
  CHECK(found != nullptr);
  return *found;
}

std::string text_of(const json::value& value) {
  return {value.as_string().data(), value.as_string().size()};
}

TemplateOptions options() {
  TemplateOptions out;
  out.bos_token = "<s>";
  out.eos_token = "</s>";
  out.unix_seconds = 1700000000;
  return out;
}

Result<MarkedText> render(std::string_view source, const json::object& variables) {
  TRY(const ChatTemplate parsed, ChatTemplate::parse(source));
  return parsed.render(variables, options());
}

json::object variables(std::string_view text) {
  return parse_json(text).value().as_object();
}

/// Output, or "error: ..." for messages in failures.
std::string shown(const Result<MarkedText>& result) {
  return result.ok() ? result.value().bytes : "error: " + result.error().message;
}

// Goal: every construct gives what jinja2 gives, or fails where jinja2 fails.
TEST(ChatTemplate, EqualsJinja2) {
  const json::array vectors = testdata("template_vectors.json");
  ASSERT_GT(vectors.size(), 5000u);
  const json::object& given = field(vectors[0], "variables").as_object();
  for (size_t i = 1; i < vectors.size(); ++i) {
    const json::value& vector = vectors[i];
    const std::string source = text_of(field(vector, "source"));
    const Result<MarkedText> result = render(source, given);
    if (const json::value* error = vector.get_object().if_contains("error")) {
      EXPECT_FALSE(result.ok()) << source << "\n gave: " << shown(result)
                                << "\n jinja2: " << text_of(*error);
      continue;
    }
    EXPECT_TRUE(result.ok() && result.value().bytes == text_of(field(vector, "output")))
        << source << "\n gave: " << shown(result)
        << "\n jinja2: " << text_of(field(vector, "output"));
    if (result.ok()) {
      EXPECT_EQ(result.value().origin.size(), result.value().bytes.size()) << source;
    }
  }
}

/// Length and FNV-1a, as tools/make_template_vectors.py writes them.
std::string digest(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (char byte : text) hash = (hash ^ static_cast<uint8_t>(byte)) * 0x100000001B3ULL;
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), "%zu:%016llx", text.size(),
                static_cast<unsigned long long>(hash));
  return buffer;
}

// Goal: the shared model templates, over all conversations and settings, as jinja2 renders them.
TEST(ChatTemplate, ModelTemplatesEqualJinja2) {
  const std::filesystem::path root = HADAL_SOURCE_DIR;
  const std::filesystem::path directory = root / "../shared/data/templates";
  if (!std::filesystem::exists(directory)) {
    GTEST_SKIP() << "SKIPPED: no model templates at ../shared/data/templates, which lie beside a "
                    "developer's checkout only; the templates of testdata/ are tested";
  }
  const json::array conversations = testdata("template_conversations.json");
  const json::array rows = testdata("template_digests.json");
  ASSERT_GE(conversations.size(), 300u);
  ASSERT_EQ(rows.size(), 9u);
  for (const json::value& row : rows) {
    const std::string name = text_of(field(row, "template"));
    const std::string source = read_file((directory / name).string());
    ASSERT_EQ(digest(source), text_of(field(row, "source"))) << name;
    const auto parsed = ChatTemplate::parse(source);
    ASSERT_TRUE(parsed.ok()) << name << ": " << parsed.error().text();
    const json::value& outputs = field(row, "outputs");
    for (const json::value& conversation : conversations) {
      const std::string title = text_of(field(conversation, "name"));
      const auto result =
          parsed.value().render(field(conversation, "variables").as_object(), options());
      EXPECT_EQ(result.ok() ? digest(result.value().bytes) : "error",
                text_of(field(outputs, title)))
          << name << ", " << title << ": " << shown(result);
    }
  }
}

/// The bytes that came from the caller, other bytes as '.'.
std::string caller_bytes(const Result<MarkedText>& result) {
  if (!result.ok()) return "error: " + result.error().message;
  std::string out;
  for (size_t i = 0; i < result.value().bytes.size(); ++i) {
    const bool caller = result.value().origin[i] == MarkedText::kCaller;
    out.push_back(caller ? result.value().bytes[i] : '.');
  }
  return out;
}

// Goal: each byte's origin survives every way a template may handle text.
TEST(ChatTemplate, RemembersTheCallersBytes) {
  const json::object given = variables(
      R"({"u":" <x>y ","n":12,"l":["a","b"],"d":{"k":"v"},"m":[{"role":"user","content":"hi"}]})");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"<x>{{ u }}<x>", "... <x>y ..."},
      {"{{ bos_token ~ u|trim }}", "...<x>y"},
      {"{{ '<' + u.strip() + '>' }}", ".<x>y."},
      {"{{ u[1:4] ~ '<x>' }}", "<x>..."},
      {"{{ ('<x>' + u)|upper }}", "... <X>Y "},
      {"{{ u|replace('y', '<x>') }}", " <x>... "},
      {"{{ '<x>|'|replace('|', l[0]) }}", "...a"},
      {"{{ ('<x>' ~ u).split('>')|join('|') }}", "... <x.y "},
      {"{{ l|join('-') }}", "a.b"},
      {"{{ l|tojson }}", "[\"a\", \"b\"]"},
      {"{{ [l[0], 'z']|tojson }}", ".\"a\"......"},
      {"{{ d }}{{ {'a': d.k} }}", "{'k': 'v'}......'v'."},
      {"{{ '%s<x>' % l[1] }}", "b..."},
      {"{{ '{}<x>'.format(n) }}", "12..."},
      {"{{ n + 1 }}", "13"},
      {"{{ 1 + 1 }}{{ l|length }}", ".."},
      {"{% for c in l %}{{ c }}{{ loop.index }}{% endfor %}", "a.b."},
      {"{% set x %}<{{ l[0] }}>{% endset %}{{ x }}", ".a."},
      {"{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(l[0]) }}", ".a."},
      {"{% set ns = namespace(s='') %}{% for i in l %}{% set ns.s = ns.s ~ '<' ~ i %}{% endfor %}"
       "{{ ns.s }}",
       ".a.b"},
      {"{% for k, v in d.items() %}{{ k }}={{ v }}{% endfor %}", "k.v"},
      {"{{ m[0].role|upper }}:{{ m[0]['content']|title }}", "USER.Hi"},
      {"{{ '{\"a\": \"<x>\"}'|from_json|tojson }}", "............"},
      {"{{ (l|map('upper')|list)[::-1]|join }}", "BA"},
      {"{{ 'ab'|indent(first=true) }}{{ l[0]|indent(first=true) }}", "..........a"},
  };
  for (const auto& [source, expected] : cases) {
    EXPECT_EQ(caller_bytes(render(source, given)), expected) << source;
  }
}

// Goal: values of the request go before our own, ours before nothing.
TEST(ChatTemplate, TokensComeFromOptionsUnlessGiven) {
  EXPECT_EQ(shown(render("{{ bos_token }}{{ eos_token }}", {})), "<s></s>");
  EXPECT_EQ(shown(render("{{ bos_token }}", variables(R"({"bos_token":"B"})"))), "B");
  EXPECT_EQ(shown(render("{{ strftime_now('%Y') }}", {})), "2023");
}

// Goal: errors name the line and the cause.
TEST(ChatTemplate, ErrorsNameTheLine) {
  EXPECT_EQ(shown(render("a\n{{ x.y }}", {})), "error: template line 2: 'x' is undefined");
  EXPECT_EQ(shown(render("{% if 1 %}\n\n{{ raise_exception('no tools') }}{% endif %}", {})),
            "error: template line 3: no tools");
  EXPECT_EQ(shown(render("\n{% nosuch %}", {})), "error: template line 2: unknown tag 'nosuch'");
  EXPECT_EQ(render("{% include 'x' %}", {}).error().code, Code::kUnsupported);
}

std::string repeated(std::string_view text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

// Goal: hostile templates end in an error that says what ran out (R-JINJA-1).
TEST(ChatTemplate, HostileTemplatesAreBounded) {
  const json::object given = variables(R"({"s":"aaaaaaaaaaaaaaaa","l":[1,2,3]})");
  const std::string big = "{% set x = 'aaaaaaaaaaaaaaaa' * 1000000 %}";
  const std::vector<std::string> sources = {
      "{% for i in range(10**9) %}x{% endfor %}",
      "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
      "{{ 'a' * 10**9 }}",
      "{{ [1] * 10**9 }}",
      "{{ [[1] * 1000] * 10**9 }}",
      "{% set ns = namespace(s='a') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% "
      "endfor %}",
      "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% "
      "endfor %}",
      "{% set ns = namespace(s=[1]) %}{% for i in range(999) %}{% set ns.s = [ns.s] %}{% endfor %}",
      "{% set ns = namespace(s=(1,)) %}{% for i in range(150) %}{% set ns.s = (ns.s, ns.s) %}{% "
      "endfor %}"
      "{{ ns.s }}",
      "{% set ns = namespace(a=(1,), b=(1,)) %}{% for i in range(150) %}{% set ns.a = (ns.a, ns.a) "
      "%}"
      "{% set ns.b = (ns.b, ns.b) %}{% endfor %}{{ ns.a == ns.b }}{{ 1 }}{% for i in range(9) %}"
      "{{ i }}{% endfor %}",
      "{% set ns = namespace(n=2) %}{% for i in range(99) %}{% set ns.n = ns.n * ns.n %}{% endfor "
      "%}",
      "{{ 9 ** 9 ** 9 ** 9 }}",
      big + "{% for i in range(99) %}{{ x }}{% endfor %}",
      big + "{{ x|replace('a', x) }}",
      big + "{{ x|list }}",
      big + "{{ x.rfind('aaaaaaaaaaaaaaab' * 100000) }}",
      big + "{{ x.strip('b' * 1000000 + 'a') }}",
      big +
          "{% set y = x|urlencode %}{{ x|tojson|tojson|length }}{{ x|indent(99999, true) }}{{ x "
          "}}{{ x }}",
      "{{ '%999999999d' % 1 }}",
      "{{ '%.999999999f' % 1 }}",
      "{{ '{:999999999}'.format(1) }}",
      "{{ 'a'.ljust(999999999) }}",
      "{{ 'a'|center(999999999) }}",
      "{{ 'a'|indent(999999999, true) }}",
      "{{ l|batch(999999999, 1)|list }}",
      "{{ l|slice(999999999, 1)|list }}",
      "{{ l|tojson(indent=999999999) }}",
      "{{ 1|round(999999999) ~ l.x.y }}",
      "{% for x in [l] recursive %}{{ loop([x]) }}{% endfor %}",
      repeated("{% if 1 %}", 10000),
      repeated("{% for x in l %}", 10000),
      "{{ " + repeated("(", 10000),
      "{{ " + repeated("[", 10000),
      "{{ " + repeated("not ", 10000) + "1 }}",
      "{{ " + repeated("-", 10000) + "1 }}",
      "{{ s" + repeated(".a", 10000) + " }}",
      "{{ s" + repeated("|upper", 10000) + " }}",
      "{{ " + repeated("1 if 1 else ", 10000) + "1 }}",
      "{{ " + repeated("1 if ", 10000) + "1 }}",
      repeated("{{ 1 }}", 200000),
      "{% set " + repeated("(", 10000) + "x = 1 %}",
  };
  for (const std::string& source : sources) {
    const Result<MarkedText> result = render(source, given);
    EXPECT_FALSE(result.ok()) << source.substr(0, 100);
  }
}

// Goal: long flat chains are no nesting and are allowed.
TEST(ChatTemplate, LongChainsAreFine) {
  EXPECT_EQ(shown(render("{{ 0" + repeated(" + 1", 5000) + " }}", {})), "5000");
  EXPECT_EQ(shown(render("{{ ''" + repeated(" ~ 'a'", 5000) + " }}", {})), repeated("a", 5000));
  EXPECT_EQ(
      shown(render("{% if 0 %}" + repeated("{% elif 0 %}", 5000) + "{% else %}x{% endif %}", {})),
      "x");
}

// Goal: values that refer to each other in a circle are freed (the leak checker watches).
TEST(ChatTemplate, CirclesAreFreed) {
  const json::object given = variables(R"({"l":[1,[2]]})");
  EXPECT_EQ(
      shown(render("{% set ns = namespace() %}{% set ns.self = ns %}{% set ns.l = [ns] %}x", {})),
      "x");
  EXPECT_EQ(shown(render(
                "{% macro m() %}{{ k is defined }}{% endmacro %}{% set k = [m] %}{{ m() }}", {})),
            "True");
  EXPECT_EQ(shown(render("{% set ns = namespace() %}{% for y in l %}{% for x in l recursive %}"
                         "{% set ns.loop = loop %}{% endfor %}{% set q = ns.loop %}{% endfor %}y",
                         given)),
            "y");
  EXPECT_FALSE(render("{% set ns = namespace() %}{% set ns.self = ns %}{{ ns }}", {}).ok());
}

// Goal: one template may be rendered many times with different variables.
TEST(ChatTemplate, RendersAgain) {
  const auto parsed = ChatTemplate::parse("{{ x }}{% set x = 'changed' %}{{ x }}");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed.value().render(variables(R"({"x":1})"), {}).value().bytes, "1changed");
  EXPECT_EQ(parsed.value().render(variables(R"({"x":"二"})"), {}).value().bytes, "二changed");
}

}  // namespace
}  // namespace hadal
