// Goal: the embedded page is read safely and answered as browsers expect.
#include "app/web_pack.h"

#include <cstring>

#include <gtest/gtest.h>

namespace hadal {
namespace {

// "hello page\n", gzipped.
constexpr unsigned char kGzip[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xcb,
                                   0x48, 0xcd, 0xc9, 0xc9, 0x57, 0x28, 0x48, 0x4c, 0x4f, 0xe5, 0x02,
                                   0x00, 0x2b, 0x2c, 0x90, 0x3e, 0x0b, 0x00, 0x00, 0x00};

std::string pack_of(const std::string& index, const std::string& blobs) {
  const auto length = static_cast<uint32_t>(index.size());
  std::string out = "HADALWEB1\n";
  out.append(reinterpret_cast<const char*>(&length), sizeof(length));
  return out + index + blobs;
}

std::string small_pack() {
  const std::string blob(reinterpret_cast<const char*>(kGzip), sizeof(kGzip));
  return pack_of(
      R"([{"path":"/index.html","mime":"text/html","etag":"e1","gzip":true,"offset":0,"size":)" +
          std::to_string(blob.size()) +
          R"(},{"path":"/assets/a.png","mime":"image/png","etag":"e2","gzip":false,"offset":)" +
          std::to_string(blob.size()) + R"(,"size":3}])",
      blob + "PNG");
}

HttpReply ask(const WebPack& pack, const char* path, HeaderList headers = {}) {
  HttpRequest request;
  request.headers = std::move(headers);
  return pack.reply(path, request);
}

TEST(WebPack, AnswersWithAndWithoutCompression) {
  const std::string bytes = small_pack();
  auto pack = WebPack::parse(bytes);
  ASSERT_TRUE(pack.ok()) << pack.error().text();
  const HttpReply plain = ask(pack.value(), "/");
  EXPECT_EQ(plain.body, "hello page\n");
  EXPECT_EQ(find_header(plain.headers, "Content-Encoding"), nullptr);
  EXPECT_NE(find_header(plain.headers, "Content-Security-Policy"), nullptr);
  const HttpReply packed = ask(pack.value(), "/", {{"Accept-Encoding", "br, GZIP;q=0.5"}});
  EXPECT_EQ(packed.body.size(), sizeof(kGzip));
  EXPECT_EQ(*find_header(packed.headers, "Content-Encoding"), "gzip");
  EXPECT_EQ(ask(pack.value(), "/", {{"Accept-Encoding", "gzip;q=0"}}).body, "hello page\n");
  EXPECT_EQ(ask(pack.value(), "/", {{"If-None-Match", "\"e1\""}}).status, 304);
  EXPECT_EQ(ask(pack.value(), "/assets/a.png").body, "PNG");
  EXPECT_NE(
      find_header(ask(pack.value(), "/assets/a.png").headers, "Cache-Control")->find("immutable"),
      std::string::npos);
  EXPECT_EQ(*find_header(plain.headers, "Cache-Control"), "no-cache");
}

TEST(WebPack, EmptyPackSaysSo) {
  auto pack = WebPack::parse("");
  ASSERT_TRUE(pack.ok());
  EXPECT_NE(ask(pack.value(), "/").body.find("no web page"), std::string::npos);
}

TEST(WebPack, BrokenPacksAreErrors) {
  const std::string good = small_pack();
  for (size_t length = 1; length < good.size(); ++length) {
    EXPECT_FALSE(WebPack::parse(std::string_view(good).substr(0, length)).ok()) << length;
  }
  EXPECT_FALSE(WebPack::parse("NOTAPACK!\nxxxx").ok());
  EXPECT_FALSE(WebPack::parse(pack_of("{}", "")).ok());
  EXPECT_FALSE(WebPack::parse(pack_of("[1]", "")).ok());
  EXPECT_FALSE(WebPack::parse(pack_of(R"([{"path":"/"}])", "")).ok());
  EXPECT_FALSE(
      WebPack::parse(
          pack_of(R"([{"path":"/","mime":"a","etag":"b","gzip":false,"offset":-1,"size":0}])", ""))
          .ok());
  EXPECT_FALSE(WebPack::parse(pack_of(R"([{"path":"/","mime":"a","etag":"b","gzip":false,)"
                                      R"("offset":9223372036854775807,"size":9}])",
                                      "abc"))
                   .ok());
}

TEST(WebPack, EmbeddedPackIsReadable) {
  auto pack = WebPack::parse(WebPack::embedded());
  ASSERT_TRUE(pack.ok()) << pack.error().text();
  for (const WebFile& file : pack.value().files()) {
    EXPECT_FALSE(ask(pack.value(), file.path.c_str()).body.empty()) << file.path;
  }
}

}  // namespace
}  // namespace hadal
