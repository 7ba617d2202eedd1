#pragma once
/// ModelHub: the models of a server that come and go. A thread of its own loads one model at a time
/// and ends those that nobody uses for long, or whose memory another one needs; a model that is in
/// use never goes.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/mutex.h"
#include "serve/directory.h"

namespace hadal {

/// A model that may be loaded.
struct HubModel {
  std::string id;
  std::vector<std::string> aliases = {};
  int64_t keep_micros = kKeepForever;  ///< how long it stays when nobody uses it
  bool preload = false;                ///< from the start
  bool from_store = false;             ///< found by its name when a request named it
  size_t settings = 0;                 ///< for the loader: which settings it is loaded with
  std::string path = {};               ///< for the loader
  int64_t created = 0;                 ///< unix seconds
  uint64_t file_bytes = 0;
  json::object facts = {};
  std::string chat_template = {};
};

/// A loaded model. Destroyed on the hub's thread; that may take its time.
class HubInstance {
 public:
  virtual ~HubInstance() = default;
  virtual const Served& served() const = 0;
  /// Of weights, keys and values.
  virtual uint64_t memory_bytes() const = 0;
  /// As Engine's.
  virtual void drain(int64_t timeout_micros) = 0;
  virtual void stop() = 0;
};

/// What the hub loads with. load() and estimate() are called on the hub's thread, the others on any
/// thread.
class HubLoader {
 public:
  virtual ~HubLoader() = default;
  /// What the model will take, about.
  virtual Result<uint64_t> estimate(const HubModel& model) = 0;
  virtual Result<std::unique_ptr<HubInstance>> load(const HubModel& model) = 0;
  /// A model that nobody listed, by its name; nothing where that is not allowed.
  virtual std::optional<HubModel> find_in_store(std::string_view name) = 0;
  /// All of those.
  virtual std::vector<HubModel> store() = 0;
};

/// A name, or a pattern with one '*', and the model that it means.
struct ModelAlias {
  std::string pattern;
  std::string model;
};

struct HubOptions {
  uint64_t memory_bytes = UINT64_MAX;  ///< of all loaded models together
  /// Whether a model that alone takes more is refused; else it is loaded once it is the only one.
  bool memory_is_hard = false;
  int64_t wait_micros = 300'000'000;  ///< a request for a model that is not loaded waits so long
};

/// Thread-safe. Must outlive all references to its models; the loader must outlive the hub.
class ModelHub final : public ModelDirectory {
 public:
  /// The first of `models` is the default one. REQUIRES: ids and aliases are unique, aliases in the
  /// table mean models of the list or of the store.
  ModelHub(Env& env, HubLoader& loader, std::vector<HubModel> models,
           std::vector<ModelAlias> aliases, const HubOptions& options);
  ~ModelHub() override;

  /// Loads what is to be there from the start, and waits for it. The error is the first one's.
  Status preload();
  /// No more loads: who waits for one is told 503. Then waits until accepted answers are done, or
  /// `timeout_micros` passed.
  void drain(int64_t timeout_micros);
  /// What still runs ends as cancelled. Does not wait.
  void stop();
  /// Ends all models, whoever holds them; the hub is no more than a name afterwards.
  void shutdown();
  /// Looks at the clock again; for tests, which move it.
  void wake();

  std::vector<ServedRef> loaded() const override;
  bool acquire(std::string_view name, Then then) override;
  bool ready() const override;
  std::vector<ModelEntry> entries() const override;
  std::optional<ModelEntry> find(std::string_view name) const override;
  void keep(std::string_view name, int64_t micros) override;
  Checked unload(std::string_view name) override;

 private:
  struct Waiter {
    Then then;
    int64_t deadline = 0;
  };
  /// One model. Never removed, so that references to it hold.
  struct Slot {
    HubModel model;
    ModelState state = ModelState::kUnloaded;
    std::unique_ptr<HubInstance> instance = {};
    std::vector<Waiter> waiters = {};  ///< not empty: wanted
    int in_use = 0;                    ///< references that are out, for answers
    int watched = 0;                   ///< and those of who only looks
    int64_t used_micros = 0;           ///< when the last answer let go of it
    int64_t keep_micros = 0;
    uint64_t memory_bytes = 0;  ///< loaded: what it takes, else what it will, about; 0: not known
    uint64_t loads = 0;
    Checked problem = {};  ///< of the last load
    Error error = {Code::kInternal, ""};
  };
  /// What is to be told, once the lock is given back.
  struct Told {
    Then then;
    ServedRef served;
    Checked problem;
  };
  enum class Room : uint8_t { kThere, kMade, kNotNow, kNever };

  Slot* resolve(std::string_view name) const REQUIRES(mu_);
  Slot* named(std::string_view name) const REQUIRES(mu_);
  Slot* find_slot(std::string_view name) const EXCLUDES(mu_);
  Slot* store_slot(std::string_view name) const EXCLUDES(mu_);
  ServedRef lease(Slot& slot) const REQUIRES(mu_);
  ServedRef watch(Slot& slot) const REQUIRES(mu_);
  void release(Slot& slot, bool used) const EXCLUDES(mu_);
  ModelEntry entry_of(const Slot& slot) const REQUIRES(mu_);

  void run();
  /// One thing to do, done; false when there is none, then `wake` is when there may be.
  bool turn(int64_t& wake) REQUIRES(mu_);
  bool expire_waiters(int64_t now, int64_t& wake) REQUIRES(mu_);
  Slot* idle_too_long(int64_t now, int64_t& wake) REQUIRES(mu_);
  bool load_one() REQUIRES(mu_);
  Room make_room(Slot& wanted) REQUIRES(mu_);
  void load(Slot& slot) REQUIRES(mu_);
  void unload(Slot& slot) REQUIRES(mu_);
  void refuse(Slot& slot, const ApiError& problem) REQUIRES(mu_);
  void tell(std::vector<Told> told) REQUIRES(mu_);

  Env& env_;
  HubLoader& loader_;
  const std::vector<ModelAlias> aliases_;
  const HubOptions options_;
  mutable Mutex mu_;
  mutable CondVar changed_;
  /// Grows when a model of the store is named for the first time.
  mutable std::vector<std::unique_ptr<Slot>> slots_ GUARDED_BY(mu_);
  bool ready_ GUARDED_BY(mu_) = false;
  bool closing_ GUARDED_BY(mu_) = false;
  bool ending_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

/// Whether `pattern`, a name that may hold one '*', covers `name`.
bool covers(std::string_view pattern, std::string_view name);

}  // namespace hadal
