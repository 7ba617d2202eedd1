/// One easy handle per attempt. A partial file carries a note (PART.note: url and ETag) that says
/// what it is a part of; without a matching note it is only resumed when the hash is known, since
/// then a wrong mixture is found out.
#include "app/download.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

#include <curl/curl.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "app/output.h"
#include "app/sha256.h"
#include "base/env.h"
#include "base/parse.h"

namespace hadal {
namespace {

constexpr int kConnectSeconds = 5;
constexpr int kIdleAttempts = 4;  // in a row without a new byte
constexpr int kAttempts = 200;    // in all
constexpr int kRedirects = 8;
constexpr uint64_t kDiskReserve = 64u << 20;
constexpr size_t kNoteBytes = 16u << 10;

using Handle = std::unique_ptr<CURL, void (*)(CURL*)>;

Handle new_handle() {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  CHECK(ready == CURLE_OK);
  Handle handle(curl_easy_init(), curl_easy_cleanup);
  CHECK(handle != nullptr);
  return handle;
}

void set_common(CURL* curl, const std::string& url) {
  const bool secure = url.rfind("https://", 0) == 0;
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "hadal/" HADAL_VERSION);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, static_cast<long>(kRedirects));
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, static_cast<long>(kConnectSeconds));
}

/// Tokens travel encrypted, or not further than this machine.
bool may_carry_token(const std::string& url) {
  for (const char* start : {"https://", "http://127.0.0.1:", "http://127.0.0.1/",
                            "http://localhost:", "http://localhost/"}) {
    if (url.rfind(start, 0) == 0) return true;
  }
  return false;
}

std::string trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1));
}

/// `"abc"` or `W/"abc"` without marks and quotes.
std::string bare_etag(std::string_view etag) {
  if (etag.rfind("W/", 0) == 0) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"')
    etag = etag.substr(1, etag.size() - 2);
  return std::string(etag);
}

/// One attempt: headers of the last response, bytes to the file.
struct Attempt {
  const DownloadRequest* request = nullptr;
  CURL* curl = nullptr;
  int fd = -1;
  uint64_t offset = 0;   ///< where this attempt's first byte belongs
  uint64_t done = 0;     ///< bytes in the file
  uint64_t total = 0;    ///< of the whole file, 0: not known
  bool started = false;  ///< the response was accepted
  bool range_refused = false;
  std::string etag;  ///< of the last response
  std::string content_range;
  std::string hub_sha256;  ///< of any response on the way
  std::optional<Error> error;
};

size_t on_header(char* data, size_t size, size_t count, void* user) {
  auto& attempt = *static_cast<Attempt*>(user);
  const std::string_view line(data, size * count);
  if (line.rfind("HTTP/", 0) == 0) {
    attempt.etag.clear();
    attempt.content_range.clear();
    return size * count;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return size * count;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  const std::string value = trimmed(line.substr(colon + 1));
  if (name == "etag") attempt.etag = value;
  if (name == "content-range") attempt.content_range = value;
  // The first one counts: what the hub says, not the host that it sends us to.
  if (name == "x-linked-etag" && attempt.hub_sha256.empty() && is_sha256(bare_etag(value)))
    attempt.hub_sha256 = bare_etag(value);
  return size * count;
}

/// "bytes 100-199/200" -> first and total.
bool read_content_range(std::string_view text, uint64_t& first, uint64_t& total) {
  if (text.rfind("bytes ", 0) != 0) return false;
  text.remove_prefix(6);
  const size_t dash = text.find('-');
  const size_t slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || slash < dash)
    return false;
  const auto begin = parse_int<uint64_t>(text.substr(0, dash));
  const auto all = parse_int<uint64_t>(text.substr(slash + 1));
  if (!begin.has_value() || !all.has_value()) return false;
  first = *begin;
  total = *all;
  return true;
}

Error too_large(const DownloadRequest& request) {
  return {Code::kExhausted, fmt::format("the file is larger than the {} that it may take",
                                        human_bytes(request.bytes_max))};
}

