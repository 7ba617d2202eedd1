#include <array>

#include <fmt/format.h>
#include <openssl/evp.h>

#include "app/endpoints.h"
#include "app/openapi.h"

namespace hadal {
namespace {

constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--line:#d5d9e0;--soft:#f4f6f9;--dim:#5c6675;--link:#1a5fb4}
@media(prefers-color-scheme:dark){:root{--line:#343b46;--soft:#1c2129;--dim:#98a3b3;
--link:#7db2f0}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:1.5rem 1rem 4rem;font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2rem 0 .5rem}h3{font-size:.95rem;
margin:1rem 0 .3rem}
p{margin:.4rem 0}.dim{color:var(--dim)}a{color:var(--link)}
code,pre{font:13px/1.45 ui-monospace,monospace}
pre{overflow-x:auto;background:var(--soft);border:1px solid var(--line);border-radius:6px;
padding:.6rem}
details{border:1px solid var(--line);border-radius:6px;margin:.4rem 0}
details[open]>summary{border-bottom:1px solid var(--line)}
summary{cursor:pointer;padding:.45rem .7rem;display:flex;flex-wrap:wrap;gap:.2rem .7rem;
align-items:baseline}
summary .path{font-weight:600;overflow-wrap:anywhere}
.inside{padding:.2rem .9rem .9rem}
.verb{min-width:3.6rem;text-align:center;border-radius:4px;padding:0 .4rem;font-weight:700;
color:#fff;background:#4b5563}
.GET{background:#1d6f42}.POST{background:#1a5fb4}.DELETE{background:#a51d2d}
.tag{border:1px solid var(--line);border-radius:4px;padding:0 .4rem;font-size:.8rem;
color:var(--dim)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--line);
vertical-align:top}
th{font-weight:600;color:var(--dim);font-size:.85rem}
)";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out.push_back(c);
    }
  }
  return out;
}

std::string_view dialect_title(std::string_view dialect) {
  constexpr std::array<std::array<std::string_view, 2>, 11> kTitles = {{
      {"openai", "OpenAI"},
      {"responses", "OpenAI Responses"},
      {"anthropic", "Anthropic"},
      {"deepseek", "DeepSeek"},
      {"ollama", "Ollama"},
      {"kserve", "KServe v2"},
      {"llama.cpp", "llama.cpp"},
      {"vllm", "vLLM"},
      {"hadal", "Hadal"},
      {"websocket", "WebSocket"},
      {"web", "Web · 网页"},
  }};
  for (const auto& [name, title] : kTitles) {
    if (name == dialect) return title;
  }
  return dialect;
}

std::string range_of(const ParamRow& row) {
  if (row.kind == ParamKind::kBoolean) return "boolean";
  const bool huge = row.max > 9e15;
  const char* kind = row.kind == ParamKind::kInteger ? "integer" : "number";
  return huge ? std::string("integer (64 bit)") : fmt::format("{}({}..{})", kind, row.min, row.max);
}

void append_member(std::string& out, std::string_view name, std::string_view type, bool required) {
  out += fmt::format("<tr><td><code>{}</code></td><td><code>{}</code></td><td>{}</td></tr>\n",
                     escaped(name), escaped(type), required ? "required · 必填" : "");
}

constexpr std::string_view kMembersHead =
    "<div class=\"wide\"><table><tr><th>member · 字段</th><th>type · 类型</th><th></th></tr>\n";
constexpr std::string_view kMembersEnd = "</table></div>\n";

void append_body(std::string& out, const EndpointShape& shape) {
  if (!has_body(shape)) return;
  out += "<h3>Request · 请求</h3>\n";
  out += kMembersHead;
  for (const auto& fields : shape.fields) {
    for (const FieldRow& field : fields) {
      append_member(out, field.name, field.type, field.required);
    }
  }
  for (const ParamTable table : shape.params) {
    if (table == nullptr) continue;
    for (const ParamRow& row : table()) append_member(out, row.name, range_of(row), false);
  }
  out += kMembersEnd;
}

void append_query(std::string& out, const EndpointShape& shape) {
  if (shape.query.empty()) return;
  out += "<h3>Query · 查询参数</h3>\n";
  out += kMembersHead;
  for (const FieldRow& field : shape.query) {
    append_member(out, field.name, field.type, field.required);
  }
  out += kMembersEnd;
}

