#include "store/answer_records.h"

#include <array>

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <xxhash.h>

#include "base/limits.h"
#include "base/log.h"
#include "store/sqlite/database.h"

namespace hadal {
namespace {

constexpr int64_t kFormat = 1;
constexpr size_t kDigestBytes = 32;
/// What a row costs besides its texts, roughly.
constexpr uint64_t kRowBytes = 256;

constexpr const char* kSchema =
    "CREATE TABLE salt(bytes BLOB NOT NULL);"
    "CREATE TABLE answers(owner BLOB NOT NULL, id TEXT NOT NULL, previous TEXT NOT NULL,"
    " put_at INTEGER NOT NULL, shown INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " checksum INTEGER NOT NULL, body BLOB NOT NULL, input BLOB NOT NULL,"
    " PRIMARY KEY(owner, id));"
    "CREATE INDEX answers_by_age ON answers(shown, put_at, bytes);"
    "CREATE INDEX answers_by_previous ON answers(owner, previous);"
    "PRAGMA user_version = 1";

using Digest = std::array<std::byte, kDigestBytes>;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// Salted, so that the file does not tell whether somebody's guess at a credential is right
/// before it has the salt, too.
Digest digest_of(std::string_view salt, std::string_view owner) {
  const std::string all = std::string(salt) + std::string(owner);
  Digest out;
  unsigned int size = 0;
  CHECK(EVP_Digest(all.data(), all.size(), reinterpret_cast<unsigned char*>(out.data()), &size,
                   EVP_sha256(), nullptr) == 1);
  CHECK(size == out.size());
  return out;
}

int64_t checksum_of(std::span<const std::byte> owner, const AnswerRecord& record) {
  const std::string_view owner_text(reinterpret_cast<const char*>(owner.data()), owner.size());
  uint64_t sum = kFormat;
  for (const std::string_view part :
       {owner_text, std::string_view(record.id), std::string_view(record.previous),
        std::string_view(record.body), std::string_view(record.input)}) {
    sum = XXH3_64bits_withSeed(part.data(), part.size(), sum);
  }
  return static_cast<int64_t>(sum);
}

uint64_t size_of(const AnswerRecord& record) {
  return kRowBytes + record.id.size() + record.previous.size() + record.body.size() +
         record.input.size();
}

}  // namespace

/// The open file.
class AnswerRecords::Table {
 public:
  explicit Table(Database database) : database_(std::move(database)) {}

  Status begin() {
    TRY(Statement version, database_.prepare("PRAGMA user_version"));
    TRY(const bool known, version.step());
    const int64_t format = known ? version.number(0) : 0;
    if (format > kFormat) {
      return Error{Code::kUnsupported, "a newer version wrote the stored answers",
                   "use that version, or another --responses-dir"};
    }
    if (format == 0) TRY_STATUS(make());
    TRY(Statement salt, database_.prepare("SELECT bytes FROM salt"));
    TRY(const bool salted, salt.step());
    if (!salted) return Error{Code::kCorrupt, "the stored answers have lost their salt"};
    salt_ = salt.text(0);
    TRY(Statement sum, database_.prepare("SELECT total(bytes) FROM answers"));
    TRY(const bool summed, sum.step());
    if (summed) bytes_ = static_cast<uint64_t>(sum.number(0));
    return {};
  }

  Status put(std::string_view owner, const AnswerRecord& record, int64_t now) {
    const Digest digest = digest_of(salt_, owner);
    TRY_STATUS(drop(digest, record.id));
    TRY(Statement insert,
        database_.prepare("INSERT INTO answers VALUES(?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8)"));
    const uint64_t size = size_of(record);
    insert.bind(1, digest).bind(2, record.id).bind(3, record.previous).bind(4, now);
    insert.bind(5, static_cast<int64_t>(size)).bind(6, checksum_of(digest, record));
    insert.bind(7, bytes_of(record.body)).bind(8, bytes_of(record.input));
    TRY_STATUS(insert.run());
    bytes_ += size;
    return {};
  }

