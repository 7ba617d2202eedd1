// Goal: models come when they are asked for and go when nobody uses them; one that is in use never
// goes, whatever the budget, the clock and the callers do.
#include "app/model_hub.h"

#include <atomic>
#include <map>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "base/limits.h"
#include "engine/testing/harness.h"

namespace hadal {
namespace {

using testing::VirtualEnv;

/// Loads nothing, and remembers what it was asked.
class FakeLoader final : public HubLoader {
 public:
  class Instance final : public HubInstance {
   public:
    Instance(FakeLoader& loader, const HubModel& model, uint64_t bytes)
        : loader_(loader), id_(model.id), bytes_(bytes) {
      auto served = std::make_unique<ServedModel>();
      served->id = model.id;
      served_.model = std::move(served);
      loader_.note(id_, +1);
    }
    ~Instance() override { loader_.note(id_, -1); }
    const Served& served() const override { return served_; }
    uint64_t memory_bytes() const override { return bytes_; }
    void drain(int64_t) override { ++loader_.drains; }
    void stop() override { ++loader_.stops; }

   private:
    FakeLoader& loader_;
    std::string id_;
    uint64_t bytes_;
    Served served_;
  };

  Result<uint64_t> estimate(const HubModel& model) override { return bytes_of(model); }

  Result<std::unique_ptr<HubInstance>> load(const HubModel& model) override {
    {
      const MutexLock lock(mu_);
      ++loads_[model.id];
      while (held_) changed_.wait(mu_);
      const auto found = failures_.find(model.id);
      if (found != failures_.end()) return found->second;
    }
    return std::unique_ptr<HubInstance>(std::make_unique<Instance>(*this, model, bytes_of(model)));
  }

  std::optional<HubModel> find_in_store(std::string_view name) override {
    const MutexLock lock(mu_);
    if (!stored_.contains(std::string(name))) return std::nullopt;
    return HubModel{.id = std::string(name), .from_store = true};
  }

  std::vector<HubModel> store() override {
    const MutexLock lock(mu_);
    std::vector<HubModel> out;
    for (const std::string& name : stored_) out.push_back({.id = name, .from_store = true});
    return out;
  }

  /// The number behind the last dash of the name.
  static uint64_t bytes_of(const HubModel& model) {
    return std::strtoull(model.id.c_str() + model.id.rfind('-') + 1, nullptr, 10);
  }

  void hold() {
    const MutexLock lock(mu_);
    held_ = true;
  }
  void go_on() {
    const MutexLock lock(mu_);
    held_ = false;
    changed_.notify_all();
  }
  void fail(const std::string& id, Error error) {
    const MutexLock lock(mu_);
    failures_.emplace(id, std::move(error));
  }
  void heal() {
    const MutexLock lock(mu_);
    failures_.clear();
  }
  void put_into_store(const std::string& id) {
    const MutexLock lock(mu_);
    stored_.insert(id);
  }
  void remove_from_store(const std::string& id) {
    const MutexLock lock(mu_);
    stored_.erase(id);
  }
  int loads(const std::string& id) {
    const MutexLock lock(mu_);
    return loads_[id];
  }
  /// Until `id` is loaded (or not).
  void wait_for(const std::string& id, bool loaded) {
    const MutexLock lock(mu_);
    while ((alive_[id] > 0) != loaded) changed_.wait(mu_);
  }
  bool is_loaded(const std::string& id) {
    const MutexLock lock(mu_);
    return alive_[id] > 0;
  }
  int all_loaded() {
    const MutexLock lock(mu_);
    int count = 0;
    for (const auto& [id, alive] : alive_) count += alive;
    return count;
  }
  std::atomic<int> drains{0};
  std::atomic<int> stops{0};

 private:
  void note(const std::string& id, int change) {
    const MutexLock lock(mu_);
    alive_[id] += change;
    changed_.notify_all();
  }