void append_example(std::string& out, const EndpointRow& row) {
  if (row.dialect == std::string_view("websocket") || row.dialect == std::string_view("web"))
    return;
  const std::string key = row.scope == Scope::kApi ? " \\\n  -H 'Authorization: Bearer KEY'" : "";
  std::string body;
  if (row.shape != nullptr && !row.shape->example.empty()) {
    body =
        fmt::format(" \\\n  -H 'Content-Type: application/json' \\\n  -d '{}'", row.shape->example);
  }
  const bool plain = row.method == std::string_view("GET") ||
                     (row.method == std::string_view("POST") && !body.empty());
  const std::string method = plain ? "" : fmt::format(" -X {}", row.method);
  out += fmt::format("<h3>Example · 示例</h3>\n<pre>curl{} http://127.0.0.1:8000{}{}{}</pre>\n",
                     method, escaped(row.path), escaped(key), escaped(body));
}

void append_endpoint(std::string& out, const EndpointRow& row) {
  out += fmt::format(
      "<details><summary><code class=\"verb {0}\">{0}</code><code class=\"path\">{1}</code>"
      "<span class=\"dim\">{2}</span></summary>\n<div class=\"inside\">\n",
      row.method, escaped(row.path), escaped(row.summary));
  out += row.scope == Scope::kApi ? "<p class=\"tag\">API key · 需要密钥 (--api-key)</p>\n"
                                  : "<p class=\"tag\">public · 公开</p>\n";
  if (row.shape != nullptr) {
    const EndpointShape& shape = *row.shape;
    append_query(out, shape);
    append_body(out, shape);
    out += fmt::format(
        "<h3>Response · 响应</h3>\n<p><code>{}</code> <span class=\"dim\">{}</span></p>\n",
        escaped(shape.reply), escaped(shape.reply_type));
    if (!shape.event.empty()) {
      out += fmt::format("<p>streamed · 流式: <code>{}</code> <span class=\"dim\">{}</span></p>\n",
                         escaped(shape.event), escaped(shape.event_type));
    }
    out += fmt::format("<p>error · 错误: <code>{}</code></p>\n", escaped(shape.error));
  }
  append_example(out, row);
  out += "</div></details>\n";
}

void append_endpoints(std::string& out) {
  std::vector<std::string_view> dialects;
  for (const EndpointRow& row : endpoint_rows()) {
    const std::string_view dialect = row.dialect;
    if (std::ranges::find(dialects, dialect) == dialects.end()) dialects.push_back(dialect);
  }
  for (const std::string_view dialect : dialects) {
    out += fmt::format("<h2>{}</h2>\n", escaped(dialect_title(dialect)));
    for (const EndpointRow& row : endpoint_rows()) {
      if (row.dialect == dialect) append_endpoint(out, row);
    }
  }
}

void append_objects(std::string& out) {
  out += "<h2>Objects · 数据结构</h2>\n";
  for (const auto& list : all_objects()) {
    for (const ObjectShape& object : list) {
      out += fmt::format(
          "<details><summary><code class=\"path\">{}</code></summary>\n"
          "<div class=\"inside\">\n",
          escaped(object.name));
      out += kMembersHead;
      for (const FieldRow& field : object.fields) {
        append_member(out, field.name, field.type, field.required);
      }
      out += kMembersEnd;
      out += "</div></details>\n";
    }
  }
}

std::string page_text() {
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
      "<title>Hadal API · 接口文档</title><style>{}</style></head><body>\n"
      "<h1>Hadal API · 接口文档</h1>\n<p class=\"dim\">hadal {} · <a href=\"/openapi.json\">"
      "OpenAPI 3.1</a> · <a href=\"/\">chat · 对话</a></p>\n"
      "<p class=\"dim\"><code>T[]</code> list · 列表, <code>A|B</code> one of · 其一, "
      "<code>(a..b)</code> range · 范围, names start with a capital letter and stand below · "
      "大写开头的名称见文末</p>\n",
      kStyle, HADAL_VERSION);
  append_endpoints(out);
  append_objects(out);
  out += "</body></html>\n";
  return out;
}

/// The content policy names the style by its hash: nothing else may be loaded or run.
std::string style_hash() {
  std::array<unsigned char, 32> digest = {};
  unsigned int size = 0;
  const int done =
      EVP_Digest(kStyle.data(), kStyle.size(), digest.data(), &size, EVP_sha256(), nullptr);
  CHECK(done == 1 && size == digest.size());
  std::array<unsigned char, 48> text = {};
  const int length = EVP_EncodeBlock(text.data(), digest.data(), static_cast<int>(digest.size()));
  return {reinterpret_cast<const char*>(text.data()), static_cast<size_t>(length)};
}

}  // namespace

HttpReply docs_page() {
  static const std::string text = page_text();
  static const std::string policy =
      "default-src 'none'; style-src 'sha256-" + style_hash() +
      "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
  HttpReply reply{.content_type = "text/html; charset=utf-8", .body = text};
  reply.headers = {{"Content-Security-Policy", policy},
                   {"Referrer-Policy", "no-referrer"},
                   {"Cache-Control", "no-cache"}};
  return reply;
}

}  // namespace hadal