Status check_room(const Attempt& attempt) {
  if (attempt.total == 0) return {};
  std::error_code failed;
  const auto space = std::filesystem::space(attempt.request->part.parent_path(), failed);
  const uint64_t needed = attempt.total - std::min(attempt.total, attempt.offset) + kDiskReserve;
  if (!failed && space.available < needed) {
    return Error{
        Code::kExhausted,
        fmt::format("{} has {} free, {} are needed", attempt.request->part.parent_path().string(),
                    human_bytes(space.available), human_bytes(needed)),
        "make room, or set HADAL_HOME to a directory on a larger disk"};
  }
  return {};
}

void write_note(const Attempt& attempt) {
  const std::string note = attempt.request->url + "\n" + attempt.etag + "\n";
  // Without the note the part is started anew; that is all that a failure here costs.
  static_cast<void>(Env::real().write_file(attempt.request->part.string() + ".note", note).ok());
}

/// Decides on the first byte of a body whether the response continues the part or replaces it.
Status accept_response(Attempt& attempt) {
  long status = 0;
  curl_easy_getinfo(attempt.curl, CURLINFO_RESPONSE_CODE, &status);
  curl_off_t length = -1;
  curl_easy_getinfo(attempt.curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
  uint64_t first = 0;
  if (status == 206) {
    if (!read_content_range(attempt.content_range, first, attempt.total) ||
        first != attempt.offset) {
      attempt.range_refused = true;
      return Error{Code::kUnavailable, "the server sent another range than asked for"};
    }
  } else {
    attempt.offset = attempt.done = 0;
    attempt.total = length > 0 ? static_cast<uint64_t>(length) : 0;
    if (::ftruncate(attempt.fd, 0) != 0)
      return Error{Code::kIo, std::string("cannot truncate: ") + std::strerror(errno)};
  }
  const uint64_t expected = attempt.request->bytes_expected;
  if (expected != 0 && attempt.total != 0 && attempt.total != expected) {
    return Error{
        Code::kCorrupt,
        fmt::format("the server offers {} bytes, {} are expected", attempt.total, expected),
        "the file behind this address is another one"};
  }
  if (attempt.total > attempt.request->bytes_max) return too_large(*attempt.request);
  TRY_STATUS(check_room(attempt));
  write_note(attempt);
  attempt.started = true;
  return {};
}

size_t on_body(char* data, size_t size, size_t count, void* user) {
  auto& attempt = *static_cast<Attempt*>(user);
  const size_t bytes = size * count;
  if (!attempt.started) {
    long status = 0;
    curl_easy_getinfo(attempt.curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200 && status != 206) return bytes;  // an error page: not ours to keep
    const Status accepted = accept_response(attempt);
    if (!accepted.ok()) {
      attempt.error = accepted.error();
      return 0;
    }
  }
  const uint64_t limit = attempt.total != 0 ? attempt.total : attempt.request->bytes_expected;
  if (limit != 0 && attempt.done + bytes > limit) {
    attempt.error = Error{
        Code::kCorrupt, fmt::format("the server sent more than the {} bytes it announced", limit)};
    return 0;
  }
  if (attempt.done + bytes > attempt.request->bytes_max) {
    attempt.error = too_large(*attempt.request);
    return 0;
  }
  for (size_t written = 0; written < bytes;) {
    const ssize_t n = ::pwrite(attempt.fd, data + written, bytes - written,
                               static_cast<off_t>(attempt.done + written));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      attempt.error = Error{
          Code::kIo,
          fmt::format("cannot write {}: {}", attempt.request->part.string(), std::strerror(errno))};
      return 0;
    }
    written += static_cast<size_t>(n);
  }
  attempt.done += bytes;
  if (attempt.request->progress) attempt.request->progress(attempt.done, attempt.total);
  return bytes;
}

bool stopped(const DownloadRequest& request) {
  return request.stop != nullptr && *request.stop;
}

/// libcurl calls it about once a second, also when nothing comes.
int on_time(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return stopped(*static_cast<Attempt*>(user)->request) ? 1 : 0;
}