  Mutex mu_;
  CondVar changed_;
  bool held_ = false;
  std::map<std::string, int> loads_;
  std::map<std::string, int> alive_;
  std::map<std::string, Error> failures_;
  std::set<std::string> stored_;
};

/// What acquire() came to.
struct Answer {
  ServedRef served;
  Checked problem;
};

class Asking {
 public:
  Asking(ModelDirectory& hub, std::string_view name) : state_(std::make_unique<State>()) {
    hub.acquire(name, [state = state_.get()](ServedRef served, Checked problem) {
      const MutexLock lock(state->mu);
      state->answer = {std::move(served), std::move(problem)};
      state->done = true;
      state->changed.notify_all();
    });
  }
  bool done() {
    const MutexLock lock(state_->mu);
    return state_->done;
  }
  Answer wait() {
    const MutexLock lock(state_->mu);
    while (!state_->done) state_->changed.wait(state_->mu);
    return std::move(state_->answer);
  }

 private:
  struct State {
    Mutex mu;
    CondVar changed;
    bool done = false;
    Answer answer;
  };
  std::unique_ptr<State> state_;
};

Answer ask(ModelDirectory& hub, std::string_view name) {
  return Asking(hub, name).wait();
}

std::string code_of(const Answer& answer) {
  return answer.problem ? answer.problem->code : "";
}

class ModelHubTest : public ::testing::Test {
 protected:
  ModelHub& hub(std::vector<HubModel> models, const HubOptions& options = {},
                std::vector<ModelAlias> aliases = {}) {
    hub_ =
        std::make_unique<ModelHub>(env_, loader_, std::move(models), std::move(aliases), options);
    return *hub_;
  }

  /// Time passes, and the hub sees it.
  void pass(int64_t micros) {
    env_.advance(micros);
    hub_->wake();
  }

  VirtualEnv env_;
  FakeLoader loader_;
  std::unique_ptr<ModelHub> hub_;
};

constexpr int64_t kSecond = 1'000'000;

TEST_F(ModelHubTest, PreloadsWhatIsToBeThere) {
  // Goal: ready only when the models that are to be there are; others are not loaded by that.
  ModelHub& hub = this->hub({{.id = "a-1", .preload = true}, {.id = "b-1"}});
  EXPECT_FALSE(hub.ready());
  ASSERT_TRUE(hub.preload().ok());
  EXPECT_TRUE(hub.ready());
  EXPECT_EQ(loader_.loads("a-1"), 1);
  EXPECT_EQ(loader_.loads("b-1"), 0);
  ASSERT_EQ(hub.loaded().size(), 1u);
  EXPECT_EQ(hub.loaded().front()->model->id, "a-1");
}

TEST_F(ModelHubTest, PreloadTellsWhatFailed) {
  // Goal: a server whose model cannot be loaded does not start, and says why.
  loader_.fail("a-1", {Code::kCorrupt, "the file /x/a.gguf is damaged"});
  ModelHub& hub = this->hub({{.id = "a-1", .preload = true}});
  const Status status = hub.preload();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, "the file /x/a.gguf is damaged");
}

TEST_F(ModelHubTest, PreloadTellsWhatIsTooLarge) {
  // Goal: the same for one that the budget does not allow.
  ModelHub& hub =
      this->hub({{.id = "a-9", .preload = true}}, {.memory_bytes = 5, .memory_is_hard = true});
  const Status status = hub.preload();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::kExhausted);
}

TEST_F(ModelHubTest, NamesAliasesPatternsAndTags) {
  // Goal: each way to name a model finds it; a name beats a pattern; unknown ones are 404.
  ModelHub& hub = this->hub({{.id = "a-1", .aliases = {"first"}}, {.id = "b-1"}}, {},
                            {{"claude-*", "b-1"}, {"claude-x", "a-1"}, {"*-chat", "first"}});
  for (const char* name : {"", "a-1", "first", "claude-x", "deepseek-chat", "a-1:latest"}) {
    const Answer answer = ask(hub, name);
    ASSERT_FALSE(answer.problem) << name;
    EXPECT_EQ(answer.served->model->id, "a-1") << name;
  }
  EXPECT_EQ(ask(hub, "claude-opus").served->model->id, "b-1");
  const Answer unknown = ask(hub, "chat");
  ASSERT_TRUE(unknown.problem);
  EXPECT_EQ(unknown.problem->status, 404);
  EXPECT_EQ(code_of(unknown), "model_not_found");
  EXPECT_EQ(loader_.loads("a-1") + loader_.loads("b-1"), 2);
}

