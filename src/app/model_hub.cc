#include "app/model_hub.h"

#include <algorithm>
#include <chrono>
#include <iterator>

#include "base/limits.h"
#include "base/log.h"

namespace hadal {
namespace {

constexpr int64_t kNever = INT64_MAX;
constexpr int64_t kRetryMicros = 5'000'000;  ///< what to tell who asks while a model is loaded

/// What clients may read of a failed load: never a path. The log has the whole text.
ApiError load_problem(const std::string& id, const Error& error) {
  ApiError out{.status = 500, .code = "model_load_failed", .param = "model"};
  std::string why;
  switch (error.code) {
    case Code::kNotFound:
      why = "its file is missing";
      break;
    case Code::kCorrupt:
      why = "its file is damaged";
      break;
    case Code::kUnsupported:
      why = "this version cannot run it";
      break;
    case Code::kExhausted:
      why = "there is not enough memory or disk for it";
      break;
    case Code::kInvalidArgument:
      why = "its settings do not fit it";
      break;
    default:
      why = "the server's log says why";
  }
  out.message = "The model '" + id + "' could not be loaded: " + why + ".";
  return out;
}

ApiError going_down() {
  return {.status = 503, .code = "shutting_down", .message = "The server is shutting down."};
}

ApiError still_loading(const std::string& id) {
  return {.status = 503,
          .code = "model_loading",
          .message = "The model '" + id + "' is not loaded yet; try again.",
          .param = "model",
          .retry_after_micros = kRetryMicros};
}

ApiError too_large(const std::string& id) {
  return {.status = 400,
          .code = "model_too_large",
          .message = "The model '" + id + "' is larger than the memory that models may take here.",
          .param = "model"};
}

bool has_alias(const HubModel& model, std::string_view name) {
  return std::find(model.aliases.begin(), model.aliases.end(), name) != model.aliases.end();
}

}  // namespace

bool covers(std::string_view pattern, std::string_view name) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  const std::string_view head = pattern.substr(0, star);
  const std::string_view end = pattern.substr(star + 1);
  return name.size() >= head.size() + end.size() && name.starts_with(head) && name.ends_with(end);
}

ModelHub::ModelHub(Env& env, HubLoader& loader, std::vector<HubModel> models,
                   std::vector<ModelAlias> aliases, const HubOptions& options)
    : env_(env), loader_(loader), aliases_(std::move(aliases)), options_(options) {
  for (HubModel& model : models) {
    auto slot = std::make_unique<Slot>();
    slot->model = std::move(model);
    slots_.push_back(std::move(slot));
  }
  thread_ = std::thread([this] { run(); });
}

ModelHub::~ModelHub() {
  shutdown();
}

// --- Names

ModelHub::Slot* ModelHub::named(std::string_view name) const {
  for (const auto& slot : slots_) {
    if (slot->model.id == name) return slot.get();
  }
  for (const auto& slot : slots_) {
    if (has_alias(slot->model, name)) return slot.get();
  }
  return nullptr;
}

/// By id, alias, table, and without the tag that Ollama's clients add.
ModelHub::Slot* ModelHub::resolve(std::string_view name) const {
  if (name.empty()) return slots_.empty() ? nullptr : slots_.front().get();
  if (Slot* slot = named(name)) return slot;
  constexpr std::string_view kTag = ":latest";
  if (name.ends_with(kTag)) return resolve(name.substr(0, name.size() - kTag.size()));
  for (const bool exact : {true, false}) {
    for (const ModelAlias& alias : aliases_) {
      if (exact ? alias.pattern != name : !covers(alias.pattern, name)) continue;
      if (Slot* slot = named(alias.model)) return slot;
    }
  }
  return nullptr;
}

ModelHub::Slot* ModelHub::store_slot(std::string_view name) const {
  constexpr std::string_view kTag = ":latest";
  if (name.ends_with(kTag)) name.remove_suffix(kTag.size());
  if (name.empty()) return nullptr;
  std::optional<HubModel> model = loader_.find_in_store(name);
  if (!model) {
    for (const ModelAlias& alias : aliases_) {
      if (covers(alias.pattern, name)) model = loader_.find_in_store(alias.model);
      if (model) break;
    }
  }
  if (!model) return nullptr;
  const MutexLock lock(mu_);
  if (Slot* slot = named(model->id)) return slot;  // another request was faster
  auto slot = std::make_unique<Slot>();
  slot->model = std::move(*model);
  slots_.push_back(std::move(slot));
  return slots_.back().get();
}

/// A model of the store is looked for again unless it is loaded: it may have been removed.
ModelHub::Slot* ModelHub::find_slot(std::string_view name) const {
  {
    const MutexLock lock(mu_);
    Slot* slot = resolve(name);
    if (slot != nullptr && (!slot->model.from_store || slot->state != ModelState::kUnloaded)) {
      return slot;
    }
  }
  return store_slot(name);
}