  Result<std::vector<AnswerRecord>> find(std::string_view owner, std::string_view id,
                                         int64_t oldest) {
    const Digest digest = digest_of(salt_, owner);
    std::vector<AnswerRecord> chain;
    std::string next(id);
    while (!next.empty()) {
      AnswerRecord record{.id = next};
      TRY(Statement one, database_.prepare("SELECT previous, checksum, body, input, put_at"
                                           " FROM answers WHERE owner = ?1 AND id = ?2"
                                           " AND shown >= ?3"));
      one.bind(1, digest).bind(2, record.id).bind(3, int64_t{chain.empty()});
      TRY(const bool there, one.step());
      if (!there && chain.empty()) return chain;
      if (there && chain.empty() && one.number(4) < oldest) return chain;
      if (there) {
        record.previous = one.text(0);
        record.body = one.text(2);
        record.input = one.text(3);
      }
      if (!there || one.number(1) != checksum_of(digest, record) ||
          chain.size() >= size_t{limits::kResponseChain}) {
        log_event(LogLevel::kWarn, "stored_response_damaged", {{"id", next}});
        return std::vector<AnswerRecord>();
      }
      next = record.previous;
      chain.push_back(std::move(record));
    }
    return chain;
  }

  Result<bool> erase(std::string_view owner, std::string_view id) {
    return hide(digest_of(salt_, owner), id);
  }

  /// The oldest go until the rest is young and small enough.
  Status prune(uint64_t bytes_max, int64_t oldest) {
    for (;;) {
      TRY(Statement first, database_.prepare("SELECT owner, id, put_at FROM answers"
                                             " WHERE shown = 1 ORDER BY put_at LIMIT 1"));
      TRY(const bool there, first.step());
      if (!there || (bytes_ <= bytes_max && first.number(2) >= oldest)) return {};
      const std::string owner = first.text(0);
      const std::string id = first.text(1);
      TRY(const bool gone, hide(bytes_of(owner), id));
      if (!gone) return Error{Code::kCorrupt, "an index of the stored answers is wrong"};
    }
  }

  Result<int64_t> count() {
    TRY(Statement all, database_.prepare("SELECT count(*) FROM answers WHERE shown = 1"));
    TRY(const bool there, all.step());
    return there ? all.number(0) : 0;
  }

  Database& database() { return database_; }
  uint64_t bytes() const { return bytes_; }
  void set_bytes(uint64_t bytes) { bytes_ = bytes; }

 private:
  Status make() {
    std::array<unsigned char, kDigestBytes> salt;
    CHECK(RAND_bytes(salt.data(), static_cast<int>(salt.size())) == 1);
    return database_.change([&]() -> Status {
      TRY_STATUS(database_.run(kSchema));
      TRY(Statement insert, database_.prepare("INSERT INTO salt VALUES(?1)"));
      return insert.bind(1, std::as_bytes(std::span(salt))).run();
    });
  }

  /// Takes a row out, whatever builds on it.
  Status drop(std::span<const std::byte> owner, std::string_view id) {
    TRY(Statement remove, database_.prepare("DELETE FROM answers WHERE owner = ?1 AND id = ?2"
                                            " RETURNING bytes"));
    remove.bind(1, owner).bind(2, id);
    TRY(const bool there, remove.step());
    if (!there) return {};
    const auto bytes = static_cast<uint64_t>(remove.number(0));
    bytes_ -= std::min(bytes, bytes_);
    TRY(const bool more, remove.step());
    CHECK(!more);
    return {};
  }

  Result<bool> hide(std::span<const std::byte> owner, std::string_view id) {
    TRY(Statement update,
        database_.prepare("UPDATE answers SET shown = 0 WHERE owner = ?1 AND id = ?2"
                          " AND shown = 1 RETURNING id"));
    update.bind(1, owner).bind(2, id);
    TRY(const bool there, update.step());
    if (!there) return false;
    TRY(const bool more, update.step());
    CHECK(!more);
    TRY_STATUS(collect(owner, std::string(id)));
    return true;
  }

  /// Drops a hidden row that nothing builds on, then the one it built on in the same way.
  Status collect(std::span<const std::byte> owner, std::string id) {
    while (!id.empty()) {
      TRY(Statement row, database_.prepare("SELECT previous FROM answers AS a WHERE owner = ?1"
                                           " AND id = ?2 AND shown = 0 AND NOT EXISTS (SELECT 1"
                                           " FROM answers WHERE owner = ?1 AND previous = a.id)"));
      row.bind(1, owner).bind(2, id);
      TRY(const bool there, row.step());
      if (!there) return {};
      const std::string previous = row.text(0);
      TRY_STATUS(drop(owner, id));
      id = previous;
    }
    return {};
  }

