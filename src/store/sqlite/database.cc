#include "store/sqlite/database.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

namespace hadal {
namespace {

Error sqlite_error(sqlite3* connection, int code) {
  const int kind = code & 0xff;
  const Code ours = kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB  ? Code::kCorrupt
                    : kind == SQLITE_BUSY || kind == SQLITE_LOCKED   ? Code::kUnavailable
                    : kind == SQLITE_FULL || kind == SQLITE_TOOBIG   ? Code::kExhausted
                    : kind == SQLITE_READONLY || kind == SQLITE_AUTH ? Code::kDenied
                                                                     : Code::kIo;
  return {ours, connection != nullptr ? sqlite3_errmsg(connection) : sqlite3_errstr(code)};
}

/// SQLite makes its files readable for the group; its further files take the first one's rights.
Status make_private(const std::filesystem::path& file) {
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return Error{Code::kIo, "cannot open " + file.string() + ": " + std::strerror(errno)};
  ::close(fd);
  return {};
}

}  // namespace

void Statement::End::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

Statement& Statement::bind(int position, std::string_view text) {
  const int code = sqlite3_bind_text64(statement_.get(), position, text.data(), text.size(),
                                       SQLITE_STATIC, SQLITE_UTF8);
  CHECK(code == SQLITE_OK || code == SQLITE_NOMEM);
  return *this;
}

Statement& Statement::bind(int position, std::span<const std::byte> bytes) {
  const int code =
      sqlite3_bind_blob64(statement_.get(), position, bytes.data(), bytes.size(), SQLITE_STATIC);
  CHECK(code == SQLITE_OK || code == SQLITE_NOMEM);
  return *this;
}

Statement& Statement::bind(int position, int64_t number) {
  CHECK(sqlite3_bind_int64(statement_.get(), position, number) == SQLITE_OK);
  return *this;
}

Result<bool> Statement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return sqlite_error(connection_, code);
}

Status Statement::run() {
  TRY(const bool row, step());
  CHECK(!row);
  return {};
}

std::string Statement::text(int column) const {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column));
  return bytes == nullptr ? std::string() : std::string(bytes, size);
}

int64_t Statement::number(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

void Database::Close::operator()(sqlite3* connection) const {
  sqlite3_close(connection);
}

Result<Database> Database::open(const std::filesystem::path& file) {
  TRY_STATUS(make_private(file));
  sqlite3* connection = nullptr;
  const int code = sqlite3_open_v2(
      file.c_str(), &connection,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE,
      nullptr);
  Database database(connection);
  if (code != SQLITE_OK) return sqlite_error(connection, code);
  // Exclusive: one program at a time, and no shared memory beside the file. Behind a log that is
  // synced at checkpoints, an end of the program loses nothing, one of the machine the last writes.
  TRY_STATUS(
      database.run("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                   "PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON;"
                   "PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF"));
  return database;
}

Status Database::run(const char* sql) {
  const int code = sqlite3_exec(connection_.get(), sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? Status{} : Status{sqlite_error(connection_.get(), code)};
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(connection_.get(), sql.data(), static_cast<int>(sql.size()),
                                      &statement, nullptr);
  if (code != SQLITE_OK) return sqlite_error(connection_.get(), code);
  return Statement(connection_.get(), statement);
}

}  // namespace hadal
