"""The official Anthropic SDK for Python against a running server: whole and streamed messages, tools as history, counts, errors."""
import unittest

import anthropic
import with_server

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
TOOLS = [{"name": "get_weather", "description": "Weather of a city",
          "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]


class AnthropicPython(unittest.TestCase):
    client: anthropic.Anthropic
    model = with_server.MODEL_ALIAS

    def ask(self, extra=None, **options):
        # The SDK has no parameter for the temperature any more; the API has.
        return self.client.messages.create(extra_body={"temperature": 0, **(extra or {})},
                                           **{"model": self.model, "messages": QUESTION, "max_tokens": 24, **options})

    # Goal: a whole message in the SDK's types.
    def test_create(self):
        message = self.ask()
        self.assertIn("Paris", message.content[0].text)
        self.assertIn(message.stop_reason, ("end_turn", "max_tokens"))
        self.assertGreater(message.usage.output_tokens, 1)
        self.assertTrue(message._request_id.startswith("req_"))

    # Goal: the SDK's own accumulation of the stream gives the same message.
    def test_stream(self):
        whole = self.ask()
        with self.client.messages.stream(model=self.model, messages=QUESTION, max_tokens=24, extra_body={"temperature": 0}) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        self.assertEqual(text, whole.content[0].text)
        self.assertEqual(final.content[0].text, text)
        self.assertEqual(final.stop_reason, whole.stop_reason)
        self.assertEqual(final.usage.output_tokens, whole.usage.output_tokens)

    # Goal: a system text, blocks, and a call with its result as history.
    def test_tool_history(self):
        history = [*QUESTION,
                   {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}]},
                   {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Sunny."}]}]
        for choice in ("auto", "none"):
            message = self.ask(messages=history, tools=TOOLS, tool_choice={"type": choice}, system=[{"type": "text", "text": "Be short."}])
            self.assertIn(message.stop_reason, ("end_turn", "max_tokens", "tool_use"))
        with self.assertRaises(anthropic.BadRequestError):  # this model has no way of calling tools
            self.ask(messages=history, tools=TOOLS, tool_choice={"type": "any"})

    # Goal: a second request finds what the first computed, and says so apart from what is new.
    def test_cache(self):
        first = self.ask(system="You know all capitals. " * 20)
        second = self.ask(system="You know all capitals. " * 20)
        self.assertGreaterEqual(second.usage.cache_read_input_tokens, 64)
        self.assertEqual(second.usage.input_tokens + second.usage.cache_read_input_tokens,
                         first.usage.input_tokens + first.usage.cache_read_input_tokens)

    # Goal: counted tokens are those that a message then costs.
    def test_count_tokens(self):
        counted = self.client.messages.count_tokens(model=self.model, messages=QUESTION)
        usage = self.ask(max_tokens=1).usage
        self.assertEqual(counted.input_tokens, usage.input_tokens + usage.cache_read_input_tokens)

    # Goal: stop sequences end, are named, and never show.
    def test_stop_sequence(self):
        message = self.ask(stop_sequences=["Paris"])
        self.assertEqual(message.stop_reason, "stop_sequence")
        self.assertEqual(message.stop_sequence, "Paris")
        self.assertNotIn("Paris", message.content[0].text if message.content else "")

    # Goal: each mistake gets its own exception class.
    def test_errors(self):
        with self.assertRaises(anthropic.NotFoundError) as missing:
            self.ask(model="claude-nobody")
        self.assertEqual(missing.exception.body["error"]["type"], "not_found_error")
        for field, value in {"temperature": -1, "max_tokens": 0, "top_p": 2, "messages": []}.items():
            with self.subTest(field=field), self.assertRaises(anthropic.BadRequestError) as bad:
                self.ask(extra={field: value})
            self.assertIn(field, bad.exception.body["error"]["message"])
        with self.assertRaises(anthropic.BadRequestError):
            self.ask(messages=[{"role": "user", "content": "word " * 60000}])


if __name__ == "__main__":
    with with_server.server() as base:
        AnthropicPython.client = anthropic.Anthropic(base_url=base, api_key="none", timeout=120, max_retries=0)
        result = unittest.TextTestRunner(verbosity=1).run(unittest.defaultTestLoader.loadTestsFromTestCase(AnthropicPython))
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad} passed, {bad} failed, 0 skipped")
    raise SystemExit(bad != 0)