bool worth_another_try(CURLcode code) {
  switch (code) {
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return true;
    default:
      return false;
  }
}

Error http_error(long status, const std::string& url) {
  const std::string said = fmt::format("the server answered {} for {}", status, url);
  if (status == 401 || status == 403)
    return Error{Code::kDenied, said, "if the model needs a login, set HF_TOKEN"};
  if (status == 404 || status == 410)
    return Error{Code::kNotFound, said, "check the name of repository and file"};
  return Error{Code::kUnavailable, said};
}

/// What an attempt came to.
enum class Outcome { kComplete, kAgain, kRestart, kFailed };

Outcome judge(CURLcode code, Attempt& attempt) {
  const std::string& url = attempt.request->url;
  if (code == CURLE_ABORTED_BY_CALLBACK || stopped(*attempt.request)) {
    attempt.error = Error{Code::kCancelled, "the download was stopped"};
    return Outcome::kFailed;
  }
  if (attempt.range_refused) return Outcome::kRestart;
  if (attempt.error.has_value()) return Outcome::kFailed;
  if (code != CURLE_OK) {
    attempt.error = Error{Code::kUnavailable, fmt::format("{}: {}", url, curl_easy_strerror(code))};
    return worth_another_try(code) ? Outcome::kAgain : Outcome::kFailed;
  }
  long status = 0;
  curl_easy_getinfo(attempt.curl, CURLINFO_RESPONSE_CODE, &status);
  if (status == 416 && attempt.offset > 0) return Outcome::kRestart;
  if (status != 200 && status != 206) {
    attempt.error = http_error(status, url);
    return status == 429 || status >= 500 ? Outcome::kAgain : Outcome::kFailed;
  }
  const uint64_t expected = attempt.total != 0 ? attempt.total : attempt.request->bytes_expected;
  if (!attempt.started || (expected != 0 && attempt.done < expected)) {
    attempt.error =
        Error{Code::kUnavailable, fmt::format("{}: the transfer ended early, at {} of {} bytes",
                                              url, attempt.done, expected)};
    return Outcome::kAgain;
  }
  return Outcome::kComplete;
}

/// Length of the part when it may be continued (and the ETag that must still hold), else 0.
uint64_t resumable_bytes(const DownloadRequest& request, std::string& etag) {
  std::error_code failed;
  const uint64_t bytes = std::filesystem::file_size(request.part, failed);
  if (failed || bytes == 0) return 0;
  const auto note = Env::real().read_file(request.part.string() + ".note", kNoteBytes);
  if (!note.ok()) return 0;
  const std::string& text = note.value();
  const size_t end = text.find('\n');
  if (end == std::string::npos || text.substr(0, end) != request.url) return 0;
  etag = trimmed(text.substr(end + 1));
  const bool strong = etag.size() >= 2 && etag.front() == '"';
  if (!strong) etag.clear();
  return strong || request.hash_known ? bytes : 0;
}

CURLcode perform(Attempt& attempt, const std::string& etag) {
  const DownloadRequest& request = *attempt.request;
  CURL* curl = attempt.curl;
  set_common(curl, request.url);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1024L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(request.stall_seconds));
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &attempt);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &attempt);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_time);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &attempt);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, request.stop == nullptr ? 1L : 0L);
  if (!request.bearer.empty() && may_carry_token(request.url)) {
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, request.bearer.c_str());
  }
  curl_slist* headers = nullptr;
  if (attempt.offset > 0) {
    curl_easy_setopt(curl, CURLOPT_RANGE, fmt::format("{}-", attempt.offset).c_str());
    if (!etag.empty()) headers = curl_slist_append(headers, ("If-Range: " + etag).c_str());
  }
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  const CURLcode code = curl_easy_perform(curl);
  curl_slist_free_all(headers);
  return code;
}

class PartFile {
 public:
  explicit PartFile(const std::filesystem::path& path)
      : fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)) {}
  ~PartFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

