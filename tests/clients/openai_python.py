"""The official OpenAI SDK for Python against a running server: chat, stream, stop, errors."""
import concurrent.futures
import json
import time
import unittest

import openai
import with_server

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]


class OpenAiPython(unittest.TestCase):
    client: openai.OpenAI
    model = with_server.MODEL_ALIAS

    def chat(self, **options):
        return self.client.chat.completions.create(
            **{"model": self.model, "messages": QUESTION, "temperature": 0, "max_tokens": 24, **options})

    # Goal: the model list names the served model.
    def test_models(self):
        self.assertIn(self.model, [model.id for model in self.client.models.list()])
        self.assertEqual(self.client.models.retrieve(self.model).id, self.model)

    # Goal: a plain answer with usage that adds up.
    def test_chat(self):
        answer = self.chat()
        self.assertIn("Paris", answer.choices[0].message.content)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
        self.assertIn(answer.choices[0].finish_reason, ("stop", "length"))

    # Goal: the stream says the same as the whole answer, with a role first and usage last.
    def test_stream_equals_whole(self):
        whole = self.chat()
        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
        self.assertEqual(len({chunk.id for chunk in chunks}), 1)
        self.assertEqual(len({chunk.created for chunk in chunks}), 1)

    # Goal: a stop string ends the answer and never shows.
    def test_stop(self):
        answer = self.chat(stop=["Paris"])
        self.assertNotIn("Paris", answer.choices[0].message.content)
        self.assertEqual(answer.choices[0].finish_reason, "stop")

    # Goal: max_tokens ends with "length" and counts exactly.
    def test_length(self):
        answer = self.chat(max_tokens=3)
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.usage.completion_tokens, 3)

    # Goal: same seed, same words; n gives n choices.
    def test_seed_and_n(self):
        one = self.chat(temperature=1.0, seed=7, n=2)
        two = self.chat(temperature=1.0, seed=7, n=2)
        self.assertEqual([c.message.content for c in one.choices], [c.message.content for c in two.choices])
        self.assertEqual([c.index for c in one.choices], [0, 1])

    # Goal: log-probabilities come in the SDK's shape.
    def test_logprobs(self):
        content = self.chat(logprobs=True, top_logprobs=3).choices[0].logprobs.content
        for entry in content:
            self.assertEqual(len(entry.top_logprobs), 3)
            self.assertAlmostEqual(entry.top_logprobs[0].logprob, entry.logprob, places=5)
            self.assertEqual(bytes(entry.bytes).decode("utf-8", "replace"), entry.token)

    # Goal: a request with tools, and history with a call and its result, are understood; what comes
    # back has the SDK's shape, whether the model calls or not.
    def test_tools(self):
        tools = [{"type": "function", "function": {
            "name": "get_weather", "description": "Weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
        call = {"id": "call_1", "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
        history = [*QUESTION, {"role": "assistant", "content": None, "tool_calls": [call]},
                   {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."}]
        for choice in ("auto", "none"):
            answer = self.chat(messages=history, tools=tools, tool_choice=choice).choices[0]
            self.assertIn(answer.finish_reason, ("stop", "length", "tool_calls"))
            self.assertEqual(bool(answer.message.tool_calls), answer.finish_reason == "tool_calls")
        for choice in ("required", {"type": "function", "function": {"name": "other"}}):
            with self.assertRaises(openai.BadRequestError):  # this model has no way of calling tools
                self.chat(tools=tools, tool_choice=choice)

    # Goal: an answer by a schema is read by the SDK's own parser, whole and streamed.
    def test_structured(self):
        schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 999}},
                  "required": ["n"], "additionalProperties": False}
        form = {"type": "json_schema", "json_schema": {"name": "number", "strict": True, "schema": schema}}
        whole = json.loads(self.chat(response_format=form).choices[0].message.content)
        self.assertIn(whole["n"], range(1000))
        parts = self.chat(response_format=form, stream=True)
        self.assertEqual(json.loads("".join(part.choices[0].delta.content or "" for part in parts)), whole)

    # Goal: the old completions endpoint, whole and streamed.
    def test_completions(self):
        options = {"model": self.model, "prompt": "1, 2, 3, 4,", "temperature": 0, "max_tokens": 8}
        whole = self.client.completions.create(**options)
        streamed = "".join(c.choices[0].text for c in self.client.completions.create(**options, stream=True) if c.choices)
        self.assertEqual(whole.choices[0].text, streamed)
        self.assertIn("5", streamed)

    # Goal: the SDK's own form of embeddings (base64) holds the numbers of the plain one.
    def test_embeddings(self):
        texts = ["The sky is blue.", "天空是蓝色的。"]
        packed = self.client.embeddings.create(model=self.model, input=texts)
        plain = self.client.embeddings.create(model=self.model, input=texts, encoding_format="float")
        for one, two in zip(packed.data, plain.data, strict=True):
            self.assertEqual(one.index, two.index)
            self.assertLess(max(abs(a - b) for a, b in zip(one.embedding, two.embedding, strict=True)), 1e-6)
            self.assertAlmostEqual(sum(x * x for x in two.embedding), 1.0, places=4)
        self.assertEqual(packed.usage.prompt_tokens, packed.usage.total_tokens)
        self.assertEqual(len(self.client.embeddings.create(model=self.model, input="a", dimensions=8).data[0].embedding), 8)

    # Goal: Chinese in, whole characters out.
    def test_chinese_stream(self):
        chunks = self.chat(messages=[{"role": "user", "content": "用中文说“你好，世界”。"}], stream=True)
        for chunk in chunks:
            self.assertNotIn("\ufffd", chunk.choices[0].delta.content or "")

    # Goal: eight at once say what one alone says.
    def test_batch_equals_alone(self):
        questions = [f"Name {n} animals." for n in range(2, 10)]
        ask = lambda q: self.chat(messages=[{"role": "user", "content": q}]).choices[0].message.content  # noqa: E731
        alone = [ask(question) for question in questions]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            self.assertEqual(list(pool.map(ask, questions)), alone)

    # Goal: each mistake gets its own exception class and names the parameter.
    def test_errors(self):
        with self.assertRaises(openai.NotFoundError) as missing:
            self.chat(model="no-such-model")
        self.assertEqual(missing.exception.code, "model_not_found")
        for field, value in {"temperature": -1, "top_p": 2, "max_tokens": -5, "n": 100, "stop": ["x"] * 99}.items():
            with self.subTest(field=field), self.assertRaises(openai.BadRequestError) as bad:
                self.chat(**{field: value})
            self.assertEqual(bad.exception.param, field)
        with self.assertRaises(openai.BadRequestError) as long:
            self.chat(messages=[{"role": "user", "content": "word " * 60000}])
        self.assertEqual(long.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.BadRequestError):
            self.chat(messages=[])

    # Goal: closing a stream frees the row: the server answers the next request at once.
    def test_disconnect(self):
        stream = self.chat(stream=True, max_tokens=2000, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            health = self.client.get("../health", cast_to=object)
            if health.get("running") == 0:
                return
            time.sleep(0.05)
        self.fail("the row of a closed stream is still running")


if __name__ == "__main__":
    with with_server.server() as base:
        OpenAiPython.client = openai.OpenAI(base_url=base + "/v1", api_key="none", timeout=120, max_retries=0)
        result = unittest.TextTestRunner(verbosity=1).run(unittest.defaultTestLoader.loadTestsFromTestCase(OpenAiPython))
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad} passed, {bad} failed, 0 skipped")
    raise SystemExit(bad != 0)