  Database database_;
  std::string salt_;
  uint64_t bytes_ = 0;
};

AnswerRecords::AnswerRecords(AnswerRecordsOptions options, std::filesystem::path file)
    : options_(std::move(options)), file_(std::move(file)) {}

AnswerRecords::~AnswerRecords() = default;

Result<std::unique_ptr<AnswerRecords>> AnswerRecords::open(AnswerRecordsOptions options,
                                                           int64_t now) {
  std::error_code failed;
  if (std::filesystem::create_directories(options.directory, failed)) {
    std::filesystem::permissions(options.directory, std::filesystem::perms::owner_all, failed);
  }
  if (failed) {
    return Error{Code::kIo, "cannot make " + options.directory.string() + ": " + failed.message()};
  }
  const std::filesystem::path file = options.directory / "answers.db";
  std::unique_ptr<AnswerRecords> records(new AnswerRecords(std::move(options), file));
  Status begun = records->begin(now);
  if (!begun.ok() && begun.error().code == Code::kCorrupt) {
    begun = records->start_over(begun.error(), now);
  }
  if (!begun.ok()) return std::move(begun).error();
  return records;
}

Status AnswerRecords::begin(int64_t now) {
  TRY(Database database, Database::open(file_));
  table_ = std::make_unique<Table>(std::move(database));
  TRY_STATUS(table_->begin());
  return table_->database().change(
      [&] { return table_->prune(options_.bytes_max, now - options_.age_micros_max); });
}

Status AnswerRecords::start_over(const Error& why, int64_t now) {
  log_event(LogLevel::kWarn, "stored_responses_damaged",
            {{"file", file_.string()}, {"reason", why.message}});
  table_.reset();
  std::error_code failed;
  std::filesystem::rename(file_, file_.string() + ".damaged", failed);
  if (failed) return Error{Code::kIo, "cannot put " + file_.string() + " aside"};
  for (const char* beside : {"-wal", "-shm"}) {
    std::filesystem::remove(file_.string() + beside, failed);
  }
  return begin(now);
}

Status AnswerRecords::put(std::string_view owner, const AnswerRecord& record, int64_t now) {
  if (size_of(record) > options_.bytes_max) {
    return Error{Code::kExhausted, "the answer is larger than the room for all of them"};
  }
  const auto write = [&]() -> Status {
    if (table_ == nullptr) return Error{Code::kUnavailable, "the stored answers cannot be opened"};
    const uint64_t before = table_->bytes();
    Status done = table_->database().change([&]() -> Status {
      TRY_STATUS(table_->put(owner, record, now));
      return table_->prune(options_.bytes_max, now - options_.age_micros_max);
    });
    if (!done.ok()) table_->set_bytes(before);
    return done;
  };
  Status done = write();
  if (done.ok() || done.error().code != Code::kCorrupt) return done;
  TRY_STATUS(start_over(done.error(), now));
  return write();
}

Result<std::vector<AnswerRecord>> AnswerRecords::find(std::string_view owner, std::string_view id,
                                                      int64_t now) {
  if (table_ == nullptr) return std::vector<AnswerRecord>();
  return table_->find(owner, id, now - options_.age_micros_max);
}

Result<bool> AnswerRecords::erase(std::string_view owner, std::string_view id) {
  if (table_ == nullptr) return false;
  const uint64_t before = table_->bytes();
  bool erased = false;
  Status done = table_->database().change([&]() -> Status {
    TRY(erased, table_->erase(owner, id));
    return {};
  });
  if (!done.ok()) {
    table_->set_bytes(before);
    return std::move(done).error();
  }
  // The log behind the file still has the bytes until it is cut.
  if (erased) TRY_STATUS(table_->database().run("PRAGMA wal_checkpoint(TRUNCATE)"));
  return erased;
}

uint64_t AnswerRecords::bytes() const {
  return table_ == nullptr ? 0 : table_->bytes();
}

int64_t AnswerRecords::count() {
  if (table_ == nullptr) return 0;
  auto counted = table_->count();
  return counted.ok() ? counted.value() : 0;
}

const std::filesystem::path& AnswerRecords::file() const {
  return file_;
}

}  // namespace hadal
