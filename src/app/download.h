#pragma once
/// Downloads over HTTP with resuming (libcurl). Knows nothing of models.
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "base/result.h"

namespace hadal {

/// What to get and where to keep it while it is incomplete.
struct DownloadRequest {
  std::string url;
  std::filesystem::path part;  ///< grows; kept on failure, so that a later call resumes
  std::string bearer;          ///< token, sent only to the host of `url` and never in the clear
  uint64_t bytes_expected =
      0;                    ///< 0: not known; otherwise another size is an error before any byte
  bool hash_known = false;  ///< the caller verifies a hash: resuming needs no ETag then
  int stall_seconds = 30;   ///< slower than 1 kB/s for so long: the connection is given up
  uint64_t bytes_max = UINT64_MAX;  ///< a larger file is kExhausted, before any byte where possible
  const std::atomic<bool>* stop = nullptr;  ///< kCancelled soon after it became true
  std::function<void(uint64_t done, uint64_t total)> progress;  ///< total 0: not known
};

struct Downloaded {
  uint64_t bytes = 0;
  /// The digest that hubs name for files they keep as large objects (X-Linked-ETag, or an ETag
  /// that is one); empty when none was named.
  std::string hub_sha256;
};

/// Blocks until `part` is complete. Broken transfers are resumed (Range, If-Range) a few times, as
/// long as there is progress. kUnavailable: nobody answered; kNotFound, kDenied: the server said
/// so; kExhausted: the disk has no room for it.
Result<Downloaded> download(const DownloadRequest& request);

/// Whether the server at `url` answers anything at all within `seconds`.
bool server_answers(const std::string& url, int seconds);

/// A small document (at most `bytes_max`).
Result<std::string> fetch_text(const std::string& url, size_t bytes_max, int seconds);

/// `text` with everything but letters, digits and "-._~/" percent-encoded.
std::string url_path_encoded(std::string_view text);

}  // namespace hadal
