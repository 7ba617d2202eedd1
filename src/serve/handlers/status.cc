/// Handlers that tell how the server does.
#include "serve/handlers.h"
#include "serve/metrics.h"

namespace hadal::handlers {
namespace {

/// What a load balancer of one model reads.
void add_stats(const EngineStats& stats, json::object& body) {
  body["running"] = stats.running;
  body["waiting"] = stats.waiting;
  body["queue"] = {{"interactive", stats.waiting_by_class[0]},
                   {"normal", stats.waiting_by_class[1]},
                   {"batch", stats.waiting_by_class[2]},
                   {"wait_ms", stats.queue_wait_micros / 1000},
                   {"refused", stats.refused},
                   {"expired", stats.expired}};
  body["requests"] = stats.requests;
  body["prompt_tokens"] = stats.prompt_tokens;
  body["completion_tokens"] = stats.completion_tokens;
  body["drafted_tokens"] = stats.drafted_tokens;
  body["accepted_tokens"] = stats.accepted_tokens;
  body["kv"] = {{"pages", stats.kv.pages},
                {"pages_free", stats.kv.pages_free},
                {"pages_cached", stats.kv.pages_cached},
                {"page_tokens", stats.kv.page_tokens},
                {"lookups", stats.kv.lookups},
                {"lookup_tokens", stats.kv.lookup_tokens},
                {"hit_tokens", stats.kv.hit_tokens},
                {"evictions", stats.kv.evictions},
                {"preemptions", stats.kv.preemptions}};
}

}  // namespace

/// The figures of the default model, while it is loaded, and in a word those of all.
void health(Service& service, HttpRequest&&, const PeerRef& peer) {
  json::object body;
  body["status"] = "ok";
  const std::vector<ServedRef> models = service.models().loaded();
  if (!models.empty()) {
    body["model"] = models.front()->model->id;
    add_stats(models.front()->backend->stats(), body);
  }
  json::array list;
  for (const ServedRef& served : models) {
    const EngineStats stats = served->backend->stats();
    list.push_back({{"model", served->model->id},
                    {"running", stats.running},
                    {"waiting", stats.waiting},
                    {"requests", stats.requests}});
  }
  body["models"] = std::move(list);
  peer.reply({.body = to_json(body)});
}

void metrics(Service& service, HttpRequest&&, const PeerRef& peer) {
  std::vector<ModelCounters> counters;
  for (const ServedRef& served : service.models().loaded()) {
    counters.push_back({served->model->id, served->backend->stats()});
  }
  HttpReply reply{.content_type = std::string(kMetricsContentType)};
  reply.body = metrics_text(counters) + models_metrics_text(service.models().entries()) +
               process_metrics_text();
  peer.reply(std::move(reply));
}

void ready(Service& service, HttpRequest&&, const PeerRef& peer) {
  const bool draining = service.draining();
  if (service.models().ready() && !draining) {
    peer.reply({.body = "{\"status\":\"ready\"}"});
    return;
  }
  HttpReply reply{.status = 503};
  reply.body = draining ? "{\"status\":\"draining\"}" : "{\"status\":\"loading\"}";
  reply.headers.emplace_back("Retry-After", "1");
  peer.reply(std::move(reply));
}

/// Nobody pays here: DeepSeek's clients only want to hear that they may go on.
void user_balance(Service&, HttpRequest&&, const PeerRef& peer) {
  peer.reply({.body = R"({"is_available":true,"balance_infos":[{"currency":"USD",)"
                      R"("total_balance":"0.00","granted_balance":"0.00",)"
                      R"("topped_up_balance":"0.00"}]})"});
}

void version(Service&, HttpRequest&&, const PeerRef& peer) {
  peer.reply({.body = "{\"name\":\"hadal\",\"version\":\"" HADAL_VERSION "\"}"});
}

}  // namespace hadal::handlers
