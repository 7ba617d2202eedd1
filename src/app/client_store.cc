#include "app/client_store.h"

#include <algorithm>
#include <utility>

#include "app/catalogue.h"
#include "app/pull.h"
#include "app/sha256.h"
#include "app/store.h"
#include "base/env.h"
#include "base/limits.h"
#include "base/log.h"

namespace hadal {
namespace {

constexpr int64_t kReportMicros = 100'000;  ///< between two reports of the same pull

Settings without_token(Settings settings) {
  settings.hf_token.clear();
  return settings;
}

/// As the store knows it: without the tag that Ollama's clients add.
std::string plain_name(std::string_view name) {
  constexpr std::string_view kTag = ":latest";
  if (name.ends_with(kTag)) name.remove_suffix(kTag.size());
  return std::string(name);
}

ApiError not_found(std::string_view name) {
  return {.status = 404,
          .code = "model_not_found",
          .message = "model '" + std::string(name.substr(0, 200)) + "' not found",
          .param = "model"};
}

ApiError not_pullable(std::string_view name) {
  ApiError out = not_found(name);
  out.message +=
      "; what can be pulled are names of the catalogue (hadal list --catalogue) and "
      "hf:ORG/REPO/FILE.gguf or ms:ORG/REPO/FILE.gguf";
  return out;
}

ApiError going_down() {
  return {.status = 503, .code = "shutting_down", .message = "The server is shutting down."};
}

/// What clients may read of a failed pull: no path and no address. The log has the whole text.
ApiError pull_problem(const std::string& name, const Error& error) {
  const std::string model = "model '" + name.substr(0, 200) + "' ";
  switch (error.code) {
    case Code::kInvalidArgument:
    case Code::kUnsupported:
      return {.status = 400,
              .code = "invalid_model_name",
              .message = model + "is no file that can be pulled under a name of its own",
              .param = "model"};
    case Code::kNotFound:
      return not_found(name);
    case Code::kDenied:
      return {.status = 403, .code = "hub_denied", .message = model + "is not public"};
    case Code::kExhausted:
      return {.status = 507,
              .code = "store_full",
              .message = model + "is larger than the room that is left on this server"};
    case Code::kUnavailable:
    case Code::kDeadline:
      return {.status = 503,
              .code = "hub_unavailable",
              .message = model + "could not be had: no hub delivers it now"};
    case Code::kCancelled:
      return going_down();
    case Code::kCorrupt:
    case Code::kIo:
    case Code::kInternal:
      break;
  }
  return {.status = 500, .code = "pull_failed", .message = model + "could not be pulled"};
}

bool is_hub_file(std::string_view name) {
  return name.starts_with("hf:") || name.starts_with("ms:");
}

/// The file's hash where the catalogue knows it, else one of its name.
std::string digest_of(const std::string& reference) {
  const CatalogueEntry* entry = find_in_catalogue(reference);
  const bool known = entry != nullptr && !entry->sha256.empty();
  return "sha256:" + (known ? std::string(entry->sha256) : sha256_of(reference));
}

}  // namespace

ClientStore::ClientStore(const Settings& settings, ModelDirectory& models, Limits limits)
    : settings_(without_token(settings)), models_(models), limits_(std::move(limits)) {
  thread_ = std::thread([this] { run(); });
}

ClientStore::~ClientStore() {
  shutdown();
}

Checked ClientStore::pull(std::string_view name, std::unique_ptr<PullWatcher> watcher, PullId& id) {
  const std::string reference = plain_name(name);
  const bool known = is_hub_file(reference) || find_in_catalogue(reference) != nullptr ||
                     find_stored(settings_, reference).has_value();
  if (!known) return not_pullable(reference);
  const MutexLock lock(mu_);
  if (ending_) return going_down();
  if (waiting_.size() >= limits::kWaitingPulls) {
    return ApiError{
        .status = 429, .code = "too_many_pulls", .message = "Too many pulls wait already."};
  }
  id = ++last_id_;
  watcher->on_progress({});
  waiting_.push_back({id, reference, digest_of(reference), std::move(watcher)});
  changed_.notify_all();
  return std::nullopt;
}

void ClientStore::cancel(PullId id) {
  const MutexLock lock(mu_);
  std::erase_if(waiting_, [&](const Job& job) { return job.id == id; });
  if (running_.id != id) return;
  running_.watcher.reset();
  stop_ = true;
}

void ClientStore::run() {
  mu_.lock();
  while (!ending_) {
    if (waiting_.empty()) {
      changed_.wait(mu_);
      continue;
    }
    running_ = std::move(waiting_.front());
    waiting_.pop_front();
    stop_ = false;
    const std::string reference = running_.reference;
    mu_.unlock();
    work(reference);
    mu_.lock();
    running_ = {};
  }
  mu_.unlock();
}

void ClientStore::work(const std::string& reference) {
  PullOptions options{.reference = reference, .name = {}, .sha256 = {}, .quiet = true};
  const uint64_t others = store_bytes(settings_, store_name_of(reference));
  options.bytes_max = limits_.bytes - std::min(limits_.bytes, others);
  options.stop = &stop_;
  Env& env = Env::real();
  int64_t told_micros = 0;
  options.progress = [&](uint64_t done, uint64_t total, bool verifying) {
    if (env.now_micros() - told_micros < kReportMicros && done != total) return;
    told_micros = env.now_micros();
    report({.stage = verifying ? PullStage::kVerifying : PullStage::kFetching,
            .done = done,
            .total = total});
  };
  const auto pulled = hadal::pull(options, settings_);
  Checked problem;
  if (pulled.ok()) {
    log_event(LogLevel::kInfo, "model_pulled", {{"model", pulled.value().name}});
  } else {
    problem = pull_problem(reference, pulled.error());
    log_event(LogLevel::kError, "pull_failed",
              {{"model", reference}, {"error", pulled.error().text()}});
  }
  const MutexLock lock(mu_);
  if (running_.watcher != nullptr) {
    running_.watcher->on_end(problem, pulled.ok() ? pulled.value().name : "");
  }
}

void ClientStore::report(PullProgress progress) {
  const MutexLock lock(mu_);
  if (running_.watcher == nullptr) return;
  progress.digest = running_.digest;
  running_.watcher->on_progress(progress);
}

Checked ClientStore::copy(std::string_view from, std::string_view to) {
  const std::string name = plain_name(to);
  const auto model = find_stored(settings_, plain_name(from));
  if (!model) return not_found(from);
  if (!is_model_name(name)) {
    return invalid_param("destination",
                         "'destination' must be letters, digits, dots, dashes and underscores.");
  }
  if (name == model->name) return std::nullopt;
  if (find_stored(settings_, name) || models_.find(name)) {
    return invalid_param("destination", "There is a model '" + name + "' already.");
  }
  if (stored_models(settings_).size() >= limits::kStoredNames) {
    return ApiError{.status = 507, .code = "store_full", .message = "The store has no room."};
  }
  if (const Status linked = link_stored(settings_, *model, name); !linked.ok()) {
    log_event(LogLevel::kError, "copy_failed", {{"model", name}, {"error", linked.error().text()}});
    return to_api_error(linked.error());
  }
  return std::nullopt;
}

Checked ClientStore::remove(std::string_view asked) {
  const std::string name = plain_name(asked);
  const auto model = find_stored(settings_, name);
  const auto unfinished = discard_unfinished(name, settings_);
  if (!unfinished.ok()) {
    return ApiError{.status = 409, .code = "model_in_use", .message = "'" + name + "' is pulled."};
  }
  if (!model) return unfinished.value() ? Checked() : not_found(name);
  std::error_code failed;
  const auto path = std::filesystem::canonical(model->path, failed);
  if (std::find(limits_.kept.begin(), limits_.kept.end(), path) != limits_.kept.end()) {
    return ApiError{.status = 403,
                    .code = "model_is_kept",
                    .message = "'" + name +
                               "' is one of the models that this server serves by "
                               "its own settings.",
                    .param = "model"};
  }
  // One that is in use goes from memory when its last answer is complete; its file can go now.
  const Checked unknown = models_.unload(name);
  static_cast<void>(unknown);
  if (const Status removed = remove_stored(settings_, *model); !removed.ok()) {
    log_event(LogLevel::kError, "remove_failed",
              {{"model", name}, {"error", removed.error().text()}});
    return to_api_error(removed.error());
  }
  log_event(LogLevel::kInfo, "model_removed", {{"model", name}});
  return std::nullopt;
}

void ClientStore::shutdown() {
  {
    const MutexLock lock(mu_);
    ending_ = true;
    stop_ = true;
    for (Job& job : waiting_) job.watcher->on_end(going_down(), "");
    waiting_.clear();
    if (running_.watcher != nullptr) running_.watcher->on_end(going_down(), "");
    running_.watcher.reset();
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

}  // namespace hadal
