/// Handlers of Ollama's API that change the models on the disk, as far as the server allows it.
#include <utility>

#include "serve/dialects/ollama.h"
#include "serve/handlers.h"
#include "serve/model_store.h"
#include "serve/params.h"

namespace hadal::handlers {
namespace {

/// A client that does not take the lines of a pull misses some, but not the last one.
constexpr size_t kUnsentBytes = 64 << 10;

std::string status_line(const PullProgress& progress) {
  switch (progress.stage) {
    case PullStage::kWaiting:
      return ollama_status("pulling manifest");
    case PullStage::kFetching:
      // Clients show the first digits after "sha256:", as Ollama does.
      return ollama_status("pulling " + progress.digest.substr(progress.digest.find(':') + 1, 12),
                           progress.digest, progress.total, progress.done);
    case PullStage::kVerifying:
      return ollama_status("verifying sha256 digest");
  }
  return {};
}

/// Tells a client of its pull: line by line, or at the end.
class PullTeller final : public PullWatcher {
 public:
  PullTeller(const PeerRef& peer, bool stream) : peer_(peer), stream_(stream) {}

  void on_progress(const PullProgress& progress) override {
    if (!stream_) return;
    peer_.post([line = status_line(progress)](Exchange& exchange) {
      exchange.start_stream({.content_type = std::string(kOllamaStream)});
      if (exchange.unsent_bytes() < kUnsentBytes) exchange.write(line);
    });
  }

  void on_end(const Checked& problem, const std::string& name) override {
    if (!stream_) {
      json::object body = {{"status", "success"}, {"model", name}};
      peer_.reply(problem ? plain_error_reply(*problem) : HttpReply{.body = to_json(body)});
      return;
    }
    // As Ollama: a failure is the last line of a stream that ends in order.
    std::string line = problem ? plain_error_body(*problem) + "\n" : ollama_status("success");
    peer_.post([line = std::move(line)](Exchange& exchange) {
      exchange.start_stream({.content_type = std::string(kOllamaStream)});
      exchange.write(line);
      exchange.finish();
    });
  }

 private:
  const PeerRef peer_;
  const bool stream_;
};

/// A pull ends with its client.
class PullPeer final : public PeerState {
 public:
  PullPeer(ModelStore& store, PullId id, bool stream) : store_(store), id_(id), stream_(stream) {}
  ~PullPeer() override { store_.cancel(id_); }

  bool on_quiet(Exchange& exchange) override {
    exchange.start_stream(
        {.content_type = stream_ ? std::string(kOllamaStream) : "application/json"});
    exchange.write(stream_ ? ollama_status("pulling manifest") : "\n");
    return true;
  }

 private:
  ModelStore& store_;
  const PullId id_;
  const bool stream_;
};

ApiError not_allowed() {
  return {.status = 403,
          .code = "store_is_closed",
          .message =
              "This server does not let clients change its models; whoever runs it can "
              "allow that (hadal serve --allow-pull SIZE)."};
}

/// Ends a pull of what is served already.
void tell_success(const PeerRef& peer, const std::string& name, bool stream) {
  PullTeller teller(peer, stream);
  teller.on_progress({});
  teller.on_end(std::nullopt, name);
}

}  // namespace

void ollama_pull(Service& service, HttpRequest&& request, const PeerRef& peer) {
  json::object body;
  std::string name;
  bool stream = true;
  Checked problem = parse_body(request.body, body);
  if (!problem) problem = read_ollama_name(body, name);
  if (!problem) problem = read_flag(body, "stream", stream);
  if (problem) return peer.reply(plain_error_reply(*problem));
  if (service.models().find(name)) return tell_success(peer, name, stream);
  ModelStore* store = service.store();
  if (store == nullptr) return peer.reply(plain_error_reply(not_allowed()));
  PullId id = 0;
  problem = store->pull(name, std::make_unique<PullTeller>(peer, stream), id);
  if (problem) return peer.reply(plain_error_reply(*problem));
  auto state = std::make_unique<PullPeer>(*store, id, stream);
  peer.post([state = std::move(state)](Exchange& exchange) mutable {
    exchange.attach(std::move(state));
  });
}

void ollama_copy(Service& service, HttpRequest&& request, const PeerRef& peer) {
  json::object body;
  std::string source;
  std::string destination;
  Checked problem = parse_body(request.body, body);
  if (!problem) problem = read_string(body, "source", source);
  if (!problem) problem = read_string(body, "destination", destination);
  if (!problem && source.empty()) problem = invalid_param("source", "'source' must name a model.");
  if (!problem && destination.empty()) {
    problem = invalid_param("destination", "'destination' must be a name.");
  }
  if (!problem && service.store() == nullptr) problem = not_allowed();
  if (!problem) problem = service.store()->copy(source, destination);
  peer.reply(problem ? plain_error_reply(*problem) : HttpReply{.content_type = "", .body = ""});
}

void ollama_delete(Service& service, HttpRequest&& request, const PeerRef& peer) {
  json::object body;
  std::string name;
  Checked problem = parse_body(request.body, body);
  if (!problem) problem = read_ollama_name(body, name);
  if (!problem && service.store() == nullptr) problem = not_allowed();
  if (!problem) problem = service.store()->remove(name);
  peer.reply(problem ? plain_error_reply(*problem) : HttpReply{.content_type = "", .body = ""});
}

void ollama_not_there(Service&, HttpRequest&& request, const PeerRef& peer) {
  peer.reply(plain_error_reply({.status = 501,
                                .code = "not_implemented",
                                .message = request.path + " is not implemented: models are made "
                                                          "and published outside of the server."}));
}

}  // namespace hadal::handlers
