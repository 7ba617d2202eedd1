#include "serve/service.h"

#include <algorithm>

#include "serve/dialects/common.h"
#include "serve/dialects/openai_chat.h"
#include "serve/dialects/openai_completions.h"
#include "serve/dialects/plain.h"
#include "serve/dialects/tokens.h"
#include "serve/generation.h"
#include "serve/metrics.h"
#include "serve/prompt.h"

namespace hadal {
namespace {

json::object model_entry(const ServedModel& model, const std::string& id) {
  json::object entry;
  entry["id"] = id;
  entry["object"] = "model";
  entry["created"] = model.created;
  entry["owned_by"] = "hadal";
  entry["max_model_len"] = model.n_ctx;
  entry["context_length"] = model.n_ctx;
  entry["meta"] = model.facts;
  return entry;
}

}  // namespace

void Service::set_model(std::unique_ptr<const ServedModel> model, TokenBackend& backend) {
  model_ = std::move(model);
  backend_ = &backend;
  loaded_.store(true, std::memory_order_release);
}

bool Service::available(const PeerRef& peer) const {
  if (draining_) {
    peer.reply(error_reply(
        {.status = 503, .code = "shutting_down", .message = "The server is shutting down."}));
    return false;
  }
  if (!loaded_.load(std::memory_order_acquire)) {
    peer.reply(error_reply(
        {.status = 503, .code = "model_loading", .message = "The model is still being loaded."}));
    return false;
  }
  return true;
}

void Service::health(HttpRequest&&, const PeerRef& peer) {
  json::object body;
  body["status"] = "ok";
  if (loaded_.load(std::memory_order_acquire)) {
    const EngineStats stats = backend_->stats();
    body["model"] = model_->id;
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
  peer.reply({.body = to_json(body)});
}

void Service::metrics(HttpRequest&&, const PeerRef& peer) {
  HttpReply reply{.content_type = std::string(kMetricsContentType)};
  if (loaded_.load(std::memory_order_acquire)) {
    reply.body = metrics_text(model_->id, backend_->stats());
  }
  peer.reply(std::move(reply));
}

void Service::ready(HttpRequest&&, const PeerRef& peer) {
  const bool loaded = loaded_.load(std::memory_order_acquire);
  if (loaded && !draining_) {
    peer.reply({.body = "{\"status\":\"ready\"}"});
    return;
  }
  HttpReply reply{.status = 503};
  reply.body = draining_ ? "{\"status\":\"draining\"}" : "{\"status\":\"loading\"}";
  reply.headers.emplace_back("Retry-After", "1");
  peer.reply(std::move(reply));
}

void Service::version(HttpRequest&&, const PeerRef& peer) {
  peer.reply({.body = "{\"name\":\"hadal\",\"version\":\"" HADAL_VERSION "\"}"});
}

void Service::models(HttpRequest&&, const PeerRef& peer) {
  json::array data;
  if (loaded_.load(std::memory_order_acquire)) {
    data.push_back(model_entry(*model_, model_->id));
    for (const std::string& alias : model_->aliases) data.push_back(model_entry(*model_, alias));
  }
  json::object body;
  body["object"] = "list";
  body["data"] = std::move(data);
  peer.reply({.body = to_json(body)});
}

void Service::model(HttpRequest&& request, const PeerRef& peer) {
  if (!available(peer)) return;
  json::object named;
  named["model"] = request.path_tail;
  if (Checked error = check_model_name(*model_, named)) {
    peer.reply(error_reply(*error));
    return;
  }
  peer.reply({.body = to_json(model_entry(*model_, request.path_tail))});
}

void Service::run(const HttpRequest& request, const PeerRef& peer, Planner planner) {
  if (!available(peer)) return;
  GenerationPlan plan;
  if (Checked error = planner(*model_, request.body, env_, plan)) {
    peer.reply(error_reply(*error));
    return;
  }
  run_http_generation(peer, *model_, *backend_, std::move(plan));
}

void Service::chat_completions(HttpRequest&& request, const PeerRef& peer) {
  run(request, peer, plan_openai_chat);
}

void Service::completions(HttpRequest&& request, const PeerRef& peer) {
  run(request, peer, plan_openai_completions);
}

void Service::generate(HttpRequest&& request, const PeerRef& peer) {
  run(request, peer, plan_generate);
}

void Service::tokenize(HttpRequest&& request, const PeerRef& peer) {
  if (!available(peer)) return;
  HttpReply reply;
  Checked error = tokenize_body(*model_, request.body, env_, reply.body);
  peer.reply(error ? error_reply(*error) : std::move(reply));
}

void Service::detokenize(HttpRequest&& request, const PeerRef& peer) {
  if (!available(peer)) return;
  HttpReply reply;
  Checked error = detokenize_body(*model_, request.body, reply.body);
  peer.reply(error ? error_reply(*error) : std::move(reply));
}

std::unique_ptr<PeerState> Service::stream_socket(PeerRef peer) {
  if (draining_ || !loaded_.load(std::memory_order_acquire)) {
    peer.post([](Exchange& exchange) {
      exchange.write(error_body(
          {.status = 503, .code = "model_loading", .message = "No model is ready to answer."}));
      exchange.finish();
    });
    return nullptr;
  }
  return make_stream_socket(peer, *model_, *backend_, env_);
}

}  // namespace hadal
