// Goal: stored answers outlive the program, also one that is killed; nobody reads another's; what
// was erased is gone from the disk; a file that was damaged costs only what was damaged.
#include "store/answer_records.h"

#include <array>
#include <csignal>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace hadal {
namespace {

constexpr int64_t kAge = 1000;

class AnswerRecordsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "hadal-answers-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    top_ = name;
    directory_ = top_ / "deep" / "responses";
  }
  void TearDown() override {
    records_.reset();
    std::filesystem::remove_all(top_);
  }

  void open(int64_t now = 0, uint64_t bytes_max = 1 << 20) {
    records_.reset();
    auto opened = AnswerRecords::open(
        {.directory = directory_, .bytes_max = bytes_max, .age_micros_max = kAge}, now);
    ASSERT_TRUE(opened.ok()) << opened.error().text();
    records_ = std::move(opened).value();
  }
  void put(const std::string& owner, const AnswerRecord& record, int64_t now = 0) {
    const Status done = records_->put(owner, record, now);
    EXPECT_TRUE(done.ok()) << done.error().text();
  }
  std::string ids(const std::string& owner, const std::string& id, int64_t now = 0) {
    auto found = records_->find(owner, id, now);
    if (!found.ok()) return found.error().text();
    std::string out;
    for (const AnswerRecord& record : found.value()) out += record.id + " ";
    return out;
  }
  bool erase(const std::string& owner, const std::string& id) {
    const auto erased = records_->erase(owner, id);
    EXPECT_TRUE(erased.ok());
    return erased.ok() && erased.value();
  }
  /// All bytes of all files.
  std::string on_disk() const {
    std::string all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(top_)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path(), std::ios::binary);
      all.append(std::istreambuf_iterator<char>(file), {});
    }
    return all;
  }
  std::string file_bytes() const {
    std::ifstream file(directory_ / "answers.db", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void write_file(const std::string& bytes) const {
    std::ofstream(directory_ / "answers.db", std::ios::binary | std::ios::trunc) << bytes;
  }

  std::filesystem::path top_;
  std::filesystem::path directory_;
  std::unique_ptr<AnswerRecords> records_;
};

TEST_F(AnswerRecordsTest, OutlivesTheProgramForItsOwnerOnly) {
  open();
  const std::string body("{\"a\":\"\0\xff\"}", 11);
  put("key-of-ann", {.id = "a", .body = body, .input = "[]"});
  put("key-of-ann", {.id = "b", .previous = "a", .body = "B", .input = "in"}, 1);
  put("key-of-ann", {.id = "b", .previous = "a", .body = "B2", .input = "in"}, 2);
  open(3);
  auto found = records_->find("key-of-ann", "b", 3);
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found.value().size(), 2u);
  EXPECT_EQ(found.value()[0].body, "B2");
  EXPECT_EQ(found.value()[0].input, "in");
  EXPECT_EQ(found.value()[1].body, body);
  EXPECT_EQ(ids("key-of-bob", "a"), "");
  EXPECT_EQ(ids("key-of-ann", "c"), "");
  EXPECT_FALSE(erase("key-of-bob", "a"));
  EXPECT_EQ(on_disk().find("key-of"), std::string::npos);
  struct stat facts;
  ASSERT_EQ(::stat(directory_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0700u);
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    ASSERT_EQ(::stat(entry.path().c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777, 0600u) << entry.path();
  }
}

// Goal: what was erased is not in any file any more, unless a conversation still needs it.
TEST_F(AnswerRecordsTest, ErasedIsGone) {
  open();
  const std::string secret = "the secret of answer ";
  const std::string large(20'000, 'x');  // pages of its own
  put("o", {.id = "a", .body = secret + "a" + large + secret + "a", .input = "1"});
  put("o", {.id = "b", .previous = "a", .body = secret + "b", .input = "2"});
  put("o", {.id = "c", .body = "stays", .input = "3"});
  EXPECT_NE(on_disk().find(secret + "a"), std::string::npos);
  EXPECT_TRUE(erase("o", "a"));
  EXPECT_FALSE(erase("o", "a"));
  EXPECT_EQ(ids("o", "a"), "");
  EXPECT_EQ(ids("o", "b"), "b a ");
  EXPECT_TRUE(erase("o", "b"));
  EXPECT_EQ(on_disk().find(secret), std::string::npos);
  EXPECT_EQ(ids("o", "c"), "c ");
  EXPECT_LT(records_->bytes(), 1000u);
  EXPECT_EQ(records_->count(), 1);
}

TEST_F(AnswerRecordsTest, BoundedInBytesAndAge) {
  open(0, 10'000);
  for (int i = 0; i < 9; ++i) {
    put("o", {.id = std::to_string(i), .body = std::string(2000, 'x'), .input = ""}, i);
  }
  EXPECT_EQ(records_->count(), 4);
  EXPECT_LE(records_->bytes(), 10'000u);
  EXPECT_EQ(ids("o", "4"), "");
  EXPECT_EQ(ids("o", "5", 5 + kAge), "5 ");
  EXPECT_EQ(ids("o", "5", 6 + kAge), "");
  EXPECT_EQ(records_->put("o", {.id = "h", .body = std::string(10'000, 'x')}, 9).error().code,
            Code::kExhausted);
  const uint64_t before = records_->bytes();
  open(8, 10'000);
  EXPECT_EQ(records_->bytes(), before);
  open(7 + kAge, 10'000);
  EXPECT_EQ(records_->count(), 2);
  open(0, 3000);
  EXPECT_EQ(records_->count(), 1);
}

// Goal: a flipped bit costs the record it is in and those that build on it.
TEST_F(AnswerRecordsTest, DamagedRecordIsNotFound) {
  open();
  put("o", {.id = "a", .body = "MARK-A" + std::string(6000, 'x'), .input = "1"});
  put("o", {.id = "b", .previous = "a", .body = "B", .input = "2"});
  put("o", {.id = "c", .body = "C", .input = "3"});
  records_.reset();
  std::string bytes = file_bytes();
  const size_t mark = bytes.find("MARK-A");
  ASSERT_NE(mark, std::string::npos);
  bytes[mark] ^= 1;
  write_file(bytes);
  open();
  EXPECT_EQ(ids("o", "a"), "");
  EXPECT_EQ(ids("o", "b"), "");
  EXPECT_EQ(ids("o", "c"), "c ");
  EXPECT_TRUE(erase("o", "b"));
}

// Goal: any bytes in place of the file: no crash, and new answers are kept again.
TEST_F(AnswerRecordsTest, DamagedFileIsPutAside) {
  open();
  for (int i = 0; i < 40; ++i) {
    put("o", {.id = std::to_string(i), .body = std::string(500, 'x'), .input = ""}, i);
  }
  records_.reset();
  const std::string good = file_bytes();
  std::string noise = good;
  uint64_t state = 1;
  for (char& byte : noise)
    byte = static_cast<char>((state = state * 6364136223846793005u + 1) >> 40);
  std::vector<std::string> bad = {"no database at all", noise, good.substr(0, 5000), ""};
  for (size_t page = 0; page < good.size(); page += 4096) {
    bad.push_back(good);
    bad.back().replace(page, 4096, noise, page, 4096);
  }
  for (const std::string& bytes : bad) {
    write_file(bytes);
    open(50);
    for (int i = 0; i < 40; ++i) (void)records_->find("o", std::to_string(i), 50).ok();
    put("o", {.id = "new", .body = "n", .input = ""}, 50);
    open(50);
    EXPECT_EQ(ids("o", "new", 50), "new ");
  }
}

TEST_F(AnswerRecordsTest, OneProgramAtATime) {
  open();
  const auto second =
      AnswerRecords::open({.directory = directory_, .bytes_max = 1000, .age_micros_max = kAge}, 0);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Code::kUnavailable);
  put("o", {.id = "a", .body = "A", .input = ""});
}

// Goal: what put() has acknowledged is there after kill -9.
TEST_F(AnswerRecordsTest, SurvivesKill) {
  std::array<int, 2> pipe_ends;
  ASSERT_EQ(::pipe(pipe_ends.data()), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto opened = AnswerRecords::open(
        {.directory = directory_, .bytes_max = 1 << 24, .age_micros_max = kAge}, 0);
    for (uint8_t i = 0; opened.ok(); ++i) {
      const std::string id = std::to_string(i);
      if (!opened.value()->put("o", {.id = id, .body = std::string(5000, 'x')}, 0).ok()) break;
      if (::write(pipe_ends[1], &i, 1) != 1) break;
    }
    ::_exit(1);
  }
  uint8_t last = 0;
  while (last < 60) ASSERT_EQ(::read(pipe_ends[0], &last, 1), 1);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ::waitpid(child, nullptr, 0);
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
  open(0, 1 << 24);
  for (int i = 0; i <= last; ++i) EXPECT_EQ(ids("o", std::to_string(i)), std::to_string(i) + " ");
}

}  // namespace
}  // namespace hadal
