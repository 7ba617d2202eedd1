#pragma once
/// A Service behind real sockets, for tests of its endpoints.
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "net/server.h"
#include "net/testing/test_client.h"
#include "serve/handlers.h"
#include "serve/stream_socket.h"
#include "serve/testing/scripted.h"
#include "serve/testing/scripted_embeddings.h"

namespace hadal {

inline constexpr const char* kTemplate =
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{{ opening }}{% endif %}";

/// A server with a scripted model that says `answer_`.
class ServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    tokenizer_ = byte_tokenizer();
    auto parsed = ChatTemplate::parse(kTemplate);
    ASSERT_TRUE(parsed.ok()) << parsed.error().text();
    template_ = std::make_unique<ChatTemplate>(std::move(parsed).value());
    backend_ = std::make_unique<ScriptedBackend>([this](const GenerateRequest& request) {
      const std::string prompt = tokenizer_->decode(request.prompt, true);
      if (prompt == "which seed") return say("seed " + std::to_string(*request.sampling.seed));
      return say(prompt.find("echo") != std::string::npos ? prompt : answer_);
    });
    auto model = std::make_unique<ServedModel>();
    model->id = "test-model";
    model->aliases = {"other-name"};
    model->tokenizer = tokenizer_.get();
    model->chat_template = template_.get();
    model->n_ctx = 200;
    model->created = 1;
    model->embeddings = {.width = 4, .pairs = PairForm::kBert};
    models_.set(std::move(model), *backend_, &embeddings_);
    std::vector<Route> routes;
    add(routes, "POST", "/v1/chat/completions", handlers::chat_completions);
    add(routes, "POST", "/v1/completions", handlers::completions);
    add(routes, "POST", "/v1/messages", handlers::messages);
    add(routes, "POST", "/v1/messages/count_tokens", handlers::count_message_tokens);
    add(routes, "POST", "/v1/responses", handlers::responses);
    add(routes, "POST", "/v1/responses/input_tokens", handlers::count_response_tokens);
    add(routes, "GET", "/v1/responses/{id}", handlers::response);
    add(routes, "DELETE", "/v1/responses/{id}", handlers::delete_response);
    add(routes, "POST", "/v1/responses/{id}/cancel", handlers::cancel_response);
    add(routes, "GET", "/v1/responses/{id}/input_items", handlers::response_input_items);
    add(routes, "POST", "/generate", handlers::generate);
    add(routes, "POST", "/v1/embeddings", handlers::embeddings);
    add(routes, "POST", "/v1/rerank", handlers::rerank);
    add(routes, "POST", "/v1/score", handlers::score);
    add(routes, "POST", "/tokenize", handlers::tokenize);
    add(routes, "POST", "/detokenize", handlers::detokenize);
    add(routes, "GET", "/v1/models", handlers::models);
    add(routes, "GET", "/v1/models/{tail}", handlers::model);
    add(routes, "GET", "/ready", handlers::ready);
    add(routes, "POST", "/api/chat", handlers::ollama_chat);
    add(routes, "POST", "/api/generate", handlers::ollama_generate);
    add(routes, "POST", "/api/show", handlers::ollama_show);
    add(routes, "POST", "/api/embed", handlers::ollama_embed);
    add(routes, "POST", "/api/embeddings", handlers::ollama_embeddings);
    add(routes, "POST", "/api/pull", handlers::ollama_pull);
    add(routes, "POST", "/api/copy", handlers::ollama_copy);
    add(routes, "DELETE", "/api/delete", handlers::ollama_delete);
    add(routes, "POST", "/api/push", handlers::ollama_not_there);
    add(routes, "GET", "/v2/models/stats", handlers::kserve_all_stats);
    add(routes, "GET", "/v2/models/{model}", handlers::kserve_model);
    add(routes, "POST", "/v2/models/{model}/infer", handlers::kserve_infer);
    add(routes, "POST", "/v2/models/{model}/generate_stream", handlers::kserve_generate_stream);
    Route socket{.method = "GET", .path = "/stream"};
    socket.open_socket = [this](PeerRef peer) { return open_stream_socket(peer, service_); };
    routes.push_back(std::move(socket));
    ServerOptions options;
    options.port = 0;
    options.tick_micros = 20'000;
    options.keep_alive_micros = keep_alive_micros_;
    options.send_buffer_bytes = 4096;
    options.error_body = net_error_body;
    auto started = Server::start(options, Router(std::move(routes)));
    ASSERT_TRUE(started.ok()) << started.error().text();
    server_ = std::move(started).value();
  }
  void TearDown() override {
    server_->stop(0);
    backend_.reset();
  }

  void add(std::vector<Route>& routes, const char* method, const char* path, Handler handler) {
    Route route{.method = method, .path = path, .body_bytes_max = 1 << 20};
    route.handle = [this, handler](HttpRequest&& request, PeerRef peer) {
      handler(service_, std::move(request), peer);
    };
    routes.push_back(std::move(route));
  }

  static std::string post_bytes(std::string_view path, std::string_view body,
                                const char* method = "POST") {
    return std::string(method) + " " + std::string(path) +
           " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
  }

  struct Reply {
    int status = 0;
    json::value body = {};
    std::string raw = {};
  };
  Reply ask(std::string_view path, std::string_view body) {
    TestClient client(server_->port());
    client.send(post_bytes(path, body));
    return parse(client.read_to_end());
  }
  Reply get(const std::string& path) { return bare("GET", path); }
  /// A request without a body.
  Reply bare(const std::string& method, const std::string& path) {
    TestClient client(server_->port());
    client.send(method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    return parse(client.read_to_end());
  }
  static Reply parse(const std::string& raw) {
    Reply reply{.raw = raw};
    if (raw.size() > 12) reply.status = std::atoi(raw.c_str() + 9);
    auto parsed = parse_json(raw.substr(std::min(raw.size(), raw.find("\r\n\r\n") + 4)));
    EXPECT_TRUE(parsed.ok()) << raw;
    if (parsed.ok()) reply.body = std::move(parsed).value();
    return reply;
  }

  /// The chunks of a finished stream.
  static std::string body_of(const std::string& raw) {
    std::string body;
    size_t at = raw.find("\r\n\r\n") + 4;
    while (at < raw.size()) {  // chunks
      const size_t size = std::strtoul(raw.c_str() + at, nullptr, 16);
      at = raw.find("\r\n", at) + 2;
      body += raw.substr(at, size);
      at += size + 2;
    }
    return body;
  }

  /// The objects of an NDJSON stream.
  std::vector<json::object> lines(std::string_view path, const std::string& sent) {
    TestClient client(server_->port());
    client.send(post_bytes(path, sent));
    const std::string raw = client.read_to_end();
    EXPECT_NE(raw.find("application/x-ndjson"), std::string::npos) << raw;
    const std::string text = body_of(raw);
    std::vector<json::object> out;
    for (size_t from = 0; from < text.size();) {
      const size_t end = text.find('\n', from);
      EXPECT_NE(end, std::string::npos) << text;
      auto parsed = parse_json(text.substr(from, end - from));
      EXPECT_TRUE(parsed.ok()) << text;
      if (!parsed.ok() || end == std::string::npos) break;
      out.push_back(std::move(parsed.value().get_object()));
      from = end + 1;
    }
    return out;
  }

  struct Event {
    std::string name;  ///< empty: it has none
    std::string data;
  };
  static std::vector<Event> named_events_of(const std::string& raw) {
    const std::string body = body_of(raw);
    std::vector<Event> events;
    for (size_t from = 0; from < body.size();) {
      const size_t end = body.find("\n\n", from);
      if (end == std::string::npos) break;
      Event event;
      if (body.compare(from, 7, "event: ") == 0) {
        const size_t line = body.find('\n', from);
        event.name = body.substr(from + 7, line - from - 7);
        from = line + 1;
      }
      if (body.compare(from, 6, "data: ") == 0) {
        event.data = body.substr(from + 6, end - from - 6);
        events.push_back(std::move(event));
      }
      from = end + 2;
    }
    return events;
  }
  /// The data of each event of a finished stream.
  static std::vector<std::string> events_of(const std::string& raw) {
    std::vector<std::string> events;
    for (Event& event : named_events_of(raw)) events.push_back(std::move(event.data));
    return events;
  }
  std::vector<Event> named_stream_again(const std::string& path) {
    TestClient client(server_->port());
    client.send("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    return named_events_of(client.read_to_end());
  }
  std::vector<Event> named_stream(std::string_view path, std::string_view body) {
    TestClient client(server_->port());
    client.send(post_bytes(path, body));
    return named_events_of(client.read_to_end());
  }
  /// Names in their order, each run of the same name once.
  static std::string names_of(const std::vector<Event>& events) {
    std::string names;
    std::string last;
    for (const Event& event : events) {
      if (event.name != last) names += (names.empty() ? "" : " ") + event.name;
      last = event.name;
    }
    return names;
  }
  std::vector<std::string> stream(std::string_view path, std::string_view body) {
    TestClient client(server_->port());
    client.send(post_bytes(path, body));
    return events_of(client.read_to_end());
  }
  /// All deltas of that name, joined; each must be whole UTF-8.
  static std::string joined(const std::vector<std::string>& events, const char* field) {
    std::string out;
    for (const std::string& event : events) {
      if (event == "[DONE]") continue;
      EXPECT_EQ(event.find("\xef\xbf\xbd"), std::string::npos) << event;
      auto parsed = parse_json(event);
      EXPECT_TRUE(parsed.ok()) << event;
      if (!parsed.ok() || parsed.value().at("choices").get_array().empty()) continue;
      const json::object& delta =
          parsed.value().at("choices").get_array()[0].at("delta").get_object();
      const json::value* text = delta.if_contains(field);
      if (text != nullptr && text->is_string()) out += std::string_view(text->get_string());
    }
    return out;
  }

  /// Serves as a model with this codec and a roomy context.
  void use(std::string_view codec) {
    auto model = std::make_unique<ServedModel>();
    model->id = "test-model";
    model->tokenizer = tokenizer_.get();
    auto chosen = Codec::named(codec, {.tokenizer = tokenizer_.get()});
    ASSERT_TRUE(chosen.ok());
    model->chosen_codec = std::move(chosen).value();
    model->n_ctx = 30'000;
    models_.set(std::move(model), *backend_);
  }
  std::string last_prompt() { return tokenizer_->decode(backend_->last_request().prompt, true); }

  static std::string error_field(const Reply& reply, const char* field) {
    const json::value& value = reply.body.at("error").at(field);
    return value.is_string() ? std::string(value.get_string()) : "null";
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> template_;
  std::string answer_ = "Hello";
  int64_t keep_alive_micros_ = 10'000'000;
  ScriptedEmbeddings embeddings_;
  SingleModel models_;
  Service service_{Env::real(), models_};
  std::unique_ptr<Server> server_;
  std::unique_ptr<ScriptedBackend> backend_;
};

}  // namespace hadal
