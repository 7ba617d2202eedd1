"""Frameworks people build with, against a running server: LangChain (OpenAI and DeepSeek), LlamaIndex,
LiteLLM as a client. Prompts and calls are written as DeepSeek-V3.1 does, so that tools can be called."""
import json
import os
import unittest

import with_server

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no look at the network

import litellm  # noqa: E402
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage  # noqa: E402
from langchain_deepseek import ChatDeepSeek  # noqa: E402
from langchain_openai import ChatOpenAI  # noqa: E402
from llama_index.core.llms import ChatMessage  # noqa: E402
from llama_index.llms.openai_like import OpenAILike  # noqa: E402

MODEL = with_server.MODEL_ALIAS
QUESTION = "What is the weather in Paris?"
CITY = {"type": "string", "enum": ["Paris", "Rome", "杭州"]}
PARAMETERS = {"type": "object", "properties": {"city": CITY, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
              "required": ["city", "days"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city", "parameters": PARAMETERS}}
SCHEMA = {"title": "Place", "description": "A place", **PARAMETERS}


class Frameworks(unittest.TestCase):
    url = ""

    def check_place(self, place):
        self.assertEqual(set(place), {"city", "days"})
        self.assertIn(place["city"], CITY["enum"])
        self.assertIn(place["days"], range(1, 8))

    def langchain(self, **options):
        return ChatOpenAI(model=MODEL, base_url=self.url + "/v1", api_key="none", temperature=0, timeout=60, max_retries=0,
                          **{"max_tokens": 200, **options})

    # Goal: LangChain's whole answer is its stream, with usage.
    def test_langchain(self):
        whole = self.langchain().invoke(QUESTION)
        parts = list(self.langchain(stream_usage=True).stream(QUESTION))
        self.assertEqual("".join(part.text for part in parts), whole.text)
        self.assertEqual(sum(p.usage_metadata["output_tokens"] for p in parts if p.usage_metadata),
                         whole.usage_metadata["output_tokens"])

    # Goal: structured output by schema holds whatever the model would rather say.
    def test_langchain_structured(self):
        for method in ("json_schema", "function_calling"):
            with self.subTest(method=method):
                self.check_place(self.langchain().with_structured_output(SCHEMA, method=method).invoke(QUESTION))

    # Goal: a tool loop: a forced call, its result, an answer; streamed calls add up to the same.
    def test_langchain_tools(self):
        bound = self.langchain().bind_tools([TOOL], tool_choice="required", parallel_tool_calls=False)
        answer = bound.invoke(QUESTION)
        self.assertEqual([call["name"] for call in answer.tool_calls], ["get_weather"])
        self.check_place(answer.tool_calls[0]["args"])
        self.assertEqual(answer.response_metadata["finish_reason"], "tool_calls")
        streamed = None
        for part in bound.stream(QUESTION):
            streamed = part if streamed is None else streamed + part
        self.assertEqual(streamed.tool_calls[0]["args"], answer.tool_calls[0]["args"])
        result = ToolMessage("Sunny.", tool_call_id=answer.tool_calls[0]["id"])
        last = self.langchain().bind_tools([TOOL]).invoke([HumanMessage(QUESTION), answer, result])
        self.assertIsInstance(last, AIMessage)
        self.assertEqual(last.invalid_tool_calls, [])

    # Goal: the same chat class over Responses: answer, stream, forced call, stored history.
    def test_langchain_responses(self):
        chat = self.langchain(use_responses_api=True)
        whole = chat.invoke(QUESTION)
        streamed = None
        for part in chat.stream(QUESTION):
            streamed = part if streamed is None else streamed + part
        self.assertEqual(streamed.text, whole.text)
        self.assertEqual(streamed.usage_metadata["output_tokens"], whole.usage_metadata["output_tokens"])
        call = chat.bind_tools([TOOL], tool_choice="required", parallel_tool_calls=False).invoke(QUESTION)
        self.check_place(call.tool_calls[0]["args"])
        result = ToolMessage("Sunny.", tool_call_id=call.tool_calls[0]["id"])
        last = chat.invoke([HumanMessage(QUESTION), call, result])
        self.assertIsInstance(last, AIMessage)
        linked = self.langchain(use_responses_api=True, use_previous_response_id=True)
        again = linked.invoke([HumanMessage(QUESTION), whole, HumanMessage("And in Rome?")])
        self.assertGreater(again.usage_metadata["input_tokens"], whole.usage_metadata["input_tokens"] + 4)
        self.check_place(chat.with_structured_output(SCHEMA, method="json_schema").invoke(QUESTION))

    # Goal: DeepSeek's own class reads our answers, reasoning apart from content.
    def test_langchain_deepseek(self):
        chat = ChatDeepSeek(model=MODEL, api_base=self.url, api_key="none", temperature=0, max_tokens=32, max_retries=0,
                            extra_body={"thinking": {"type": "enabled"}})
        answer = chat.invoke(QUESTION)
        self.assertTrue(answer.additional_kwargs.get("reasoning_content") or answer.text)
        reasoning = "".join(p.additional_kwargs.get("reasoning_content", "") for p in chat.stream(QUESTION))
        self.assertEqual(reasoning, answer.additional_kwargs.get("reasoning_content", ""))

    # Goal: LlamaIndex: completion, chat, streamed chat.
    def test_llama_index(self):
        model = OpenAILike(model=MODEL, api_base=self.url + "/v1", api_key="none", is_chat_model=True, context_window=2048,
                           max_tokens=32, temperature=0, max_retries=0)
        whole = model.chat([ChatMessage(role="user", content=QUESTION)]).message.content
        streamed = list(model.stream_chat([ChatMessage(role="user", content=QUESTION)]))
        self.assertEqual(streamed[-1].message.content, whole)
        plain = OpenAILike(model=MODEL, api_base=self.url + "/v1", api_key="none", is_chat_model=False, max_tokens=8, temperature=0)
        self.assertIn("5", plain.complete("1, 2, 3, 4,").text)

    # Goal: LiteLLM as a client: answer, stream, tools, schema, errors by class.
    def test_litellm(self):
        def ask(**options):
            return litellm.completion(**{"model": "openai/" + MODEL, "api_base": self.url + "/v1", "api_key": "none",
                                         "messages": [{"role": "user", "content": QUESTION}], "temperature": 0,
                                         "max_tokens": 200, "num_retries": 0, **options})
        whole = ask().choices[0].message.content
        self.assertEqual("".join(part.choices[0].delta.content or "" for part in ask(stream=True)), whole)
        calls = ask(tools=[TOOL], tool_choice="required", parallel_tool_calls=False).choices[0].message.tool_calls
        self.check_place(json.loads(calls[0].function.arguments))
        schema = {"type": "json_schema", "json_schema": {"name": "place", "schema": PARAMETERS, "strict": True}}
        self.check_place(json.loads(ask(response_format=schema).choices[0].message.content))
        with self.assertRaises(litellm.NotFoundError):
            ask(model="openai/no-such-model")
        with self.assertRaises(litellm.ContextWindowExceededError):
            ask(messages=[{"role": "user", "content": "word " * 60000}])


if __name__ == "__main__":
    with with_server.server("--codec", "deepseek-v3.1") as base:
        Frameworks.url = base
        result = unittest.TextTestRunner(verbosity=1).run(unittest.defaultTestLoader.loadTestsFromTestCase(Frameworks))
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad} passed, {bad} failed, 0 skipped")
    raise SystemExit(bad != 0)
