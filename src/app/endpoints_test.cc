// Goal: the endpoint table is complete: every row has a scenario in tests/api, a handler, a place
// in the generated description; and paths are unambiguous.
#include "app/endpoints.h"

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include <gtest/gtest.h>

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
      if (line.starts_with("GET /") || line.starts_with("POST /")) out.insert(line);
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
    if (wanted.ends_with("{tail}")) {
      wanted.resize(wanted.size() - 6);
      for (const std::string& request : requests) {
        found = found || (request.starts_with(wanted) && request.size() > wanted.size());
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
    EXPECT_EQ(std::string_view(row.method) == "POST", row.body_bytes_max > 0) << row.path;
  }
}

TEST(Endpoints, EveryRouteCanBeAnswered) {
  Service service(Env::real());
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
  EXPECT_EQ(open, (std::set<std::string>{"/", "/health", "/ready", "/version", "/openapi.json"}));
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
    EXPECT_TRUE(paths.at(path).get_object().contains(
        std::string_view(row.method) == "GET" ? "get" : "post"));
  }
}

}  // namespace
}  // namespace hadal
