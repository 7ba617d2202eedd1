#include "serve/stream_socket.h"

#include "serve/dialects/plain.h"
#include "serve/generation.h"
#include "serve/params.h"
#include "serve/structure.h"

namespace hadal {
namespace {

/// One /stream connection: answers one prompt after another.
class StreamSocket final : public GenerationHost {
 public:
  StreamSocket(const PeerRef& peer, Service& service) : peer_(peer), service_(service) {}

  void on_message(Exchange& exchange, std::string text) override;
  void on_token(Exchange& exchange, uint64_t number, int choice, const TokenEvent& event) override {
    if (generation_ == nullptr || number != number_) return;
    advance(exchange, generation_->on_token(choice, event));
  }
  bool busy() const override { return generation_ != nullptr || preparing_; }
  void on_finish(Exchange& exchange, uint64_t number, int choice,
                 const FinishEvent& event) override {
    if (generation_ == nullptr || number != number_) return;
    advance(exchange, generation_->on_finish(choice, event));
  }

 private:
  void prepare(std::string text);
  void begin(Exchange& exchange, const ServedRef& served, std::unique_ptr<GenerationPlan> plan,
             const Checked& problem);
  void advance(Exchange& exchange, const std::string& bytes);
  static void send(Exchange& exchange, std::string_view messages);

  PeerRef peer_;
  Service& service_;
  ServedRef served_;                        ///< of the last answer
  std::unique_ptr<Generation> generation_;  ///< null between answers
  uint64_t number_ = 0;
  bool preparing_ = false;
  bool stop_asked_ = false;
};

bool asks_to_stop(std::string_view text) {
  if (text == "STOP") return true;
  if (text.size() > 64 || text.empty() || text.front() != '{') return false;
  auto parsed = parse_json(text);
  if (!parsed.ok() || !parsed.value().is_object()) return false;
  const json::value* stop = find_member(parsed.value().get_object(), "stop");
  return stop != nullptr && stop->is_bool() && stop->get_bool();
}

void StreamSocket::send(Exchange& exchange, std::string_view messages) {
  while (!messages.empty()) {
    const size_t end = messages.find(kSocketMessageEnd);
    exchange.write(messages.substr(0, end));
    messages.remove_prefix(end == std::string_view::npos ? messages.size() : end + 1);
  }
}

void StreamSocket::on_message(Exchange& exchange, std::string text) {
  if (asks_to_stop(text)) {
    stop_asked_ = preparing_;
    if (generation_ != nullptr) advance(exchange, generation_->stop_all());
    return;
  }
  if (generation_ != nullptr || preparing_) {
    exchange.write(error_body({.status = 400,
                               .code = "busy",
                               .message = "An answer is running; send STOP first, or wait."}));
    return;
  }
  preparing_ = true;
  stop_asked_ = false;
  prepare(std::move(text));
}

/// JSON, or plain text, which is a prompt.
Checked read_message(std::string_view message, json::object& body) {
  const size_t first = message.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && message[first] == '{') return parse_body(message, body);
  body["prompt"] = json::string(message.data(), message.size());
  return std::nullopt;
}

/// Parsing, rendering and tokenising take their time: not on the network thread.
void StreamSocket::prepare(std::string text) {
  peer_.work([peer = peer_, &service = service_, message = std::move(text)] {
    json::object body;
    const auto answer = [peer](ServedRef served, std::unique_ptr<GenerationPlan> plan,
                               Checked problem) {
      peer.post([served = std::move(served), p = std::move(plan),
                 problem = std::move(problem)](Exchange& exchange) mutable {
        auto* socket = static_cast<StreamSocket*>(exchange.state());
        if (socket != nullptr) socket->begin(exchange, served, std::move(p), problem);
      });
    };
    std::string name;
    Checked problem = read_message(message, body);
    if (!problem) problem = read_model_name(body, name);
    if (problem) return answer(nullptr, nullptr, std::move(problem));
    service.acquire(
        peer, name,
        [&service, answer, body = std::move(body)](ServedRef served, Checked missing) mutable {
          auto plan = std::make_unique<GenerationPlan>();
          plan->env = &service.env();
          if (!missing) missing = plan_socket_message(*served->model, body, service.env(), *plan);
          if (!missing) missing = constrain_answer(*served->model, *plan);
          answer(std::move(served), std::move(plan), std::move(missing));
        });
  });
}

void StreamSocket::begin(Exchange& exchange, const ServedRef& served,
                         std::unique_ptr<GenerationPlan> plan, const Checked& problem) {
  preparing_ = false;
  if (problem) {
    exchange.write(error_body(*problem));
    return;
  }
  served_ = served;
  generation_ = std::make_unique<Generation>(*served_->model, *served_->backend, std::move(*plan));
  if (Checked error = generation_->start(peer_, ++number_)) {
    generation_.reset();
    exchange.write(error_body(*error));
    return;
  }
  if (stop_asked_) advance(exchange, generation_->stop_all());
}

void StreamSocket::advance(Exchange& exchange, const std::string& bytes) {
  if (generation_->failure()) {
    send(exchange, generation_->error_bytes(*generation_->failure()));
    generation_.reset();
    return;
  }
  send(exchange, bytes);
  if (!generation_->done()) return;
  send(exchange, generation_->end());
  generation_.reset();
}

}  // namespace

std::unique_ptr<PeerState> open_stream_socket(const PeerRef& peer, Service& service) {
  return std::make_unique<StreamSocket>(peer, service);
}

}  // namespace hadal
