#include "app/web_pack.h"

#include <cstring>

#include <zlib.h>

#include "base/json.h"
#include "base/limits.h"

extern "C" {
extern const char hadal_web_pack_begin[];
extern const char hadal_web_pack_end[];
}

namespace hadal {
namespace {

constexpr std::string_view kMagic = "HADALWEB1\n";
constexpr size_t kInflatedBytesMax = 16 * limits::kMiB;

// Everything comes from this server, nothing inline, no frame around it.
constexpr std::string_view kContentPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'";

constexpr std::string_view kNoPage =
    "Hadal is running. This build carries no web page; the API is at /v1.\n";

Error corrupt(std::string_view what) {
  return Error{Code::kCorrupt, "web pack: " + std::string(what)};
}

bool read_string(const json::object& entry, std::string_view name, std::string& out) {
  const json::value* value = entry.if_contains(json::string_view(name.data(), name.size()));
  if (value == nullptr || !value->is_string()) return false;
  out.assign(value->get_string().data(), value->get_string().size());
  return true;
}

bool read_size(const json::object& entry, std::string_view name, size_t& out) {
  const json::value* value = entry.if_contains(json::string_view(name.data(), name.size()));
  if (value == nullptr || !value->is_int64() || value->get_int64() < 0) return false;
  out = static_cast<size_t>(value->get_int64());
  return true;
}

Result<WebFile> read_entry(const json::value& value, std::string_view blobs) {
  if (!value.is_object()) return corrupt("an index entry is no object");
  const json::object& entry = value.get_object();
  WebFile file;
  size_t offset = 0;
  size_t size = 0;
  const json::value* gzip = entry.if_contains("gzip");
  if (!read_string(entry, "path", file.path) || !read_string(entry, "mime", file.mime) ||
      !read_string(entry, "etag", file.etag) || gzip == nullptr || !gzip->is_bool() ||
      !read_size(entry, "offset", offset) || !read_size(entry, "size", size)) {
    return corrupt("an index entry lacks a member");
  }
  if (offset > blobs.size() || size > blobs.size() - offset) {
    return corrupt("an entry reaches beyond the end");
  }
  file.gzip = gzip->get_bool();
  file.bytes = blobs.substr(offset, size);
  return file;
}

/// Empty when the bytes are no gzip stream or too large.
std::string inflate_gzip(std::string_view bytes) {
  z_stream stream = {};
  if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) return "";
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::string out;
  char buffer[16384];
  int code = Z_OK;
  while (code == Z_OK && out.size() < kInflatedBytesMax) {
    stream.next_out = reinterpret_cast<Bytef*>(buffer);
    stream.avail_out = sizeof(buffer);
    code = inflate(&stream, Z_NO_FLUSH);
    out.append(buffer, sizeof(buffer) - stream.avail_out);
  }
  inflateEnd(&stream);
  return code == Z_STREAM_END ? out : "";
}

/// Whether the client takes gzip: named, and not with weight 0.
bool accepts_gzip(const HttpRequest& request) {
  const std::string* header = request.header("accept-encoding");
  if (header == nullptr) return false;
  const std::string text = ascii_lower(*header);
  const size_t at = text.find("gzip");
  if (at == std::string::npos) return false;
  const std::string rest = text.substr(at + 4, text.find(',', at) - at - 4);
  return rest.find("q=0") == std::string::npos || rest.find("q=0.") != std::string::npos;
}

}  // namespace

std::string_view WebPack::embedded() {
  return {hadal_web_pack_begin, static_cast<size_t>(hadal_web_pack_end - hadal_web_pack_begin)};
}

Result<WebPack> WebPack::parse(std::string_view bytes) {
  WebPack pack;
  if (bytes.empty()) return pack;
  if (!bytes.starts_with(kMagic)) return corrupt("the first bytes are not HADALWEB1");
  bytes.remove_prefix(kMagic.size());
  uint32_t index_bytes = 0;
  if (bytes.size() < sizeof(index_bytes)) return corrupt("the length of the index is cut off");
  std::memcpy(&index_bytes, bytes.data(), sizeof(index_bytes));
  bytes.remove_prefix(sizeof(index_bytes));
  if (index_bytes > bytes.size()) return corrupt("the index is cut off");
  TRY(const json::value index, parse_json(bytes.substr(0, index_bytes)));
  if (!index.is_array()) return corrupt("the index is no list");
  bytes.remove_prefix(index_bytes);
  for (const json::value& entry : index.get_array()) {
    TRY(WebFile file, read_entry(entry, bytes));
    pack.files_.push_back(std::move(file));
  }
  return pack;
}

const WebFile* WebPack::find(std::string_view path) const {
  for (const WebFile& file : files_) {
    if (file.path == path) return &file;
  }
  return nullptr;
}

HttpReply WebPack::reply(std::string_view path, const HttpRequest& request) const {
  const WebFile* file = find(path == "/" ? "/index.html" : path);
  HttpReply out;
  if (file == nullptr) {
    out.content_type = "text/plain; charset=utf-8";
    out.body = kNoPage;
    return out;
  }
  const std::string tag = "\"" + file->etag + "\"";
  out.content_type = file->mime;
  out.headers = {{"ETag", tag},
                 {"Content-Security-Policy", std::string(kContentPolicy)},
                 {"Referrer-Policy", "no-referrer"},
                 {"Vary", "Accept-Encoding"}};
  // Names under /assets/ carry a hash of their content, so they never change.
  const bool hashed = path.starts_with("/assets/");
  out.headers.emplace_back("Cache-Control",
                           hashed ? "public, max-age=31536000, immutable" : "no-cache");
  const std::string* known = request.header("if-none-match");
  if (known != nullptr && known->find(tag) != std::string::npos) {
    out.status = 304;
    return out;
  }
  if (!file->gzip) {
    out.body = file->bytes;
  } else if (accepts_gzip(request)) {
    out.body = file->bytes;
    out.headers.emplace_back("Content-Encoding", "gzip");
  } else {
    out.body = inflate_gzip(file->bytes);
  }
  return out;
}

}  // namespace hadal
