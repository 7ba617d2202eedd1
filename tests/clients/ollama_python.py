"""Ollama's own client for Python, and LangChain's model over it, against a running server."""
import json
import os
import unittest

import langchain_ollama
import ollama

import with_server

MODEL = with_server.MODEL_ALIAS
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
GREEDY = {"temperature": 0, "num_predict": 24}


class OllamaPython(unittest.TestCase):
    client: ollama.Client

    # Goal: list, show and ps have what the SDK's types ask for.
    def test_models(self):
        listed = {model.model: model for model in self.client.list().models}
        self.assertIn(MODEL, listed)
        self.assertEqual(len(listed[MODEL].digest), 64)
        self.assertGreater(listed[MODEL].size, 1_000_000)
        shown = self.client.show(MODEL)
        self.assertIn("completion", shown.capabilities)
        self.assertEqual(shown.modelinfo["general.architecture"], "llama")
        self.assertIn(MODEL, [model.model for model in self.client.ps().models])

    # Goal: a whole answer, with counts and durations.
    def test_chat(self):
        answer = self.client.chat(MODEL, QUESTION, options=GREEDY)
        self.assertIn("Paris", answer.message.content)
        self.assertTrue(answer.done)
        self.assertGreater(answer.prompt_eval_count, 0)
        self.assertGreater(answer.eval_count, 0)
        self.assertGreater(answer.total_duration, answer.eval_duration)

    # Goal: the stream says the same.
    def test_stream_equals_whole(self):
        parts = list(self.client.chat(MODEL, QUESTION, options=GREEDY, stream=True))
        self.assertTrue(parts[-1].done)
        text = "".join(part.message.content for part in parts)
        self.assertEqual(text, self.client.chat(MODEL, QUESTION, options=GREEDY).message.content)

    # Goal: generate goes on with raw text; num_predict counts exactly and gives "length".
    def test_generate(self):
        answer = self.client.generate(MODEL, "1, 2, 3, 4,", raw=True, options={"temperature": 0, "num_predict": 6})
        self.assertIn("5", answer.response)
        self.assertEqual(answer.eval_count, 6)
        self.assertEqual(answer.done_reason, "length")

    # Goal: tools, a call in the history and its result are understood, whether the model calls or not.
    def test_tools(self):
        history = [*QUESTION,
                   {"role": "assistant", "content": "", "tool_calls": [
                       {"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}]},
                   {"role": "tool", "tool_name": "get_weather", "content": "Sunny."}]
        answer = self.client.chat(MODEL, history, tools=[WEATHER], options=GREEDY)
        for call in answer.message.tool_calls or []:
            self.assertIsInstance(call.function.arguments, dict)
        self.assertTrue(answer.message.content or answer.message.tool_calls)

    # Goal: a model is loaded without a prompt, and let go.
    def test_load_and_unload(self):
        self.assertEqual(self.client.generate("nano", keep_alive="5m").done_reason, "load")
        self.assertIn("nano", [model.model for model in self.client.ps().models])
        self.assertEqual(self.client.generate("nano", keep_alive=0).done_reason, "unload")

    # Goal: a mistake is the SDK's error with the server's words.
    def test_errors(self):
        with self.assertRaises(ollama.ResponseError) as missing:
            self.client.chat("nobody", QUESTION)
        self.assertEqual(missing.exception.status_code, 404)
        self.assertIn("nobody", missing.exception.error)
        with self.assertRaises(ollama.ResponseError) as bad:
            self.client.chat(MODEL, QUESTION, options={"temperature": -1})
        self.assertEqual(bad.exception.status_code, 400)

    # Goal: LangChain's ChatOllama, whole and streamed.
    def test_langchain(self):
        model = langchain_ollama.ChatOllama(model=MODEL, base_url=os.environ["HADAL_URL"], temperature=0,
                                            num_predict=24)
        self.assertIn("Paris", model.invoke(QUESTION[0]["content"]).content)
        self.assertIn("Paris", "".join(chunk.content for chunk in model.stream(QUESTION[0]["content"])))
        json.dumps(model.invoke("Hi").usage_metadata)


if __name__ == "__main__":
    with with_server.server("--model", "nano") as address:
        os.environ["HADAL_URL"] = address
        OllamaPython.client = ollama.Client(host=address)
        result = unittest.TextTestRunner(verbosity=1).run(unittest.defaultTestLoader.loadTestsFromTestCase(OllamaPython))
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad} passed, {bad} failed, 0 skipped")
    raise SystemExit(bad != 0)
