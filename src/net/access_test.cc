// Goal: Host and Origin rules let local use through and nothing else; paths match byte for byte.
#include "net/access.h"

#include <gtest/gtest.h>

#include "net/router.h"

namespace hadal {
namespace {

TEST(HostAllowed, LoopbackNamesAndAddresses) {
  for (const char* host : {"", "localhost", "LocalHost:8000", "app.localhost", "127.0.0.1:80",
                           "127.9.9.9", "[::1]:8000", "192.168.1.5:8000", "[fe80::1]"}) {
    EXPECT_TRUE(host_allowed(host, {})) << host;
  }
}

TEST(HostAllowed, NamesNeedPermission) {
  for (const char* host : {"evil.com", "evil.com:8000", "localhost.evil.com", "127.0.0.1.evil.com",
                           "1.2.3", "1.2.3.4.5", "256.1.1.1", "[::1", "[evil]", "127.0.0.1@evil"}) {
    EXPECT_FALSE(host_allowed(host, {})) << host;
  }
  EXPECT_TRUE(host_allowed("Box.lan:8000", {"box.lan"}));
  EXPECT_FALSE(host_allowed("other.lan", {"box.lan"}));
}

TEST(OriginAllowed, SameOriginOrLoopback) {
  EXPECT_TRUE(origin_allowed("", "box.lan:8000"));
  EXPECT_TRUE(origin_allowed("http://box.lan:8000", "box.lan:8000"));
  EXPECT_TRUE(origin_allowed("http://localhost:5173", "127.0.0.1:8000"));
  EXPECT_FALSE(origin_allowed("http://evil.com", "127.0.0.1:8000"));
  EXPECT_FALSE(origin_allowed("http://box.lan:9", "box.lan:8000"));
  EXPECT_FALSE(origin_allowed("null", "127.0.0.1:8000"));
  EXPECT_FALSE(origin_allowed("http://localhost.evil.com", "127.0.0.1:8000"));
  EXPECT_FALSE(origin_allowed("http://", ""));
}

Router two_paths() {
  std::vector<Route> routes(3);
  routes[0].method = "GET";
  routes[0].path = "/a";
  routes[1].method = "POST";
  routes[1].path = "/a";
  routes[2].method = "GET";
  routes[2].path = "/m/{tail}";
  return Router(std::move(routes));
}

TEST(Router, FindsExactPathsOnly) {
  const Router router = two_paths();
  EXPECT_NE(router.find("GET", "/a").route, nullptr);
  EXPECT_EQ(router.find("HEAD", "/a").route, router.find("GET", "/a").route);
  for (const char* path : {"/", "/A", "/a/", "//a", "/%61", "/a;x", "/m", "/m/", "a", ""}) {
    EXPECT_FALSE(router.find("GET", path).path_exists) << path;
  }
  const auto wrong_method = router.find("DELETE", "/a");
  EXPECT_EQ(wrong_method.route, nullptr);
  EXPECT_TRUE(wrong_method.path_exists);
  EXPECT_EQ(wrong_method.allow, "GET, HEAD, POST, OPTIONS");
}

TEST(Router, TailIsDecoded) {
  const Router router = two_paths();
  const std::vector<std::string> name = {"deepseek-ai/r1"};
  EXPECT_EQ(router.find("GET", "/m/deepseek-ai%2Fr1").values, name);
  EXPECT_EQ(router.find("GET", "/m/deepseek-ai/r1").values, name);
  EXPECT_FALSE(router.find("GET", "/m/%zz").path_exists);
  EXPECT_FALSE(router.find("GET", "/m/%00").path_exists);
  EXPECT_FALSE(router.find("GET", "/m/%4").path_exists);
}

// Goal: braces inside a path stand for exactly one segment each, and rows that share a path with
// other methods are told apart.
TEST(Router, SegmentsInTheMiddle) {
  std::vector<Route> routes(5);
  const char* const paths[] = {"/r/fixed", "/r/{id}", "/r/{id}", "/r/{id}/cancel",
                               "/v/{model}/of/{tail}"};
  const char* const methods[] = {"POST", "GET", "DELETE", "POST", "GET"};
  for (size_t i = 0; i < routes.size(); ++i) {
    routes[i].path = paths[i];
    routes[i].method = methods[i];
  }
  const Router router(std::move(routes));
  using Values = std::vector<std::string>;
  EXPECT_EQ(router.find("GET", "/r/a%20b").values, Values{"a b"});
  EXPECT_EQ(router.find("POST", "/r/x/cancel").values, Values{"x"});
  EXPECT_EQ(router.find("GET", "/v/m/of/a/b").values, (Values{"m", "a/b"}));
  EXPECT_EQ(router.find("DELETE", "/r/x").route->method, "DELETE");
  EXPECT_EQ(router.find("POST", "/r/fixed").route->path, "/r/fixed");
  EXPECT_TRUE(router.find("POST", "/r/fixed").values.empty());
  EXPECT_EQ(router.find("POST", "/r/x").route, nullptr);
  EXPECT_EQ(router.find("POST", "/r/x").allow, "GET, HEAD, DELETE, OPTIONS");
  for (const char* path : {"/r", "/r/", "/r//cancel", "/r/x/", "/r/x/cancel/", "/r/x/y", "/v//of/a",
                           "/v/m/of/", "/r/%zz", "/r/{id}/Cancel"}) {
    EXPECT_FALSE(router.find("POST", path).path_exists) << path;
  }
}

}  // namespace
}  // namespace hadal