TEST_F(ModelHubTest, ManyWaitersOneLoad) {
  // Goal: requests that come while a model is loaded all get that one load's model.
  ModelHub& hub = this->hub({{.id = "a-1"}});
  loader_.hold();
  std::vector<std::unique_ptr<Asking>> asking;
  std::vector<std::thread> threads;
  Mutex mu;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 25; ++i) {
        auto one = std::make_unique<Asking>(hub, "a-1");
        const MutexLock lock(mu);
        asking.push_back(std::move(one));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& one : asking) EXPECT_FALSE(one->done());
  EXPECT_EQ(hub.entries().front().state, ModelState::kLoading);
  loader_.go_on();
  for (const auto& one : asking) EXPECT_NE(one->wait().served, nullptr);
  EXPECT_EQ(loader_.loads("a-1"), 1);
}

TEST_F(ModelHubTest, WaitersAreBounded) {
  // Goal: a flood of requests for a model that does not come takes bounded memory.
  ModelHub& hub = this->hub({{.id = "a-1"}});
  loader_.hold();
  std::vector<std::unique_ptr<Asking>> asking;
  for (size_t i = 0; i < limits::kConnections; ++i) {
    asking.push_back(std::make_unique<Asking>(hub, "a-1"));
  }
  const Answer refused = ask(hub, "a-1");
  EXPECT_EQ(code_of(refused), "model_loading");
  EXPECT_EQ(refused.problem->status, 503);
  loader_.go_on();
  for (const auto& one : asking) EXPECT_NE(one->wait().served, nullptr);
}

TEST_F(ModelHubTest, TheLeastRecentlyUsedMakesRoom) {
  // Goal: the budget holds, and it is the model that was used longest ago that goes.
  ModelHub& hub = this->hub({{.id = "a-4"}, {.id = "b-4"}, {.id = "c-4"}}, {.memory_bytes = 8});
  ask(hub, "a-4");
  env_.advance(kSecond);
  ask(hub, "b-4");
  env_.advance(kSecond);
  ask(hub, "a-4");
  env_.advance(kSecond);
  EXPECT_EQ(ask(hub, "c-4").served->model->id, "c-4");
  EXPECT_TRUE(loader_.is_loaded("a-4"));
  EXPECT_FALSE(loader_.is_loaded("b-4"));
  EXPECT_EQ(ask(hub, "b-4").served->model->id, "b-4");
  EXPECT_FALSE(loader_.is_loaded("a-4"));
  EXPECT_EQ(loader_.loads("b-4"), 2);
}

TEST_F(ModelHubTest, WhatIsInUseNeverGoes) {
  // Goal: a load that needs the memory of a model in use waits until it is let go.
  ModelHub& hub = this->hub({{.id = "a-4"}, {.id = "b-4"}, {.id = "c-1"}}, {.memory_bytes = 5});
  Answer a = ask(hub, "a-4");
  Asking b(hub, "b-4");
  // One that fits passes it.
  EXPECT_EQ(ask(hub, "c-1").served->model->id, "c-1");
  EXPECT_FALSE(b.done());
  EXPECT_TRUE(loader_.is_loaded("a-4"));
  EXPECT_EQ(loader_.loads("b-4"), 0);
  a.served.reset();
  EXPECT_EQ(b.wait().served->model->id, "b-4");
  EXPECT_FALSE(loader_.is_loaded("a-4"));
}

TEST_F(ModelHubTest, AWaitInVainEnds) {
  // Goal: who waits longer than configured is told to come back, and the next one is served.
  ModelHub& hub =
      this->hub({{.id = "a-4"}, {.id = "b-4"}}, {.memory_bytes = 5, .wait_micros = 10 * kSecond});
  Answer a = ask(hub, "a-4");
  Asking b(hub, "b-4");
  pass(9 * kSecond);
  EXPECT_FALSE(b.done());
  pass(kSecond);
  const Answer answer = b.wait();
  EXPECT_EQ(code_of(answer), "model_loading");
  EXPECT_EQ(answer.problem->status, 503);
  EXPECT_GT(answer.problem->retry_after_micros, 0);
  a.served.reset();
  EXPECT_NE(ask(hub, "b-4").served, nullptr);
}

