#pragma once
/// SQLite with our errors: a connection and its statements. The one place that knows its C
/// interface.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace hadal {

class Database;

/// A prepared statement and the row it stands at. Not thread-safe; ends before its database does.
class Statement {
 public:
  /// Values by position, from 1. What was bound must live until the statement is done.
  Statement& bind(int position, std::string_view text);
  Statement& bind(int position, std::span<const std::byte> bytes);
  Statement& bind(int position, int64_t number);

  /// The next row: false behind the last one.
  Result<bool> step();
  /// Of a statement without rows.
  Status run();
  /// Columns from 0, of the row that step() found.
  std::string text(int column) const;
  int64_t number(int column) const;

 private:
  friend class Database;
  struct End {
    void operator()(sqlite3_stmt* statement) const;
  };
  Statement(sqlite3* connection, sqlite3_stmt* statement)
      : connection_(connection), statement_(statement) {}

  sqlite3* connection_;
  std::unique_ptr<sqlite3_stmt, End> statement_;
};

/// One connection, alone with its file. Not thread-safe. A file that is no database, or a broken
/// one, is Code::kCorrupt, one that another program has open kUnavailable.
class Database {
 public:
  /// Opens or makes the file, which nobody else may read. What is deleted in it is overwritten.
  static Result<Database> open(const std::filesystem::path& file);

  /// One or more statements without values and rows.
  Status run(const char* sql);
  Result<Statement> prepare(std::string_view sql);
  /// `work` as one change: all of it, or nothing when it fails.
  template <typename Work>
  Status change(Work&& work) {
    TRY_STATUS(run("BEGIN IMMEDIATE"));
    Status done = work();
    if (done.ok()) done = run("COMMIT");
    if (!done.ok()) (void)run("ROLLBACK").ok();  // it may have been rolled back already
    return done;
  }

 private:
  struct Close {
    void operator()(sqlite3* connection) const;
  };
  explicit Database(sqlite3* connection) : connection_(connection) {}

  std::unique_ptr<sqlite3, Close> connection_;
};

}  // namespace hadal
