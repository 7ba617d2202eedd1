#include "base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace hadal {
namespace {

// Goal: every worker runs the body exactly once per run, for pools up to far more threads than
// cores, over many runs in a row and with pauses that let the workers fall asleep.
TEST(ThreadPool, RunsEachWorkerOnce) {
  for (const int threads : {1, 2, 3, 16}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.size(), threads);
    std::vector<int> calls(static_cast<size_t>(threads), 0);  // plain ints: run() must order them
    for (int round = 0; round < 300; ++round) {
      pool.run([&](int worker) { ++calls[static_cast<size_t>(worker)]; });
      for (const int count : calls) ASSERT_EQ(count, round + 1);
      if (round % 100 == 99) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
}

// Goal: share() and run() in turn: shared work is done exactly once whoever comes, no worker is
// still inside when share() returns, and run() after it still reaches every worker.
TEST(ThreadPool, SharedWorkIsDoneOnce) {
  for (const int threads : {1, 2, 9}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 500; ++round) {
      std::vector<int> done(20, 0);
      std::atomic<size_t> next{0};
      pool.share([&](int) {
        for (size_t i = next.fetch_add(1); i < done.size(); i = next.fetch_add(1)) ++done[i];
      });
      for (const int count : done) ASSERT_EQ(count, 1);
      if (round % 7 != 0) continue;
      std::vector<int> calls(static_cast<size_t>(threads), 0);
      pool.run([&](int worker) { ++calls[static_cast<size_t>(worker)]; });
      for (const int count : calls) ASSERT_EQ(count, 1);
    }
  }
}

// Goal: parallel_for covers each index once, whatever count and grain, in chunks of at most grain.
TEST(ThreadPool, ParallelForCoversEachIndexOnce) {
  ThreadPool pool(3);
  for (const int64_t count : {0, 1, 2, 7, 64, 1000}) {
    for (const int64_t grain : {1, 3, 64, 5000}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
      pool.parallel_for(count, grain, [&](int64_t begin, int64_t end) {
        EXPECT_LT(begin, end);
        EXPECT_LE(end - begin, grain);
        for (int64_t i = begin; i < end; ++i) hits[static_cast<size_t>(i)].fetch_add(1);
      });
      for (const auto& hit : hits) ASSERT_EQ(hit.load(), 1) << count << " by " << grain;
    }
  }
}

// Goal: stream() gives each item to somebody exactly once, in pieces that stay within one worker's
// range and within the grain, also where ranges are empty, uneven or a worker is slow.
TEST(ThreadPool, StreamCoversEachItemOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (const int64_t count : {0, 1, 3, 64, 1001}) {
      for (const int64_t grain : {1, 4, 5000}) {
        for (const bool uneven : {false, true}) {
          auto bound = [&](int worker) {  // uneven: all of it belongs to the last worker
            return uneven && worker < threads ? int64_t{0} : count * worker / threads;
          };
          std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
          pool.stream(bound, grain, [&](int worker, int64_t begin, int64_t end) {
            EXPECT_GE(worker, 0);
            EXPECT_LT(worker, threads);
            EXPECT_LT(begin, end);
            EXPECT_LE(end - begin, grain);
            for (int w = 1; w < threads; ++w) EXPECT_FALSE(begin < bound(w) && bound(w) < end);
            if (worker == threads - 1 && begin == 0) {
              std::this_thread::sleep_for(std::chrono::microseconds(50));
            }
            for (int64_t i = begin; i < end; ++i) hits[static_cast<size_t>(i)].fetch_add(1);
          });
          for (const auto& hit : hits) ASSERT_EQ(hit.load(), 1) << count << " by " << grain;
        }
      }
    }
  }
}

// Goal: idle workers sleep: a pool without work uses next to no processor time.
TEST(ThreadPool, IdlePoolSleeps) {
  ThreadPool pool(4);
  pool.run([](int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  auto used_us = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000L + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
  };
  const long before = used_us();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(used_us() - before, 50000) << "3 spinning workers would have used up to 600000 us";
}

// Goal: the default is at least one thread and no more than the machine has.
TEST(ThreadPool, DefaultThreadsFitsTheMachine) {
  EXPECT_GE(ThreadPool::default_threads(), 1);
  EXPECT_LE(ThreadPool::default_threads(), static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace
}  // namespace hadal