TEST_F(ModelHubTest, TooLarge) {
  // Goal: a budget that was asked for is kept; one that was only guessed lets a large model be
  // alone.
  ModelHub& hard =
      this->hub({{.id = "a-9"}, {.id = "b-1"}}, {.memory_bytes = 5, .memory_is_hard = true});
  const Answer answer = ask(hard, "a-9");
  EXPECT_EQ(code_of(answer), "model_too_large");
  EXPECT_EQ(answer.problem->status, 400);
  EXPECT_EQ(loader_.loads("a-9"), 0);
  EXPECT_NE(ask(hard, "b-1").served, nullptr);

  ModelHub& soft = this->hub({{.id = "a-9"}, {.id = "b-1"}}, {.memory_bytes = 5});
  ask(soft, "b-1");
  EXPECT_NE(ask(soft, "a-9").served, nullptr);
  EXPECT_FALSE(loader_.is_loaded("b-1"));
}

TEST_F(ModelHubTest, AFailedLoadReachesAllAndNothingElse) {
  // Goal: the error is the cause without paths; the hub goes on, and tries again when asked.
  loader_.fail("a-1", {Code::kNotFound, "cannot open /secret/a.gguf"});
  ModelHub& hub = this->hub({{.id = "a-1"}, {.id = "b-1"}});
  for (int i = 0; i < 2; ++i) {
    const Answer answer = ask(hub, "a-1");
    EXPECT_EQ(code_of(answer), "model_load_failed");
    EXPECT_EQ(answer.problem->status, 500);
    EXPECT_NE(answer.problem->message.find("missing"), std::string::npos);
    EXPECT_EQ(answer.problem->message.find("/secret"), std::string::npos);
  }
  EXPECT_EQ(loader_.loads("a-1"), 2);
  EXPECT_NE(hub.find("a-1")->problem, "");
  EXPECT_NE(ask(hub, "b-1").served, nullptr);
  loader_.heal();
  EXPECT_NE(ask(hub, "a-1").served, nullptr);
  EXPECT_EQ(hub.find("a-1")->problem, "");
}

TEST_F(ModelHubTest, IdleModelsGo) {
  // Goal: the time runs from the last use, not while one is in use, nor for those who only look.
  ModelHub& hub = this->hub({{.id = "a-1", .keep_micros = 10 * kSecond}});
  Answer a = ask(hub, "a-1");
  pass(60 * kSecond);
  EXPECT_TRUE(loader_.is_loaded("a-1"));
  a.served.reset();
  pass(9 * kSecond);
  EXPECT_EQ(hub.loaded().size(), 1u);
  EXPECT_EQ(hub.entries().front().expires, env_.unix_micros() + kSecond);
  pass(kSecond);
  loader_.wait_for("a-1", false);
  EXPECT_TRUE(hub.loaded().empty());
  EXPECT_NE(ask(hub, "a-1").served, nullptr);
  EXPECT_EQ(loader_.loads("a-1"), 2);
}

TEST_F(ModelHubTest, KeepAndUnload) {
  // Goal: keep() changes when it goes; unload() lets it go when it is not in use.
  ModelHub& hub = this->hub({{.id = "a-1", .aliases = {"x"}}, {.id = "b-1"}});
  ask(hub, "a-1");
  hub.keep("x", 5 * kSecond);
  pass(5 * kSecond);
  loader_.wait_for("a-1", false);
  Answer a = ask(hub, "a-1");
  EXPECT_EQ(hub.entries().front().expires, 0);  // as configured again
  EXPECT_FALSE(hub.unload("a-1"));
  EXPECT_TRUE(loader_.is_loaded("a-1"));
  a.served.reset();
  loader_.wait_for("a-1", false);
  EXPECT_FALSE(hub.unload("b-1"));  // is not there
  ASSERT_TRUE(hub.unload("nobody"));
  EXPECT_EQ(hub.unload("nobody")->status, 404);
}