// --- References

ServedRef ModelHub::lease(Slot& slot) const {
  ++slot.in_use;
  return {&slot.instance->served(), [this, &slot](const Served*) { release(slot, true); }};
}

ServedRef ModelHub::watch(Slot& slot) const {
  ++slot.watched;
  return {&slot.instance->served(), [this, &slot](const Served*) { release(slot, false); }};
}

void ModelHub::release(Slot& slot, bool used) const {
  const MutexLock lock(mu_);
  --(used ? slot.in_use : slot.watched);
  if (used) slot.used_micros = env_.now_micros();
  if (slot.in_use + slot.watched > 0) return;
  const bool wanted = std::any_of(slots_.begin(), slots_.end(),
                                  [](const auto& other) { return !other->waiters.empty(); });
  if (wanted || slot.keep_micros != kKeepForever) changed_.notify_all();
}

std::vector<ServedRef> ModelHub::loaded() const {
  const MutexLock lock(mu_);
  std::vector<ServedRef> out;
  for (const auto& slot : slots_) {
    if (slot->state == ModelState::kReady) out.push_back(watch(*slot));
  }
  return out;
}

bool ModelHub::acquire(std::string_view name, Then then) {
  Slot* slot = find_slot(name);
  ServedRef served;
  Checked problem;
  {
    const MutexLock lock(mu_);
    if (slot == nullptr) {
      std::string names;
      for (const auto& known : slots_) {
        if (names.size() < 200) names += (names.empty() ? "" : "', '") + known->model.id;
      }
      problem = unknown_model(name, names);
    } else if (closing_) {
      problem = going_down();
    } else if (slot->state == ModelState::kReady) {
      served = lease(*slot);
    } else if (slot->waiters.size() >= limits::kConnections) {
      problem = still_loading(slot->model.id);
    } else {
      slot->waiters.push_back({std::move(then), env_.now_micros() + options_.wait_micros});
      changed_.notify_all();
      return false;
    }
  }
  then(std::move(served), std::move(problem));
  return true;
}

// --- What there is

ModelEntry ModelHub::entry_of(const Slot& slot) const {
  ModelEntry entry{.id = slot.model.id,
                   .aliases = slot.model.aliases,
                   .state = slot.state,
                   .created = slot.model.created,
                   .file_bytes = slot.model.file_bytes,
                   .in_use = slot.in_use,
                   .loads = slot.loads,
                   .facts = slot.model.facts};
  if (slot.problem) entry.problem = slot.problem->message;
  if (slot.state == ModelState::kUnloaded && !slot.waiters.empty()) {
    entry.state = ModelState::kLoading;
  }
  if (slot.state != ModelState::kReady) return entry;
  const ServedModel& model = *slot.instance->served().model;
  entry.memory_bytes = slot.memory_bytes;
  entry.n_ctx = model.n_ctx;
  entry.facts = model.facts;
  if (slot.keep_micros != kKeepForever) {
    const int64_t idle = slot.in_use > 0 ? 0 : env_.now_micros() - slot.used_micros;
    entry.expires = env_.unix_micros() - idle + slot.keep_micros;
  }
  return entry;
}

std::vector<ModelEntry> ModelHub::entries() const {
  const std::vector<HubModel> store = loader_.store();
  const MutexLock lock(mu_);
  std::vector<ModelEntry> out;
  for (const auto& slot : slots_) {
    const bool there = !slot->model.from_store || slot->state != ModelState::kUnloaded;
    if (there) out.push_back(entry_of(*slot));
  }
  for (const HubModel& model : store) {
    const bool known = std::any_of(out.begin(), out.end(),
                                   [&](const ModelEntry& entry) { return entry.id == model.id; });
    if (known) continue;
    Slot slot;
    slot.model = model;
    out.push_back(entry_of(slot));
  }
  return out;
}

std::optional<ModelEntry> ModelHub::find(std::string_view name) const {
  const Slot* slot = find_slot(name);
  if (slot == nullptr) return std::nullopt;
  const MutexLock lock(mu_);
  ModelEntry entry = entry_of(*slot);
  entry.chat_template = slot->model.chat_template;
  return entry;
}

bool ModelHub::ready() const {
  const MutexLock lock(mu_);
  return ready_ && !closing_;
}

void ModelHub::keep(std::string_view name, int64_t micros) {
  const MutexLock lock(mu_);
  Slot* slot = resolve(name);
  if (slot == nullptr || slot->state != ModelState::kReady) return;
  slot->keep_micros = micros;
  changed_.notify_all();
}

