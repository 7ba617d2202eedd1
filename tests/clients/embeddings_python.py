"""The official OpenAI SDK for Python against a served embedding model (multilingual-e5-small)."""
import concurrent.futures
import os
import pathlib
import unittest

import openai

os.environ["HADAL_TEST_MODEL"] = str(
    pathlib.Path(__file__).resolve().parent.parent.parent / "build/testdata/models/e5-small.gguf")
import with_server  # noqa: E402

QUERIES = ["query: 如何重置忘记的密码？", "query: how do plants make energy?", "query: how much does shipping cost?"]
PASSAGES = ["passage: To reset your password, open the settings and choose 'Security'.",
            "passage: 光合作用把光能转化为化学能。", "passage: 订单满五十美元免运费。"]


class EmbeddingModel(unittest.TestCase):
    client: openai.OpenAI

    def vectors(self, texts, **options):
        answer = self.client.embeddings.create(model=with_server.MODEL_ALIAS, input=texts, **options)
        return [entry.embedding for entry in answer.data]

    # Goal: each question is nearest to its answer, which is in the other language.
    def test_languages_meet(self):
        queries, passages = self.vectors(QUERIES), self.vectors(PASSAGES)
        for i, query in enumerate(queries):
            near = [sum(a * b for a, b in zip(query, passage, strict=True)) for passage in passages]
            self.assertEqual(near.index(max(near)), i, near)

    # Goal: many callers at once get what one alone gets.
    def test_together_as_alone(self):
        texts = [f"query: 第{n}个问题 about number {n}" * (1 + n % 7) for n in range(24)]
        alone = [self.vectors(text)[0] for text in texts]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda text: self.vectors(text)[0], texts))
        self.assertEqual(together, alone)
        self.assertEqual(self.vectors(texts), alone)

    # Goal: chats with an encoder fail with the SDK's class for bad requests, and say why.
    def test_no_chat(self):
        with self.assertRaises(openai.BadRequestError) as refused:
            self.client.chat.completions.create(model=with_server.MODEL_ALIAS,
                                                messages=[{"role": "user", "content": "hi"}])
        self.assertEqual(refused.exception.code, "model_not_generative")


if __name__ == "__main__":
    with with_server.server() as base:
        EmbeddingModel.client = openai.OpenAI(base_url=base + "/v1", api_key="none", timeout=60, max_retries=0)
        result = unittest.main(exit=False, verbosity=2).result
    wrong = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - wrong} passed, {wrong} failed, {len(result.skipped)} skipped")
    raise SystemExit(1 if wrong else 0)