TEST_F(ModelHubTest, ModelsOfTheStore) {
  // Goal: models of the store are listed, loaded when named, and gone when removed.
  ModelHub& hub = this->hub({{.id = "a-1"}}, {}, {{"big*", "s-2"}});
  EXPECT_EQ(code_of(ask(hub, "s-2")), "model_not_found");
  loader_.put_into_store("s-2");
  ASSERT_EQ(hub.entries().size(), 2u);
  EXPECT_EQ(hub.entries()[1].state, ModelState::kUnloaded);
  EXPECT_EQ(ask(hub, "s-2").served->model->id, "s-2");
  EXPECT_EQ(ask(hub, "bigger:latest").served->model->id, "s-2");
  EXPECT_EQ(hub.entries().size(), 2u);
  EXPECT_EQ(hub.entries()[1].state, ModelState::kReady);
  EXPECT_FALSE(hub.unload("s-2"));
  loader_.wait_for("s-2", false);
  while (hub.entries()[1].state != ModelState::kUnloaded) std::this_thread::yield();
  loader_.remove_from_store("s-2");
  EXPECT_EQ(code_of(ask(hub, "s-2")), "model_not_found");
  EXPECT_FALSE(hub.find("s-2"));
}

TEST_F(ModelHubTest, DrainStopsLoadsAndAllModels) {
  // Goal: who waits hears of the end; every model is drained and stopped; then nothing is loaded.
  ModelHub& hub = this->hub({{.id = "a-1"}, {.id = "b-1"}, {.id = "c-1"}});
  Answer a = ask(hub, "a-1");
  ask(hub, "b-1");
  loader_.hold();
  Asking c(hub, "c-1");
  while (loader_.loads("c-1") == 0) std::this_thread::yield();
  hub.drain(kSecond);
  EXPECT_EQ(code_of(c.wait()), "shutting_down");
  EXPECT_EQ(code_of(ask(hub, "b-1")), "shutting_down");
  EXPECT_EQ(loader_.drains, 2);
  hub.stop();
  EXPECT_EQ(loader_.stops, 2);
  loader_.go_on();
  hub.shutdown();
  for (const char* id : {"a-1", "b-1", "c-1"}) EXPECT_FALSE(loader_.is_loaded(id)) << id;
}

TEST_F(ModelHubTest, ManyThreadsOnATightBudget) {
  // Goal: whatever happens at once, a model that was handed out is there, and the budget holds.
  ModelHub& hub = this->hub({{.id = "a-3", .keep_micros = 0}, {.id = "b-3"}, {.id = "c-3"}},
                            {.memory_bytes = 6, .memory_is_hard = true});
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const std::string names[] = {"a-3", "b-3", "c-3"};
      for (int i = 0; i < 200; ++i) {
        const std::string& name = names[(i * 7 + t) % 3];
        const Answer answer = ask(hub, name);
        if (answer.problem || answer.served->model->id != name || !loader_.is_loaded(name)) ++wrong;
        if (loader_.all_loaded() > 2) ++wrong;
        if (i % 17 == 0 && hub.unload(name)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Covers, OneStar) {
  // Goal: a pattern's star stands for any text, also none, and nothing else is special.
  EXPECT_TRUE(covers("claude-*", "claude-"));
  EXPECT_TRUE(covers("*", ""));
  EXPECT_TRUE(covers("a*c", "abc"));
  EXPECT_FALSE(covers("a*a", "a"));
  EXPECT_FALSE(covers("a.c", "abc"));
  EXPECT_FALSE(covers("claude-*", "xclaude-1"));
}

TEST(KeepAlive, SecondsDurationsAndNever) {
  // Goal: every way that Ollama's clients write a duration is read, all else refused.
  EXPECT_EQ(parse_keep_alive("300"), 300 * kSecond);
  EXPECT_EQ(parse_keep_alive("0"), 0);
  EXPECT_EQ(parse_keep_alive("0s"), 0);
  EXPECT_EQ(parse_keep_alive("5m"), 300 * kSecond);
  EXPECT_EQ(parse_keep_alive("1h30m"), 5400 * kSecond);
  EXPECT_EQ(parse_keep_alive("1.5s"), 1'500'000);
  EXPECT_EQ(parse_keep_alive("500ms"), 500'000);
  EXPECT_EQ(parse_keep_alive("-1"), kKeepForever);
  EXPECT_EQ(parse_keep_alive("-1m"), kKeepForever);
  for (const char* text : {"", "-", "m", "5x", "5m3", "1e400", "nan", "five"}) {
    EXPECT_FALSE(parse_keep_alive(text)) << text;
  }
}

}  // namespace
}  // namespace hadal
