#pragma once
/// The web page that the program carries: files in one pack (docs/formats/web_pack.md), answered
/// with entity tags, compressed or not, under a strict content policy.
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/http.h"

namespace hadal {

struct WebFile {
  std::string path;  ///< "/index.html"
  std::string mime;
  std::string etag;
  bool gzip = false;       ///< `bytes` are compressed
  std::string_view bytes;  ///< borrowed from the pack
};

/// Immutable. Borrows the pack's bytes.
class WebPack {
 public:
  /// An empty text is an empty pack. kCorrupt names what is wrong.
  static Result<WebPack> parse(std::string_view bytes);
  /// The pack inside this program.
  static std::string_view embedded();

  const std::vector<WebFile>& files() const { return files_; }
  const WebFile* find(std::string_view path) const;
  /// The answer for `path` ("/" is the index): 200, 304 or 404.
  HttpReply reply(std::string_view path, const HttpRequest& request) const;

 private:
  std::vector<WebFile> files_;
};

}  // namespace hadal
