/// Handlers of KServe's v2 protocol and of Triton's model repository.
#include "serve/dialects/kserve.h"

#include <algorithm>
#include <array>

#include "base/limits.h"
#include "serve/embedding_run.h"
#include "serve/handlers.h"
#include "serve/params.h"
#include "serve/structure.h"

namespace hadal::handlers {
namespace {

/// Of a model whose settings are not known before it is loaded.
constexpr int64_t kRowsUnknown = 8;

std::string task_of(const json::object& facts) {
  const json::value* task = find_member(facts, "task");
  return task != nullptr && task->is_string() ? std::string(task->get_string()) : std::string();
}

int64_t rows_max(const json::object& facts) {
  if (!task_of(facts).empty()) return limits::kEmbeddingInputs;
  const json::value* rows = find_member(facts, "parallel");
  return rows != nullptr && rows->is_int64() ? rows->get_int64() : kRowsUnknown;
}

KserveModel described(const ModelEntry& entry, const std::string& name) {
  const json::value* width = find_member(entry.facts, "d_model");
  return {.name = name,
          .task = task_of(entry.facts),
          .width = width != nullptr && width->is_int64() ? width->get_int64() : -1,
          .rows_max = rows_max(entry.facts)};
}

std::string_view state_name(ModelState state) {
  constexpr std::array<std::string_view, 4> kNames = {"UNAVAILABLE", "LOADING", "READY",
                                                      "UNLOADING"};
  return kNames[static_cast<size_t>(state)];
}

/// The model of the path; null when its answer is already given.
std::optional<ModelEntry> named_entry(Service& service, const HttpRequest& request,
                                      const PeerRef& peer) {
  const auto& values = request.path_values;
  const std::string& name = values.front();
  if (values.size() > 1 && values[1] != kKserveVersion) {
    peer.reply(plain_error_reply(
        {.status = 404,
         .code = "model_not_found",
         .message = "The model '" + name.substr(0, 200) + "' has the version 1 only.",
         .param = {}}));
    return std::nullopt;
  }
  std::optional<ModelEntry> entry = service.models().find(name);
  if (!entry) peer.reply(plain_error_reply(unknown_model(name, "other models")));
  return entry;
}

void infer_numbers(const ServedRef& served, const PeerRef& peer, const KserveRequest& asked,
                   const json::object& body, const std::string& tensors) {
  KserveNumbers plan;
  Checked problem = gives_numbers(served);
  if (!problem) problem = plan_kserve_numbers(*served->model, asked, body, tensors, plan);
  if (problem) return peer.reply(plain_error_reply(*problem));
  EmbeddingJob job{.request = std::move(plan.request),
                   .tokens = plan.tokens,
                   .refuse = plain_error_reply,
                   .write = {}};
  job.write = [plan = std::move(plan)](const ServedModel& model, std::span<const float> numbers) {
    return kserve_numbers_reply(model, plan, numbers);
  };
  run_embedding(served, peer, std::move(job));
}

void run(Service& service, HttpRequest&& request, const PeerRef& peer, KserveKind kind) {
  const std::optional<ModelEntry> entry = named_entry(service, request, peer);
  if (!entry) return;
  json::object body;
  std::string tensors;
  if (Checked problem = read_kserve_body(request, body, tensors)) {
    peer.reply(plain_error_reply(*problem));
    return;
  }
  const std::string name = request.path_values.front();
  service.acquire(
      peer, name,
      [&env = service.env(), peer, kind, name, id = request.request_id, body = std::move(body),
       tensors = std::move(tensors)](const ServedRef& served, const Checked& missing) {
        if (missing) {
          peer.reply(plain_error_reply(*missing));
          return;
        }
        const KserveRequest asked{kind, name, static_cast<size_t>(rows_max(served->model->facts))};
        if (kind == KserveKind::kInfer && wants_kserve_numbers(*served->model, body)) {
          return infer_numbers(served, peer, asked, body, tensors);
        }
        if (!served->model->generates) {
          return peer.reply(plain_error_reply(not_generative(served->model->id)));
        }
        GenerationPlan plan;
        plan.request_id = id;
        Checked problem = plan_kserve(*served->model, asked, body, tensors, env, plan);
        if (!problem) problem = constrain_answer(*served->model, plan);
        if (problem) {
          peer.reply(plain_error_reply(*problem));
          return;
        }
        run_http_generation(peer, served, std::move(plan), plain_error_reply);
      });
}

json::object count_and_time(uint64_t count, int64_t micros) {
  return {{"count", count}, {"ns", micros * 1000}};
}

/// Counters of the model with that id; zeros while it is not loaded.
json::object stats_of(Service& service, const std::string& id, const std::string& name) {
  EngineStats stats;
  for (const ServedRef& served : service.models().loaded()) {
    if (served->model->id == id) stats = served->backend->stats();
  }
  return {{"name", name},
          {"version", kKserveVersion},
          {"inference_count", stats.requests},
          {"execution_count", stats.steps},
          {"inference_stats",
           {{"success", count_and_time(stats.requests, 0)},
            {"fail", count_and_time(stats.refused + stats.expired, 0)},
            {"queue", count_and_time(stats.requests, stats.queue_wait_micros)}}},
          {"batch_stats", json::array{}}};
}

}  // namespace

void kserve_server(Service&, HttpRequest&&, const PeerRef& peer) {
  const json::object body = {
      {"name", "hadal"},
      {"version", HADAL_VERSION},
      {"extensions", json::array{"binary_tensor_data", "generate", "model_configuration",
                                 "model_repository", "statistics"}}};
  peer.reply({.body = to_json(body)});
}

void kserve_live(Service&, HttpRequest&&, const PeerRef& peer) {
  peer.reply({.body = "{\"live\":true}"});
}

void kserve_ready(Service& service, HttpRequest&&, const PeerRef& peer) {
  const bool ready = service.models().ready() && !service.draining();
  peer.reply(
      {.status = ready ? 200 : 503, .body = ready ? "{\"ready\":true}" : "{\"ready\":false}"});
}

void kserve_model(Service& service, HttpRequest&& request, const PeerRef& peer) {
  const std::optional<ModelEntry> entry = named_entry(service, request, peer);
  if (!entry) return;
  peer.reply({.body = to_json(kserve_metadata(described(*entry, request.path_values.front())))});
}

/// Ready is what answers at once; others can still be asked, which loads them.
void kserve_model_ready(Service& service, HttpRequest&& request, const PeerRef& peer) {
  const std::optional<ModelEntry> entry = named_entry(service, request, peer);
  if (!entry) return;
  const bool ready = entry->state == ModelState::kReady;
  peer.reply(
      {.status = ready ? 200 : 503,
       .body = to_json(json::object{{"name", request.path_values.front()}, {"ready", ready}})});
}

void kserve_config(Service& service, HttpRequest&& request, const PeerRef& peer) {
  const std::optional<ModelEntry> entry = named_entry(service, request, peer);
  if (!entry) return;
  peer.reply(
      {.body = to_json(kserve_model_config(described(*entry, request.path_values.front())))});
}

void kserve_stats(Service& service, HttpRequest&& request, const PeerRef& peer) {
  const std::optional<ModelEntry> entry = named_entry(service, request, peer);
  if (!entry) return;
  const json::object stats = stats_of(service, entry->id, request.path_values.front());
  peer.reply({.body = to_json(json::object{{"model_stats", json::array{json::value(stats)}}})});
}

void kserve_all_stats(Service& service, HttpRequest&&, const PeerRef& peer) {
  json::array list;
  for (const ModelEntry& entry : service.models().entries()) {
    list.push_back(stats_of(service, entry.id, entry.id));
  }
  peer.reply({.body = to_json(json::object{{"model_stats", std::move(list)}})});
}

void kserve_infer(Service& service, HttpRequest&& request, const PeerRef& peer) {
  run(service, std::move(request), peer, KserveKind::kInfer);
}

void kserve_generate(Service& service, HttpRequest&& request, const PeerRef& peer) {
  run(service, std::move(request), peer, KserveKind::kGenerate);
}

void kserve_generate_stream(Service& service, HttpRequest&& request, const PeerRef& peer) {
  run(service, std::move(request), peer, KserveKind::kGenerateStream);
}

void kserve_index(Service& service, HttpRequest&& request, const PeerRef& peer) {
  json::object body;
  std::string tensors;
  if (Checked problem = read_kserve_body(request, body, tensors)) {
    peer.reply(plain_error_reply(*problem));
    return;
  }
  const json::value* ready = find_member(body, "ready");
  const bool ready_only = ready != nullptr && ready->is_bool() && ready->get_bool();
  json::array list;
  for (const ModelEntry& entry : service.models().entries()) {
    if (ready_only && entry.state != ModelState::kReady) continue;
    list.push_back({{"name", entry.id},
                    {"version", kKserveVersion},
                    {"state", state_name(entry.state)},
                    {"reason", entry.problem}});
  }
  peer.reply({.body = to_json(list)});
}

void kserve_load(Service& service, HttpRequest&& request, const PeerRef& peer) {
  service.acquire(peer, request.path_values.front(),
                  [peer](const ServedRef&, const Checked& missing) {
                    peer.reply(missing ? plain_error_reply(*missing) : HttpReply{.body = "{}"});
                  });
}

void kserve_unload(Service& service, HttpRequest&& request, const PeerRef& peer) {
  const Checked problem = service.models().unload(request.path_values.front());
  peer.reply(problem ? plain_error_reply(*problem) : HttpReply{.body = "{}"});
}

}  // namespace hadal::handlers
