#include "serve/detached.h"

#include <utility>

namespace hadal {

/// Lives as long as the engine works on the choice. The last event takes the reference along, so
/// that the generation ends on a worker thread.
class DetachedGeneration::Sink final : public TokenSink {
 public:
  Sink(Ref generation, int choice) : generation_(std::move(generation)), choice_(choice) {}

  void on_begin() override {
    post(generation_, [](Generation& g) { g.begin(); });
  }
  void on_token(const TokenEvent& event) override {
    post(generation_, [choice = choice_, event](Generation& g) { g.on_token(choice, event); });
  }
  void on_finish(const FinishEvent& event) override {
    const Ref last = std::move(generation_);
    post(last, [choice = choice_, event](Generation& g) { g.on_finish(choice, event); });
  }

 private:
  Ref generation_;
  int choice_;
};

DetachedGeneration::DetachedGeneration(const PeerRef& peer, const ServedRef& served,
                                       GenerationPlan plan)
    : peer_(peer),
      served_(served),
      generation_(*served->model, *served->backend, std::move(plan)) {}

Checked DetachedGeneration::start(const PeerRef& peer, const ServedRef& served, GenerationPlan plan,
                                  UniqueFunction<void(Cancel)> started) {
  const Ref self = std::make_shared<DetachedGeneration>(  // see Ref; tidy: allow
      peer, served, std::move(plan));
  const MutexLock lock(self->generation_mutex_);
  if (Checked error = self->generation_.start(
          [&](int choice) { return std::make_unique<Sink>(self, choice); })) {
    return error;
  }
  started([weak = std::weak_ptr<DetachedGeneration>(self)] {
    if (const Ref running = weak.lock()) running->stop();
  });
  return std::nullopt;
}

void DetachedGeneration::post(const Ref& self, Event event) {
  {
    const MutexLock lock(self->inbox_mutex_);
    self->inbox_.push_back(std::move(event));
    if (self->draining_) return;
    self->draining_ = true;
  }
  self->peer_.work([self] { drain(self); });
}

void DetachedGeneration::drain(const Ref& self) {
  for (;;) {
    std::deque<Event> events;
    {
      const MutexLock lock(self->inbox_mutex_);
      events.swap(self->inbox_);
      if (events.empty()) {
        self->draining_ = false;
        return;
      }
    }
    const MutexLock lock(self->generation_mutex_);
    for (Event& event : events) {
      if (!self->settled_) event(self->generation_);
    }
    self->settle();
  }
}

void DetachedGeneration::settle() {
  if (settled_) return;
  if (const Checked& failure = generation_.failure()) {
    settled_ = true;
    generation_.error_bytes(*failure);
  } else if (generation_.done()) {
    settled_ = true;
    if (generation_.plan().params.stream) {
      generation_.end();
    } else {
      generation_.whole();
    }
  }
}

void DetachedGeneration::stop() {
  const MutexLock lock(generation_mutex_);
  if (settled_) return;
  generation_.stop_all();
  settle();
}

}  // namespace hadal
