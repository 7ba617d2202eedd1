"""Ollama's own client for Python, and LangChain's model over it, against a running server."""
import json
import os
import pathlib
import sys
import tempfile
import unittest

import langchain_ollama
import ollama

import with_server

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
import gguf_files
import test_pull

REFERENCE = "hf:" + test_pull.HF_FILE
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

    # Goal: log-probabilities of every token, whole and streamed.
    def test_logprobs(self):
        answer = self.client.chat(MODEL, QUESTION, options={"temperature": 0, "num_predict": 5}, logprobs=True,
                                  top_logprobs=2)
        self.assertEqual(len(answer.logprobs), 5)
        self.assertEqual("".join(entry.token for entry in answer.logprobs), answer.message.content)
        self.assertEqual(answer.logprobs[0].top_logprobs[0].token, answer.logprobs[0].token)
        parts = self.client.generate(MODEL, "1, 2, 3,", raw=True, stream=True, logprobs=True,
                                     options={"temperature": 0, "num_predict": 4})
        self.assertEqual(sum(len(part.logprobs or []) for part in parts), 4)

    # Goal: vectors of one text and of several are the same numbers, of length 1, in both forms.
    def test_embed(self):
        both = self.client.embed(MODEL, ["The sky is blue.", "Rain falls."])
        self.assertEqual(len(both.embeddings), 2)
        self.assertAlmostEqual(sum(x * x for x in both.embeddings[0]), 1, places=4)
        self.assertGreater(both.prompt_eval_count, 5)
        self.assertEqual(self.client.embed(MODEL, "Rain falls.").embeddings[0], both.embeddings[1])
        self.assertEqual(list(self.client.embeddings(MODEL, "Rain falls.").embedding), list(both.embeddings[1]))
        self.assertEqual(len(self.client.embed(MODEL, "Rain", dimensions=8).embeddings[0]), 8)
        with self.assertRaises(ollama.ResponseError) as long:
            self.client.embed(MODEL, "word " * 9000, truncate=False)
        self.assertEqual(long.exception.status_code, 400)
        vector = langchain_ollama.OllamaEmbeddings(model=MODEL, base_url=os.environ["HADAL_URL"]).embed_query("Rain falls.")
        self.assertEqual(vector, list(both.embeddings[1]))

    # Goal: what is served counts as pulled; nothing else may be brought here.
    def test_closed_store(self):
        self.assertEqual(self.client.pull(MODEL).status, "success")
        with self.assertRaises(ollama.ResponseError) as closed:
            self.client.pull("hf:ORG/REPO/x.gguf")
        self.assertEqual(closed.exception.status_code, 403)

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


class OllamaStore(unittest.TestCase):
    client: ollama.Client

    # Goal: pulled with progress, used, copied, deleted; what is not there is the SDK's error.
    def test_pull_copy_delete(self):
        parts = list(self.client.pull(REFERENCE, stream=True))
        self.assertEqual(parts[-1].status, "success")
        self.assertTrue(any(part.digest and part.completed == part.total for part in parts))
        self.assertEqual(self.client.generate("Model-Q4", "a", raw=True, options={"num_predict": 2}).eval_count, 2)
        self.assertEqual(self.client.copy("Model-Q4", "mine").status, "success")
        self.assertEqual({"Model-Q4", "mine"} - {model.model for model in self.client.list().models}, set())
        for name in ("Model-Q4", "mine"):
            self.assertEqual(self.client.delete(name).status, "success")
        with self.assertRaises(ollama.ResponseError) as missing:
            self.client.delete("mine")
        self.assertEqual(missing.exception.status_code, 404)
        with self.assertRaises(ollama.ResponseError):
            self.client.pull("hf:ORG/REPO/none.gguf")
        with self.assertRaises(ollama.ResponseError):
            list(self.client.pull("hf:ORG/REPO/none.gguf", stream=True))
        with self.assertRaises(ollama.ResponseError) as created:
            self.client.create("mine", from_="nano")
        self.assertEqual(created.exception.status_code, 501)


def run_tests(case, address):
    case.client = ollama.Client(host=address)
    return unittest.TextTestRunner(verbosity=1).run(unittest.defaultTestLoader.loadTestsFromTestCase(case))


def main():
    with with_server.server("--model", "nano") as address:
        os.environ["HADAL_URL"] = address
        results = [run_tests(OllamaPython, address)]
    with tempfile.TemporaryDirectory() as home:
        model = gguf_files.write_model(pathlib.Path(home) / "tiny.gguf")
        hub = test_pull.Stub(files={test_pull.HF_PATH: model.read_bytes()})
        os.environ.update(HADAL_HOME=home, HF_ENDPOINT=hub.url)
        with with_server.server("--allow-pull", "1MiB", "--ctx", "64", model="nano") as address:
            results.append(run_tests(OllamaStore, address))
    bad = sum(len(result.failures) + len(result.errors) for result in results)
    print(f"{sum(result.testsRun for result in results) - bad} passed, {bad} failed, 0 skipped")
    return bad != 0


if __name__ == "__main__":
    raise SystemExit(main())
