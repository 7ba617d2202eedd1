#pragma once
/// AnswerRecords: stored answers on a disk, each with what it answered and the answer it built on.
/// A file of SQLite (decision 0028), bounded in bytes and age, of which no owner finds another's.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal {

struct AnswerRecord {
  std::string id = {};
  std::string previous = {};  ///< id of the answer that it built on; empty: none
  std::string body = {};      ///< any bytes, kept as they are
  std::string input = {};
};

struct AnswerRecordsOptions {
  std::filesystem::path directory = {};  ///< made if missing, for this user only
  uint64_t bytes_max = 0;                ///< of all records; the oldest go first
  int64_t age_micros_max = 0;            ///< older ones go
};

/// Not thread-safe; every call may wait for the disk. Times are unix_micros. Owners are kept as
/// digests only. A record that was damaged is told of in the log and not found.
///
/// A record that is erased while others build on it is not found any more, but goes with the last
/// of those: conversations stay whole.
class AnswerRecords {
 public:
  /// A file that cannot be read as ours is put aside ("answers.db.damaged") and begun anew.
  static Result<std::unique_ptr<AnswerRecords>> open(AnswerRecordsOptions options, int64_t now);
  ~AnswerRecords();

  /// New, or in place of the one with that id.
  Status put(std::string_view owner, const AnswerRecord& record, int64_t now);
  /// The record and all it was built on, the first of the conversation last. Empty: none, or one
  /// of them cannot be read.
  Result<std::vector<AnswerRecord>> find(std::string_view owner, std::string_view id, int64_t now);
  /// False: there was none. When this returns the bytes are gone from the disk.
  Result<bool> erase(std::string_view owner, std::string_view id);

  uint64_t bytes() const;                     ///< of all records
  int64_t count();                            ///< of those that are found
  const std::filesystem::path& file() const;  ///< for messages

 private:
  class Table;
  AnswerRecords(AnswerRecordsOptions options, std::filesystem::path file);
  Status begin(int64_t now);
  Status start_over(const Error& why, int64_t now);

  AnswerRecordsOptions options_;
  std::filesystem::path file_;
  std::unique_ptr<Table> table_;
};

}  // namespace hadal
