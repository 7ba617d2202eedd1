/// Chat with a server that speaks the OpenAI protocol, through server-sent events.
#include <algorithm>
#include <memory>

#include <curl/curl.h>
#include <fmt/format.h>

#include "app/chat_backend.h"
#include "app/download.h"
#include "app/generate.h"
#include "base/env.h"
#include "base/limits.h"

namespace hadal {
namespace {

constexpr int kListSeconds = 10;
constexpr size_t kEventBytes = 4 * limits::kMiB;

std::string text_member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

const json::object* object_member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr ? value->if_object() : nullptr;
}

const json::object* first_object(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  const json::array* list = value != nullptr ? value->if_array() : nullptr;
  return list != nullptr && !list->empty() ? list->front().if_object() : nullptr;
}

int64_t int_member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_int64() ? value->get_int64() : 0;
}

/// One response on its way in.
struct Exchange {
  CURL* curl = nullptr;
  const std::function<void(const OutputPiece&)>* on_piece = nullptr;
  const std::atomic<bool>* stopped = nullptr;
  std::string pending;  ///< bytes of an unfinished line, or of an error's body
  ChatAnswer answer;
  std::string problem;  ///< what the server said went wrong
  int64_t first_micros = 0;
  int64_t last_micros = 0;
  int64_t pieces = 0;
};

void take_event(Exchange& exchange, std::string_view data) {
  const auto parsed = parse_json(data);
  if (!parsed.ok() || !parsed.value().is_object()) return;  // "[DONE]" among others
  const json::object& event = parsed.value().get_object();
  if (const json::object* error = object_member(event, "error")) {
    exchange.problem = text_member(*error, "message");
    return;
  }
  if (const json::object* usage = object_member(event, "usage")) {
    exchange.answer.prompt_tokens = int_member(*usage, "prompt_tokens");
    exchange.answer.completion_tokens = int_member(*usage, "completion_tokens");
  }
  const json::object* choice = first_object(event, "choices");
  if (choice == nullptr) return;
  if (text_member(*choice, "finish_reason") == "length") exchange.answer.cut_off = true;
  const json::object* delta = object_member(*choice, "delta");
  if (delta == nullptr) return;
  const OutputPiece piece{.reasoning = text_member(*delta, "reasoning_content"),
                          .content = text_member(*delta, "content")};
  if (piece.empty()) return;
  exchange.last_micros = Env::real().now_micros();
  if (exchange.first_micros == 0) exchange.first_micros = exchange.last_micros;
  ++exchange.pieces;
  exchange.answer.content += piece.content;
  (*exchange.on_piece)(piece);
}