Result<Downloaded> download(const DownloadRequest& request) {
  const PartFile file(request.part);
  if (file.fd() < 0) {
    return Error{Code::kIo,
                 fmt::format("cannot write {}: {}", request.part.string(), std::strerror(errno))};
  }
  Downloaded out;
  int idle = 0;
  for (int number = 0; number < kAttempts && idle < kIdleAttempts; ++number) {
    const Handle handle = new_handle();
    std::string etag;
    Attempt attempt;
    attempt.request = &request;
    attempt.curl = handle.get();
    attempt.fd = file.fd();
    attempt.offset = attempt.done = resumable_bytes(request, etag);
    if (request.bytes_expected != 0 && attempt.offset == request.bytes_expected &&
        request.hash_known) {
      out.bytes = attempt.done;  // complete since an earlier call; the hash will tell
      return out;
    }
    const uint64_t before = attempt.done;
    const Outcome outcome = judge(perform(attempt, etag), attempt);
    if (!attempt.hub_sha256.empty()) out.hub_sha256 = attempt.hub_sha256;
    if (out.hub_sha256.empty() && is_sha256(bare_etag(attempt.etag)))
      out.hub_sha256 = bare_etag(attempt.etag);
    if (outcome == Outcome::kComplete) {
      if (::fsync(file.fd()) != 0)
        return Error{Code::kIo, std::string("cannot write the file: ") + std::strerror(errno)};
      out.bytes = attempt.done;
      return out;
    }
    if (outcome == Outcome::kFailed) return *attempt.error;
    if (outcome == Outcome::kRestart && ::ftruncate(file.fd(), 0) != 0) {
      return Error{Code::kIo,
                   std::string("cannot truncate the partial file: ") + std::strerror(errno)};
    }
    idle = attempt.done > before ? 0 : idle + 1;
    if (idle >= kIdleAttempts || number + 1 == kAttempts) {
      return attempt.error.value_or(
          Error{Code::kUnavailable, request.url + ": the server refuses to resume"});
    }
    if (idle > 0) std::this_thread::sleep_for(std::chrono::milliseconds(250) * (1 << idle));
  }
  return Error{Code::kUnavailable, request.url + ": too many broken transfers",
               "try again later: it will resume"};
}

bool server_answers(const std::string& url, int seconds) {
  const Handle handle = new_handle();
  set_common(handle.get(), url);
  curl_easy_setopt(handle.get(), CURLOPT_NOBODY, 1L);
  curl_easy_setopt(handle.get(), CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(handle.get(), CURLOPT_CONNECTTIMEOUT, static_cast<long>(seconds));
  curl_easy_setopt(handle.get(), CURLOPT_TIMEOUT, static_cast<long>(seconds));
  return curl_easy_perform(handle.get()) == CURLE_OK;
}

namespace {

struct TextSink {
  std::string text;
  size_t bytes_max;
};

size_t on_text(char* data, size_t size, size_t count, void* user) {
  auto& sink = *static_cast<TextSink*>(user);
  if (sink.text.size() + size * count > sink.bytes_max) return 0;
  sink.text.append(data, size * count);
  return size * count;
}

}  // namespace

Result<std::string> fetch_text(const std::string& url, size_t bytes_max, int seconds) {
  const Handle handle = new_handle();
  TextSink sink{{}, bytes_max};
  set_common(handle.get(), url);
  curl_easy_setopt(handle.get(), CURLOPT_TIMEOUT, static_cast<long>(seconds));
  curl_easy_setopt(handle.get(), CURLOPT_WRITEFUNCTION, on_text);
  curl_easy_setopt(handle.get(), CURLOPT_WRITEDATA, &sink);
  const CURLcode code = curl_easy_perform(handle.get());
  if (code != CURLE_OK)
    return Error{Code::kUnavailable, fmt::format("{}: {}", url, curl_easy_strerror(code))};
  long status = 0;
  curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status != 200) return http_error(status, url);
  return std::move(sink.text);
}

std::string url_path_encoded(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || (c != 0 && std::strchr("-._~/", c) != nullptr)) {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
  return out;
}

}  // namespace hadal
