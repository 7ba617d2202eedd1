"""The Responses API with the official OpenAI SDK for Python: whole, streamed, stored, in the background, errors."""
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


if __name__ == "__main__":
    with with_server.server() as base:
        ResponsesPython.client = openai.OpenAI(base_url=base + "/v1", api_key="none", timeout=120, max_retries=0)
        result = unittest.TextTestRunner(verbosity=1).run(unittest.defaultTestLoader.loadTestsFromTestCase(ResponsesPython))
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad} passed, {bad} failed, 0 skipped")
    raise SystemExit(bad != 0)
