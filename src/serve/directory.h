#pragma once
/// ModelDirectory: the models that requests can name.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "net/unique_function.h"
#include "serve/backend.h"
#include "serve/errors.h"

namespace hadal {

/// A model behind the endpoints and what computes for it. Whoever answers with it keeps the
/// reference until the answer is complete; a model goes when the last one is gone.
struct Served {
  std::unique_ptr<const ServedModel> model;
  TokenBackend* backend = nullptr;
  EmbeddingBackend* embeddings = nullptr;  ///< null: the model gives none here
};
using ServedRef = std::shared_ptr<const Served>;  // immutable; tidy: allow

enum class ModelState : uint8_t { kUnloaded, kLoading, kReady, kUnloading };
std::string_view model_state_name(ModelState state);

/// What a directory tells of a model, loaded or not.
struct ModelEntry {
  std::string id;
  std::vector<std::string> aliases = {};  ///< further names, patterns not among them
  ModelState state = ModelState::kReady;
  int64_t created = 0;        ///< unix seconds: of the file, or when it was loaded
  uint64_t file_bytes = 0;    ///< 0: not known
  uint64_t memory_bytes = 0;  ///< of weights, keys and values; 0 unless loaded
  int64_t n_ctx = 0;          ///< positions per request; 0: known when it is loaded
  int in_use = 0;             ///< answers that hold it
  uint64_t loads = 0;         ///< since the server started
  int64_t expires = 0;        ///< unix micros when it goes unless it is used; 0: it stays
  std::string problem = {};   ///< why the last load failed, as clients may read it
  json::object facts = {};    ///< as in ServedModel
  std::string chat_template = {};
};

/// Thread-safe.
class ModelDirectory {
 public:
  /// Gets the model, or why there is none.
  using Then = UniqueFunction<void(ServedRef served, Checked problem)>;

  virtual ~ModelDirectory() = default;
  /// Models that answer now, the default one first.
  virtual std::vector<ServedRef> loaded() const = 0;
  /// Calls `then` once with the model of that name or alias (empty: the default): at once, which
  /// gives true, or later on another thread when it has to be loaded.
  virtual bool acquire(std::string_view name, Then then) = 0;

  /// Whether the models that are to be there from the start are there.
  virtual bool ready() const { return !loaded().empty(); }
  /// All models that can be named, the default one first.
  virtual std::vector<ModelEntry> entries() const;
  /// The entry of that name or alias (empty: the default); loads nothing.
  virtual std::optional<ModelEntry> find(std::string_view name) const;
  /// From now on the model, which is loaded, stays for so long when nobody uses it (0: it goes when
  /// it is not in use, kKeepForever: for good). What cannot do this ignores it.
  virtual void keep(std::string_view name, int64_t micros);
  /// As keep() with 0, for a name that must be known.
  virtual Checked unload(std::string_view name);
};

inline constexpr int64_t kKeepForever = -1;

/// How long to keep a model, in microseconds: seconds ("300"), or numbers with units ("5m",
/// "1h30m", "500ms"); below zero is kKeepForever. Nothing for all else.
std::optional<int64_t> parse_keep_alive(std::string_view text);

/// 404 model_not_found.
ApiError unknown_model(std::string_view name, std::string_view available);

/// One model that someone else loads.
class SingleModel final : public ModelDirectory {
 public:
  /// From now on this one; both backends must outlive its use.
  void set(std::unique_ptr<const ServedModel> model, TokenBackend& backend,
           EmbeddingBackend* embeddings = nullptr);

  std::vector<ServedRef> loaded() const override;
  bool acquire(std::string_view name, Then then) override;

 private:
  ServedRef current() const;

  mutable Mutex mu_;
  ServedRef model_ GUARDED_BY(mu_);
};

}  // namespace hadal