Checked ModelHub::unload(std::string_view name) {
  Slot* slot = find_slot(name);
  if (slot == nullptr) return unknown_model(name, "other models");
  const MutexLock lock(mu_);
  if (slot->state == ModelState::kReady) slot->keep_micros = 0;
  changed_.notify_all();
  return std::nullopt;
}

// --- The hub's thread

void ModelHub::run() {
  mu_.lock();
  while (!ending_) {
    int64_t wake = kNever;
    if (turn(wake)) continue;
    const int64_t now = env_.now_micros();
    if (wake == kNever) {
      changed_.wait(mu_);
    } else if (wake > now) {
      changed_.wait_for(mu_, std::chrono::microseconds(wake - now));
    }
  }
  for (size_t i = 0; i < slots_.size(); ++i) {  // slots may come while the lock is given back
    refuse(*slots_[i], going_down());
    if (slots_[i]->instance != nullptr) unload(*slots_[i]);
  }
  mu_.unlock();
}

bool ModelHub::turn(int64_t& wake) {
  if (closing_) return false;
  const int64_t now = env_.now_micros();
  if (expire_waiters(now, wake)) return true;
  if (Slot* idle = idle_too_long(now, wake)) {
    log_event(LogLevel::kInfo, "model_idle", {{"model", idle->model.id}});
    unload(*idle);
    return true;
  }
  return load_one();
}

bool ModelHub::expire_waiters(int64_t now, int64_t& wake) {
  std::vector<Told> told;
  for (const auto& slot : slots_) {
    auto& waiters = slot->waiters;
    const auto late = std::find_if(waiters.begin(), waiters.end(),
                                   [&](const Waiter& waiter) { return waiter.deadline > now; });
    for (auto it = waiters.begin(); it != late; ++it) {
      told.push_back({std::move(it->then), nullptr, still_loading(slot->model.id)});
    }
    waiters.erase(waiters.begin(), late);
    if (!waiters.empty()) wake = std::min(wake, waiters.front().deadline);
  }
  if (told.empty()) return false;
  tell(std::move(told));
  return true;
}

ModelHub::Slot* ModelHub::idle_too_long(int64_t now, int64_t& wake) {
  for (const auto& slot : slots_) {
    if (slot->state != ModelState::kReady || slot->keep_micros == kKeepForever) continue;
    if (slot->in_use + slot->watched > 0) continue;
    const int64_t end = slot->used_micros + slot->keep_micros;
    if (end <= now) return slot.get();
    wake = std::min(wake, end);
  }
  return nullptr;
}

/// Who waits longest comes first; a model for which there is no room now lets others pass.
bool ModelHub::load_one() {
  std::vector<Slot*> wanted;
  for (const auto& slot : slots_) {
    if (!slot->waiters.empty()) wanted.push_back(slot.get());
  }
  std::stable_sort(wanted.begin(), wanted.end(), [](const Slot* a, const Slot* b) {
    return a->waiters.front().deadline < b->waiters.front().deadline;
  });
  for (Slot* slot : wanted) {
    const Room room = make_room(*slot);
    if (room == Room::kNotNow) continue;
    if (room == Room::kThere) load(*slot);
    if (room == Room::kNever) refuse(*slot, too_large(slot->model.id));
    return true;
  }
  return false;
}

/// Gives others' memory back as far as that helps. kMade: the lock was given back in between.
ModelHub::Room ModelHub::make_room(Slot& wanted) {
  if (wanted.memory_bytes == 0) {
    mu_.unlock();
    auto estimate = loader_.estimate(wanted.model);
    mu_.lock();
    if (closing_) return Room::kNotNow;
    // A file that cannot be read says so when it is loaded.
    wanted.memory_bytes = std::max<uint64_t>(estimate.ok() ? estimate.value() : 0, 1);
  }
  const uint64_t need = wanted.memory_bytes;
  const uint64_t most = options_.memory_bytes;
  if (need > most && options_.memory_is_hard) return Room::kNever;
  uint64_t all = 0;
  uint64_t held = 0;
  Slot* oldest = nullptr;
  for (const auto& slot : slots_) {
    if (slot->state != ModelState::kReady) continue;
    all += slot->memory_bytes;
    if (slot->in_use + slot->watched > 0) {
      held += slot->memory_bytes;
    } else if (oldest == nullptr || slot->used_micros < oldest->used_micros) {
      oldest = slot.get();
    }
  }
  if (all == 0 || (need <= most && all <= most - need)) return Room::kThere;
  if (held > 0 && (need > most || held > most - need)) return Room::kNotNow;
  if (oldest == nullptr) return Room::kNotNow;
  log_event(LogLevel::kInfo, "model_makes_room",
            {{"model", oldest->model.id}, {"for", wanted.model.id}});
  unload(*oldest);
  return Room::kMade;
}

