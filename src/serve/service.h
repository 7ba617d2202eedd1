#pragma once
/// Service: the endpoints of one served model. Handlers run on worker threads and answer through
/// their PeerRef; generation then goes on between engine and network thread (generation.h).
#include <atomic>
#include <memory>
#include <string>

#include "base/env.h"
#include "net/exchange.h"
#include "serve/backend.h"
#include "serve/errors.h"

namespace hadal {

/// Thread-safe. Model and backend come with set_model(), once, and must outlive the Service's use;
/// until then generation endpoints answer 503 and /ready says so.
class Service {
 public:
  explicit Service(Env& env) : env_(env) {}

  void set_model(std::unique_ptr<const ServedModel> model, TokenBackend& backend);
  /// From now on /ready answers 503 and new generations are refused.
  void begin_drain() { draining_ = true; }

  void health(HttpRequest&& request, const PeerRef& peer);
  void ready(HttpRequest&& request, const PeerRef& peer);
  void metrics(HttpRequest&& request, const PeerRef& peer);
  void version(HttpRequest&& request, const PeerRef& peer);
  void models(HttpRequest&& request, const PeerRef& peer);
  void model(HttpRequest&& request, const PeerRef& peer);
  void chat_completions(HttpRequest&& request, const PeerRef& peer);
  void completions(HttpRequest&& request, const PeerRef& peer);
  void generate(HttpRequest&& request, const PeerRef& peer);
  void tokenize(HttpRequest&& request, const PeerRef& peer);
  void detokenize(HttpRequest&& request, const PeerRef& peer);
  std::unique_ptr<PeerState> stream_socket(PeerRef peer);

 private:
  /// False (and answered) when no model is there or the server is going down.
  bool available(const PeerRef& peer) const;
  using Planner = Checked (*)(const ServedModel&, std::string_view, Env&, struct GenerationPlan&);
  void run(const HttpRequest& request, const PeerRef& peer, Planner planner);

  Env& env_;
  std::unique_ptr<const ServedModel> model_;
  TokenBackend* backend_ = nullptr;
  std::atomic<bool> loaded_{false};  ///< publishes model_ and backend_
  std::atomic<bool> draining_{false};
};

}  // namespace hadal
