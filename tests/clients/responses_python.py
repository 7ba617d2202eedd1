"""The Responses API with the official OpenAI SDK for Python: whole, streamed, stored (also over a killed
server), in the background, errors."""
import pathlib
import tempfile
import time
import unittest

import openai
import with_server

QUESTION = "What is the capital of France? Answer in one sentence."
TOOLS = [{"type": "function", "name": "get_weather", "description": "Weather of a city", "strict": False,
          "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]


class ResponsesPython(unittest.TestCase):
    client: openai.OpenAI
    model = with_server.MODEL_ALIAS

    def ask(self, **options):
        return self.client.responses.create(
            **{"model": self.model, "input": QUESTION, "max_output_tokens": 24, "temperature": 0, **options})

    # Goal: a whole answer in the SDK's types.
    def test_create(self):
        answer = self.ask(metadata={"a": "b"}, reasoning={"effort": "low"})
        self.assertIn("Paris", answer.output_text)
        self.assertIn(answer.status, ("completed", "incomplete"))
        self.assertEqual(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens)
        self.assertEqual(answer.metadata, {"a": "b"})

    # Goal: the SDK's own accumulation of the stream gives the same answer; numbers have no gap.
    def test_stream(self):
        whole = self.ask()
        with self.client.responses.stream(model=self.model, input=QUESTION, max_output_tokens=24, temperature=0) as stream:
            events = list(stream)
        self.assertEqual([event.sequence_number for event in events if hasattr(event, "sequence_number")], list(range(len(events))))
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        self.assertEqual(text, whole.output_text)
        self.assertEqual(events[0].type, "response.created")
        self.assertEqual(events[-1].type, "response." + whole.status)
        self.assertEqual(events[-1].response.output_text, text)

    # Goal: stored answers: fetch, build on, list, forget.
    def test_stored(self):
        first = self.ask(input="Remember the number 7.")
        self.assertEqual(self.client.responses.retrieve(first.id).output_text, first.output_text)
        second = self.ask(input="Which number?", previous_response_id=first.id)
        self.assertGreater(second.usage.input_tokens, first.usage.input_tokens + 2)
        items = list(self.client.responses.input_items.list(first.id))
        self.assertEqual(items[0].content[0].text, "Remember the number 7.")
        self.client.responses.delete(first.id)
        with self.assertRaises(openai.NotFoundError):
            self.client.responses.retrieve(first.id)
        with self.assertRaises(openai.BadRequestError) as lost:
            self.ask(previous_response_id=first.id)
        self.assertEqual(lost.exception.code, "previous_response_not_found")

    # Goal: history as the client keeps it, with a call and its result.
    def test_tool_history(self):
        items = [{"role": "user", "content": QUESTION},
                 {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city": "Paris"}'},
                 {"type": "function_call_output", "call_id": "call_1", "output": "Sunny."}]
        answer = self.ask(input=items, tools=TOOLS, instructions="Be short.", store=False)
        self.assertIn(answer.status, ("completed", "incomplete"))

    # Goal: an answer in the background is found later; a cancelled one says so.
    def test_background(self):
        queued = self.ask(background=True)
        self.assertIn(queued.status, ("queued", "in_progress"))
        deadline = time.monotonic() + 60
        while queued.status in ("queued", "in_progress") and time.monotonic() < deadline:
            time.sleep(0.05)
            queued = self.client.responses.retrieve(queued.id)
        self.assertIn("Paris", queued.output_text)
        running = self.ask(background=True, max_output_tokens=1500, input="Count to ten thousand.", temperature=1.0)
        self.assertIn(self.client.responses.cancel(running.id).status, ("cancelled", "completed"))

    # Goal: a stream in the background outlives its reader, who comes back for what is missing.
    def test_background_stream(self):
        seen = []
        stream = self.ask(background=True, stream=True)
        for event in stream:
            seen.append(event)
            if len(seen) == 8:
                break
        stream.close()
        answer = seen[0].response
        self.assertEqual([event.type for event in seen[:3]], ["response.created", "response.queued", "response.in_progress"])
        seen += self.client.responses.retrieve(answer.id, stream=True, starting_after=seen[-1].sequence_number)
        self.assertEqual([event.sequence_number for event in seen], list(range(len(seen))))
        text = "".join(event.delta for event in seen if event.type == "response.output_text.delta")
        answer = self.client.responses.retrieve(answer.id)
        self.assertEqual(seen[-1].type, "response." + answer.status)
        self.assertIn("Paris", answer.output_text)
        self.assertEqual(text, answer.output_text)
        with self.client.responses.stream(response_id=answer.id, starting_after=4) as again:
            self.assertEqual([event.type for event in again][-1], seen[-1].type)
        with self.assertRaises(openai.BadRequestError):
            self.client.responses.retrieve(self.ask(max_output_tokens=1).id, stream=True)

    # Goal: the odds of the answer's tokens, whole and streamed.
    def test_logprobs(self):
        options = {"include": ["message.output_text.logprobs"], "top_logprobs": 3, "max_output_tokens": 4}
        part = self.ask(**options).output[0].content[0]
        self.assertEqual("".join(entry.token for entry in part.logprobs), part.text)
        self.assertTrue(all(len(entry.top_logprobs) == 3 and entry.logprob <= 0 for entry in part.logprobs))
        deltas = [event for event in self.ask(stream=True, **options) if event.type == "response.output_text.delta"]
        self.assertEqual([entry.token for event in deltas for entry in event.logprobs],
                         [entry.token for entry in part.logprobs])

    # Goal: counted tokens are those that an answer then costs.
    def test_input_tokens(self):
        counted = self.client.responses.input_tokens.count(model=self.model, input=QUESTION)
        self.assertEqual(counted.input_tokens, self.ask(max_output_tokens=1).usage.input_tokens)

    # Goal: mistakes name their field.
    def test_errors(self):
        with self.assertRaises(openai.NotFoundError):
            self.ask(model="no-such-model")
        for field, value in {"temperature": -1, "max_output_tokens": 0, "top_p": 2, "input": 7}.items():
            with self.subTest(field=field), self.assertRaises(openai.BadRequestError) as bad:
                self.ask(**{field: value})
            self.assertEqual(bad.exception.param, field)


class KilledServer(unittest.TestCase):
    # Goal: what was answered is there after kill -9, for its owner, and what was deleted is not.
    def test_stored_answers_survive(self):
        with tempfile.TemporaryDirectory() as directory:
            kept = pathlib.Path(directory) / "kept"

            def started():
                process, url = with_server.start("--responses-dir", str(kept))
                self.addCleanup(process.kill)
                return process, openai.OpenAI(base_url=url + "/v1", api_key="ann", timeout=60, max_retries=0)

            def ask(client, text, **options):
                return client.responses.create(model=with_server.MODEL_ALIAS, input=text, max_output_tokens=4, temperature=0,
                                               **options)

            process, client = started()
            first = ask(client, "Remember the number 7.")
            second = ask(client, "Which number?", previous_response_id=first.id)
            gone = ask(client, "A secret that is to be forgotten.")
            client.responses.delete(gone.id)
            long = "Count to ten thousand, then back. " * 200  # a second of reading at least
            running = client.responses.create(model=with_server.MODEL_ALIAS, input=long, background=True, temperature=0)
            time.sleep(0.2)
            process.kill()
            process.wait()
            process, client = started()
            self.assertEqual(client.responses.retrieve(second.id).output_text, second.output_text)
            third = ask(client, "Sure?", previous_response_id=second.id)
            self.assertGreater(third.usage.input_tokens, second.usage.input_tokens)
            self.assertEqual(client.responses.retrieve(running.id).status, "failed")
            for lost, reader in ((gone, client), (first, client.with_options(api_key="bob"))):
                with self.assertRaises(openai.NotFoundError):
                    reader.responses.retrieve(lost.id)
            for file in kept.iterdir():
                self.assertEqual(file.stat().st_mode & 0o077, 0, file)
                self.assertNotIn(b"to be forgotten", file.read_bytes())
            process.kill()
            process.wait()


if __name__ == "__main__":
    tests = unittest.defaultTestLoader.loadTestsFromModule(__import__("__main__"))
    with with_server.server() as base:
        ResponsesPython.client = openai.OpenAI(base_url=base + "/v1", api_key="none", timeout=120, max_retries=0)
        result = unittest.TextTestRunner(verbosity=1).run(tests)
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad} passed, {bad} failed, 0 skipped")
    raise SystemExit(bad != 0)