size_t on_bytes(char* data, size_t size, size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  exchange.pending.append(data, size * count);
  if (exchange.pending.size() > kEventBytes) return 0;
  long status = 0;
  curl_easy_getinfo(exchange.curl, CURLINFO_RESPONSE_CODE, &status);
  if (status != 200) return size * count;  // an error's body is read as a whole
  size_t begin = 0;
  for (size_t end = 0; (end = exchange.pending.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    std::string_view line(exchange.pending.data() + begin, end - begin);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (!line.starts_with("data:")) continue;
    line.remove_prefix(std::min(line.find_first_not_of(' ', 5), line.size()));
    take_event(exchange, line);
  }
  exchange.pending.erase(0, begin);
  return size * count;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Exchange*>(user)->stopped->load() ? 1 : 0;
}

class RemoteChat final : public ChatBackend {
 public:
  RemoteChat(std::string base, std::string model, const ChatBackendOptions& options)
      : base_(std::move(base)), model_(std::move(model)), options_(options) {}

  std::string description() const override { return fmt::format("{} at {}", model_, base_); }

  Result<ChatAnswer> answer(const json::array& messages,
                            const std::function<void(const OutputPiece&)>& on_piece,
                            const std::atomic<bool>& stopped) override {
    const std::unique_ptr<CURL, void (*)(CURL*)> handle(curl_easy_init(), curl_easy_cleanup);
    CHECK(handle != nullptr);
    Exchange exchange;
    exchange.curl = handle.get();
    exchange.on_piece = &on_piece;
    exchange.stopped = &stopped;
    const std::string body = to_json(request_body(messages));
    curl_slist* headers = curl_slist_append(nullptr, "Content-Type: application/json");
    curl_easy_setopt(handle.get(), CURLOPT_URL, (base_ + "/v1/chat/completions").c_str());
    curl_easy_setopt(handle.get(), CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle.get(), CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(handle.get(), CURLOPT_CONNECTTIMEOUT, 10L);
    curl_easy_setopt(handle.get(), CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(handle.get(), CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(body.size()));
    curl_easy_setopt(handle.get(), CURLOPT_POSTFIELDS, body.c_str());
    curl_easy_setopt(handle.get(), CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(handle.get(), CURLOPT_WRITEDATA, &exchange);
    curl_easy_setopt(handle.get(), CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(handle.get(), CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(handle.get(), CURLOPT_XFERINFODATA, &exchange);
    const CURLcode code = curl_easy_perform(handle.get());
    curl_slist_free_all(headers);
    return outcome(code, exchange);
  }

 private:
  json::object request_body(const json::array& messages) const {
    const SamplingOptions& sampling = options_.sampling;
    json::object body = {{"model", model_},
                         {"messages", messages},
                         {"stream", true},
                         {"stream_options", {{"include_usage", true}}},
                         {"temperature", sampling.temperature},
                         {"top_p", sampling.top_p}};
    if (options_.max_tokens > 0) body["max_tokens"] = options_.max_tokens;
    if (sampling.seed_given != nullptr && sampling.seed_given->count() > 0)
      body["seed"] = sampling.seed;
    return body;
  }

  Result<ChatAnswer> outcome(CURLcode code, Exchange& exchange) const {
    long status = 0;
    curl_easy_getinfo(exchange.curl, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_ABORTED_BY_CALLBACK) {
      exchange.answer.cut_off = true;
    } else if (code != CURLE_OK) {
      return Error{Code::kUnavailable, fmt::format("{}: {}", base_, curl_easy_strerror(code)),
                   "is the server running? start one with: hadal serve --model M"};
    } else if (status != 200) {
      take_event(exchange, exchange.pending);
    }
    if (!exchange.problem.empty())
      return Error{Code::kUnavailable, "the server says: " + exchange.problem};
    if (status != 200 && code == CURLE_OK) {
      return Error{Code::kUnavailable, fmt::format("the server at {} answered {}", base_, status)};
    }
    const int64_t tokens =
        exchange.answer.completion_tokens > 0 ? exchange.answer.completion_tokens : exchange.pieces;
    exchange.answer.completion_tokens = tokens;
    exchange.answer.decode_tps =
        tokens_per_second(tokens - 1, exchange.last_micros - exchange.first_micros);
    return std::move(exchange.answer);
  }

  const std::string base_;
  const std::string model_;
  const ChatBackendOptions options_;
};

Result<std::string> first_model(const std::string& base) {
  const auto listing = fetch_text(base + "/v1/models", limits::kMiB, kListSeconds);
  if (!listing.ok()) {
    return Error{listing.error().code, listing.error().message,
                 "is the server running? start one with: hadal serve --model M"};
  }
  const auto parsed = parse_json(listing.value());
  const json::object* object = parsed.ok() ? parsed.value().if_object() : nullptr;
  const json::object* entry = object != nullptr ? first_object(*object, "data") : nullptr;
  if (entry == nullptr || text_member(*entry, "id").empty()) {
    return Error{Code::kCorrupt, base + " does not list its models as the OpenAI API does"};
  }
  return text_member(*entry, "id");
}

}  // namespace

Result<std::unique_ptr<ChatBackend>> make_remote_chat(const std::string& url,
                                                      const std::string& model,
                                                      const ChatBackendOptions& options) {
  std::string base = url.find("://") == std::string::npos ? "http://" + url : url;
  while (!base.empty() && base.back() == '/') base.pop_back();
  if (base.ends_with("/v1")) base.resize(base.size() - 3);
  std::string name = model;
  if (name.empty()) {
    TRY(name, first_model(base));
  }
  return std::unique_ptr<ChatBackend>(std::make_unique<RemoteChat>(base, name, options));
}

}  // namespace hadal