void ModelHub::load(Slot& slot) {
  slot.state = ModelState::kLoading;
  const int64_t began = env_.now_micros();
  mu_.unlock();
  auto loaded = loader_.load(slot.model);
  mu_.lock();
  const int64_t now = env_.now_micros();
  if (!loaded.ok()) {
    slot.state = ModelState::kUnloaded;
    slot.memory_bytes = 0;
    slot.error = loaded.error();
    log_event(LogLevel::kError, "model_load_failed",
              {{"model", slot.model.id}, {"error", slot.error.text()}});
    slot.problem = load_problem(slot.model.id, slot.error);
    refuse(slot, *slot.problem);
    return;
  }
  slot.problem.reset();
  slot.instance = std::move(loaded).value();
  slot.memory_bytes = std::max<uint64_t>(slot.instance->memory_bytes(), 1);
  slot.state = ModelState::kReady;
  slot.keep_micros = slot.model.keep_micros;
  slot.used_micros = now;
  ++slot.loads;
  log_event(LogLevel::kInfo, "model_loaded",
            {{"model", slot.model.id}, {"bytes", slot.memory_bytes}, {"ms", (now - began) / 1000}});
  std::vector<Told> told;
  for (Waiter& waiter : slot.waiters) {
    told.push_back({std::move(waiter.then), lease(slot), std::nullopt});
  }
  slot.waiters.clear();
  tell(std::move(told));
}

void ModelHub::unload(Slot& slot) {
  slot.state = ModelState::kUnloading;
  std::unique_ptr<HubInstance> instance = std::move(slot.instance);
  mu_.unlock();
  instance.reset();
  mu_.lock();
  slot.state = ModelState::kUnloaded;
  log_event(LogLevel::kInfo, "model_unloaded", {{"model", slot.model.id}});
  changed_.notify_all();
}

void ModelHub::refuse(Slot& slot, const ApiError& problem) {
  std::vector<Told> told;
  for (Waiter& waiter : slot.waiters) told.push_back({std::move(waiter.then), nullptr, problem});
  slot.waiters.clear();
  tell(std::move(told));
}

void ModelHub::tell(std::vector<Told> told) {
  if (told.empty()) return;
  mu_.unlock();
  for (Told& one : told) one.then(std::move(one.served), std::move(one.problem));
  told.clear();
  mu_.lock();
}

// --- From start to end

Status ModelHub::preload() {
  struct Progress {
    Mutex mu;
    CondVar changed;
    size_t open GUARDED_BY(mu) = 0;
  } progress;
  std::vector<Slot*> wanted;
  {
    const MutexLock lock(mu_);
    for (const auto& slot : slots_) {
      if (slot->model.preload) wanted.push_back(slot.get());
    }
    const MutexLock count(progress.mu);
    progress.open = wanted.size();
    for (Slot* slot : wanted) {
      slot->waiters.push_back({[&progress](const ServedRef&, const Checked&) {
                                 const MutexLock done(progress.mu);
                                 --progress.open;
                                 progress.changed.notify_all();
                               },
                               kNever});
    }
    changed_.notify_all();
  }
  {
    const MutexLock lock(progress.mu);
    while (progress.open > 0) progress.changed.wait(progress.mu);
  }
  const MutexLock lock(mu_);
  for (const Slot* slot : wanted) {
    if (slot->problem) return slot->error;
    if (slot->loads == 0) {
      return Error{Code::kExhausted,
                   slot->model.id + " is larger than the memory that models may take",
                   "give it more with --model-memory, or a smaller context"};
    }
  }
  ready_ = true;
  return {};
}

void ModelHub::drain(int64_t timeout_micros) {
  const int64_t deadline = env_.now_micros() + timeout_micros;
  std::vector<HubInstance*> running;
  {
    const MutexLock lock(mu_);
    closing_ = true;
    for (size_t i = 0; i < slots_.size(); ++i) refuse(*slots_[i], going_down());
    for (const auto& slot : slots_) {
      if (slot->instance != nullptr) running.push_back(slot->instance.get());
    }
  }
  // From here on the hub's thread ends no model.
  for (HubInstance* instance : running) {
    instance->drain(std::max<int64_t>(deadline - env_.now_micros(), 0));
  }
}

void ModelHub::stop() {
  const MutexLock lock(mu_);
  for (const auto& slot : slots_) {
    if (slot->instance != nullptr) slot->instance->stop();
  }
}

void ModelHub::wake() {
  const MutexLock lock(mu_);
  changed_.notify_all();
}

void ModelHub::shutdown() {
  {
    const MutexLock lock(mu_);
    closing_ = true;
    ending_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

}  // namespace hadal
