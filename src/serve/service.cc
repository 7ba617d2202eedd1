#include "serve/service.h"

#include <thread>
#include <utility>

#include "serve/params.h"
#include "serve/structure.h"

namespace hadal {
namespace {

/// An exchange whose model is being loaded.
class LoadWait final : public PeerState {
 public:
  explicit LoadWait(Service::LifeSign sign) : sign_(std::move(sign)) {}
  bool on_quiet(Exchange& exchange) override {
    sign_(exchange);
    return true;
  }

 private:
  Service::LifeSign sign_;
};

bool wants_stream(const json::object& body) {
  const json::value* stream = find_member(body, "stream");
  return stream != nullptr && stream->is_bool() && stream->get_bool();
}

void comment_on_load(Exchange& exchange) {
  exchange.start_stream({});
  exchange.write(": the model is being loaded\n\n");
}

}  // namespace

Checked parse_body(std::string_view body, json::object& out) {
  auto parsed = parse_json(body);
  if (!parsed.ok()) {
    return ApiError{.status = 400,
                    .code = "invalid_json",
                    .message = "The body is not valid JSON: " + parsed.error().message};
  }
  if (!parsed.value().is_object()) {
    return ApiError{
        .status = 400, .code = "invalid_json", .message = "The body must be a JSON object."};
  }
  out = std::move(parsed.value().get_object());
  return std::nullopt;
}

Checked read_model_name(const json::object& body, std::string& out) {
  const json::value* value = find_member(body, "model");
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return invalid_param("model", "'model' must be a string.");
  out = value->get_string();
  return std::nullopt;
}

bool Service::acquire(std::string_view name, ModelDirectory::Then then) {
  if (!draining_) return models_.acquire(name, std::move(then));
  then(nullptr,
       ApiError{.status = 503, .code = "shutting_down", .message = "The server is shutting down."});
  return true;
}

void Service::acquire(const PeerRef& peer, std::string_view name, ModelDirectory::Then then,
                      LifeSign sign) {
  // What a library throws ends one request on a worker thread, and the program on others.
  const bool now =
      acquire(name, [peer, asked_on = std::this_thread::get_id(), then = std::move(then)](
                        ServedRef served, Checked problem) mutable {
        if (std::this_thread::get_id() == asked_on) {
          then(std::move(served), std::move(problem));
          return;
        }
        peer.work([then = std::move(then), served = std::move(served),
                   problem = std::move(problem)]() mutable {
          then(std::move(served), std::move(problem));
        });
      });
  if (now || !sign) return;
  peer.post([sign = std::move(sign)](Exchange& exchange) mutable {
    // The model may have come before this did.
    if (exchange.state() == nullptr) exchange.attach(std::make_unique<LoadWait>(std::move(sign)));
  });
}

void Service::with_body(HttpRequest&& request, const PeerRef& peer,
                        HttpReply (*refuse)(const ApiError& error),
                        UniqueFunction<void(const ServedRef&, json::object&)> then) {
  json::object body;
  std::string name;
  Checked problem = parse_body(request.body, body);
  if (!problem) problem = read_model_name(body, name);
  if (problem) {
    problem->request_id = request.request_id;
    peer.reply(refuse(*problem));
    return;
  }
  LifeSign sign;
  if (wants_stream(body)) sign = &comment_on_load;
  acquire(
      peer, name,
      [peer, refuse, id = request.request_id, body = std::move(body), then = std::move(then)](
          const ServedRef& served, const Checked& missing) mutable {
        if (missing) {
          ApiError error = *missing;
          error.request_id = id;
          peer.reply(refuse(error));
          return;
        }
        then(served, body);
      },
      std::move(sign));
}

void Service::generate(HttpRequest&& request, const PeerRef& peer, const Dialect& dialect) {
  std::string id = request.request_id;
  with_body(std::move(request), peer, dialect.refuse,
            [this, peer, dialect, id = std::move(id)](const ServedRef& served, json::object& body) {
              if (!served->model->generates) {
                ApiError error = not_generative(served->model->id);
                error.request_id = id;
                return peer.reply(dialect.refuse(error));
              }
              GenerationPlan plan;
              plan.request_id = id;
              Checked error = dialect.plan(*served->model, body, env_, plan);
              if (!error) error = constrain_answer(*served->model, plan);
              if (error) {
                error->request_id = id;
                peer.reply(dialect.refuse(*error));
                return;
              }
              plan.env = &env_;
              run_http_generation(peer, served, std::move(plan), dialect.refuse);
            });
}

}  // namespace hadal
