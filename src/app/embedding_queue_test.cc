#include "app/embedding_queue.h"

#include <atomic>
#include <future>
#include <semaphore>

#include <gtest/gtest.h>

namespace hadal {
namespace {

/// A text's vector is {its first id, its length}; each pass waits for a permit.
class GatedEmbedder final : public Embedder {
 public:
  EmbeddingShape shape() const override { return {.width = 2}; }
  Result<std::vector<float>> compute(EmbeddingTask task,
                                     std::span<const EmbeddingText> texts) override {
    begun.release();
    permits.acquire();
    passes.push_back(texts.size());
    if (fails) return Error{Code::kInternal, "broken"};
    std::vector<float> out;
    for (const EmbeddingText& text : texts) {
      out.push_back(static_cast<float>(text.ids.front()));
      if (task == EmbeddingTask::kEmbed) out.push_back(static_cast<float>(text.ids.size()));
    }
    return out;
  }
  std::counting_semaphore<1000> begun{0};
  std::counting_semaphore<1000> permits{0};
  std::vector<size_t> passes;
  std::atomic<bool> fails{false};
};

EmbeddingRequest request_of(const std::vector<std::vector<TokenId>>& texts,
                            EmbeddingTask task = EmbeddingTask::kEmbed) {
  EmbeddingRequest out{task, {}};
  for (const auto& ids : texts) out.texts.push_back({ids, SIZE_MAX});
  return out;
}

/// A submitted request and what came of it.
struct Asked {
  Asked(EmbeddingQueue& queue, EmbeddingRequest request) {
    auto got = queue.submit(std::move(request), [this](Result<std::vector<float>> numbers) {
      result.set_value(std::move(numbers));
    });
    EXPECT_TRUE(got.ok());
    if (got.ok()) id = got.value();
  }
  Result<std::vector<float>> wait() { return future.get(); }
  std::promise<Result<std::vector<float>>> result;
  std::future<Result<std::vector<float>>> future = result.get_future();
  EmbeddingId id = 0;
};

// Goal: requests that wait together go through in one pass, each gets its own numbers in order, and
// a request of another task waits for a pass of its own.
TEST(EmbeddingQueue, RequestsShareAPass) {
  GatedEmbedder embedder;
  EmbeddingQueue queue(embedder, 16);
  Asked first(queue, request_of({{1}}));
  embedder.begun.acquire();  // alone in the first pass
  Asked second(queue, request_of({{2}, {3, 3}}));
  Asked score(queue, request_of({{7}, {8}}, EmbeddingTask::kScore));
  Asked third(queue, request_of({{4, 4, 4}}));
  embedder.permits.release(3);
  EXPECT_EQ(first.wait().value(), (std::vector<float>{1, 1}));
  EXPECT_EQ(second.wait().value(), (std::vector<float>{2, 1, 3, 2}));
  EXPECT_EQ(third.wait().value(), (std::vector<float>{4, 3}));
  EXPECT_EQ(score.wait().value(), (std::vector<float>{7, 8}));
  EXPECT_EQ(embedder.passes, (std::vector<size_t>{1, 3, 2}));
  EXPECT_EQ(queue.stats().tokens, 9u);
}

// Goal: a long request goes through in several passes, and a short one that comes later is in the
// next pass, not behind all of it.
TEST(EmbeddingQueue, LongRequestsLetOthersIn) {
  GatedEmbedder embedder;
  EmbeddingQueue queue(embedder, 16);
  const std::vector<TokenId> text(500, 9);
  Asked longer(queue, request_of(std::vector<std::vector<TokenId>>(12, text)));
  embedder.begun.acquire();
  Asked shorter(queue, request_of({{5}}));
  embedder.permits.release(2);
  EXPECT_EQ(shorter.wait().value(), (std::vector<float>{5, 1}));
  EXPECT_EQ(longer.future.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  embedder.permits.release(10);
  EXPECT_EQ(longer.wait().value().size(), 24u);
  EXPECT_EQ(embedder.passes.front(), 4u);
}

// Goal: a cancelled request never hears anything and costs no further pass; unknown ids are
// nothing.
TEST(EmbeddingQueue, CancelledRequestsLeave) {
  GatedEmbedder embedder;
  EmbeddingQueue queue(embedder, 16);
  Asked running(queue, request_of({{1}}));
  embedder.begun.acquire();
  Asked gone(queue, request_of({{2}}));
  queue.cancel(gone.id);
  queue.cancel(running.id);
  queue.cancel(12345);
  Asked last(queue, request_of({{3}}));
  embedder.permits.release(2);
  EXPECT_EQ(last.wait().value(), (std::vector<float>{3, 1}));
  EXPECT_EQ(gone.future.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  EXPECT_EQ(running.future.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  EXPECT_EQ(embedder.passes, (std::vector<size_t>{1, 1}));
}

// Goal: more requests than may wait are refused at once, and a failure reaches everyone in the
// pass.
TEST(EmbeddingQueue, FullAndFailing) {
  GatedEmbedder embedder;
  EmbeddingQueue queue(embedder, 2);
  Asked first(queue, request_of({{1}}));
  embedder.begun.acquire();
  Asked second(queue, request_of({{2}, {3}}));
  const auto refused = queue.submit(request_of({{4}}), [](const Result<std::vector<float>>&) {
    ADD_FAILURE() << "a refused request was answered";
  });
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kExhausted);
  embedder.fails = true;
  embedder.permits.release(2);
  EXPECT_EQ(first.wait().error().message, "broken");
  EXPECT_EQ(second.wait().error().message, "broken");
  EXPECT_EQ(queue.stats().refused, 1u);
}

// Goal: stop() answers whoever waits, and nobody is taken any more.
TEST(EmbeddingQueue, StopAnswersAll) {
  GatedEmbedder embedder;
  EmbeddingQueue queue(embedder, 8);
  Asked first(queue, request_of({{1}}));
  embedder.begun.acquire();
  Asked second(queue, request_of({{2}}));
  queue.stop();
  EXPECT_EQ(first.wait().error().code, Code::kUnavailable);
  EXPECT_EQ(second.wait().error().code, Code::kUnavailable);
  EXPECT_FALSE(queue.submit(request_of({{3}}), [](const Result<std::vector<float>>&) {}).ok());
  embedder.permits.release(1);
}

}  // namespace
}  // namespace hadal
