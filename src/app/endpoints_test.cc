// Goal: the endpoint table is complete: every row has a scenario in tests/api, a handler, a place
// in the generated description; and paths are unambiguous.
#include "app/endpoints.h"

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "app/openapi.h"
#include "base/json.h"

namespace hadal {
namespace {

/// "METHOD /path" of every request in tests/api/*.t.
std::set<std::string> scenario_requests() {
  std::set<std::string> out;
  const std::filesystem::path directory = std::filesystem::path(HADAL_SOURCE_DIR) / "tests/api";
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    if (file.path().extension() != ".t") continue;
    std::ifstream lines(file.path());
    for (std::string line; std::getline(lines, line);) {
      for (const char* method : {"GET /", "POST /", "DELETE /"}) {
        if (line.starts_with(method)) out.insert(line.substr(0, line.find('?')));
      }
      if (line.starts_with("WS /")) out.insert("GET" + line.substr(2));
    }
  }
  return out;
}

TEST(Endpoints, EveryRowHasAScenario) {
  const std::set<std::string> requests = scenario_requests();
  ASSERT_FALSE(requests.empty());
  for (const EndpointRow& row : endpoint_rows()) {
    std::string wanted = std::string(row.method) + " " + row.path;
    bool found = requests.contains(wanted);
    if (const size_t open = wanted.find('{'); open != std::string::npos) {
      const std::string before = wanted.substr(0, open);
      const std::string behind = wanted.substr(wanted.rfind('}') + 1);
      for (const std::string& request : requests) {
        found = found || (request.starts_with(before) && request.ends_with(behind) &&
                          request.size() > before.size() + behind.size());
      }
    }
    EXPECT_TRUE(found) << "no scenario in tests/api for " << wanted;
  }
}

TEST(Endpoints, RowsAreUniqueAndComplete) {
  std::set<std::string> seen;
  for (const EndpointRow& row : endpoint_rows()) {
    EXPECT_TRUE(seen.insert(std::string(row.method) + row.path).second) << row.path;
    EXPECT_GT(std::string(row.summary).size(), 5u) << row.path;
    // DELETE may have a body: Ollama's says there what is to go.
    const std::string_view method = row.method;
    if (method != "DELETE") {
      EXPECT_EQ(method == "POST", row.body_bytes_max > 0) << row.path;
    }
    EXPECT_TRUE(row.body_bytes_max > 0 || row.shape == nullptr || !has_body(*row.shape))
        << row.path;
  }
}

TEST(Endpoints, EveryRouteCanBeAnswered) {
  SingleModel models;
  Service service(Env::real(), models);
  const WebPack pack;
  for (const Route& route : make_routes(service, pack)) {
    EXPECT_TRUE(static_cast<bool>(route.handle) != static_cast<bool>(route.open_socket))
        << route.path;
  }
}

TEST(Endpoints, OnlyTheseAnswerWithoutAKey) {
  std::set<std::string> open;
  for (const EndpointRow& row : endpoint_rows()) {
    if (row.scope == Scope::kPublic) open.insert(row.path);
  }
  EXPECT_EQ(open, (std::set<std::string>{"/", "/health", "/ready", "/version", "/openapi.json",
                                         "/docs", "/healthz", "/livez", "/readyz", "/api/version",
                                         "/v2", "/v2/health/live", "/v2/health/ready"}));
}

TEST(Endpoints, EveryExampleIsKnownToItsShape) {
  for (const EndpointRow& row : endpoint_rows()) {
    if (row.shape == nullptr || !has_body(*row.shape)) continue;
    auto example = parse_json(row.shape->example);
    ASSERT_TRUE(example.ok()) << row.path;
    ASSERT_TRUE(example.value().is_object()) << row.path;
    const Checked problem = check_known(*row.shape, example.value().get_object());
    EXPECT_FALSE(problem) << row.path << ": " << problem->message;
    EXPECT_EQ(row.streams, !row.shape->event.empty()) << row.path;
  }
}

/// Goal: the page works offline: it loads nothing and runs nothing.
TEST(Endpoints, PageForPeopleLoadsNothing) {
  const HttpReply page = docs_page();
  for (const char* loader : {"<script", "<link", "<img", "@import", "url(", "src="}) {
    EXPECT_EQ(page.body.find(loader), std::string::npos) << loader;
  }
  for (const EndpointRow& row : endpoint_rows()) {
    EXPECT_NE(page.body.find(">" + std::string(row.path) + "<"), std::string::npos) << row.path;
  }
  const std::string* policy = find_header(page.headers, "Content-Security-Policy");
  ASSERT_NE(policy, nullptr);
  EXPECT_TRUE(policy->starts_with("default-src 'none'; style-src 'sha256-"));
}

TEST(Endpoints, DescriptionNamesEveryRow) {
  auto parsed = parse_json(openapi_document());
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed.value().at("openapi").get_string(), "3.1.0");
  const json::object& paths = parsed.value().at("paths").get_object();
  for (const EndpointRow& row : endpoint_rows()) {
    std::string path = row.path;
    if (path.ends_with("{tail}")) path = path.substr(0, path.size() - 6) + "{model}";
    ASSERT_TRUE(paths.contains(path)) << path;
    EXPECT_TRUE(paths.at(path).get_object().contains(ascii_lower(row.method)));
  }
  const json::value& fetch = paths.at("/v1/responses/{response_id}").at("get");
  EXPECT_EQ(to_json(fetch.at("parameters").get_array()[2]),
            R"({"name":"starting_after","in":"query","required":false,"schema":)"
            R"({"type":"integer"}})");
}

}  // namespace
}  // namespace hadal
