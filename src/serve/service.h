#pragma once
/// Service: what the handlers of all endpoints share. Handlers (handlers.h) run on worker threads
/// and answer through their PeerRef; generation then goes on between engine and network thread
/// (generation.h).
#include <atomic>
#include <string>
#include <string_view>

#include "base/env.h"
#include "net/exchange.h"
#include "serve/directory.h"
#include "serve/errors.h"
#include "serve/generation.h"
#include "serve/idempotency.h"
#include "serve/model_store.h"
#include "serve/response_store.h"

namespace hadal {

/// A body to a plan. May change the body on the way.
using Planner = Checked (*)(const ServedModel& model, json::object& body, Env& env,
                            GenerationPlan& out);

/// How a dialect reads requests and says no.
struct Dialect {
  Planner plan = nullptr;
  HttpReply (*refuse)(const ApiError& error) = error_reply;
};

/// Thread-safe. Borrows both, which must outlive it.
class Service {
 public:
  Service(Env& env, ModelDirectory& models) : env_(env), models_(models), keys_(env) {}

  Env& env() { return env_; }
  ModelDirectory& models() { return models_; }
  ResponseStore& responses() { return responses_; }
  /// From now on /ready answers 503 and new generations are refused.
  void begin_drain() { draining_ = true; }
  bool draining() const { return draining_; }
  /// From now on members of a body that an endpoint does not know are an error. Before serving.
  void set_strict() { strict_ = true; }
  bool strict() const { return strict_; }
  IdempotencyKeys& keys() { return keys_; }
  /// What clients may change; null: nothing. Must outlive the server. Before serving.
  void set_store(ModelStore& store) { store_ = &store; }
  ModelStore* store() const { return store_; }

  /// Calls `then` with the model of that name, now or when it is loaded, on any thread.
  bool acquire(std::string_view name, ModelDirectory::Then then);
  /// The same for an HTTP request, on a worker thread when the model comes later. While it is
  /// waited for, `sign` (may be empty) is what tells the client of it when nothing was sent for
  /// long.
  using LifeSign = UniqueFunction<void(Exchange& exchange)>;
  void acquire(const PeerRef& peer, std::string_view name, ModelDirectory::Then then,
               LifeSign sign = {});
  /// Parses the body, finds its model, calls `then` with both; what is wrong is answered.
  void with_body(HttpRequest&& request, const PeerRef& peer,
                 HttpReply (*refuse)(const ApiError& error),
                 UniqueFunction<void(const ServedRef& served, json::object& body)> then);
  /// Answers a request that generates.
  void generate(HttpRequest&& request, const PeerRef& peer, const Dialect& dialect);

 private:
  Env& env_;
  ModelDirectory& models_;
  ResponseStore responses_;
  IdempotencyKeys keys_;
  std::atomic<bool> draining_{false};
  bool strict_ = false;
  ModelStore* store_ = nullptr;
};

/// Parses a body into an object, or says why not.
Checked parse_body(std::string_view body, json::object& out);
/// The body's "model"; empty when it names none.
Checked read_model_name(const json::object& body, std::string& out);

}  // namespace hadal
