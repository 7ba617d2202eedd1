# Chat completions: shapes, parameters and mistakes.
POST /v1/chat/completions
{"model": "{{MODEL}}", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "temperature": 0}
= status 200
= header content-type application/json
= header x-request-id req_
= json object = "chat.completion"
= json model = "test-model"
= json choices.0.message.role = "assistant"
= json choices.0.message.content exists
= json choices.0.finish_reason exists
= json usage.prompt_tokens > 5
= json usage.completion_tokens >= 1
= json usage.prompt_tokens_details.cached_tokens >= 0
= json usage.prompt_cache_hit_tokens >= 0
= json usage.prompt_cache_miss_tokens >= 1
= json usage.completion_tokens_details.reasoning_tokens = 0

POST /chat/completions
x-request-id: my-id.1
{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
= status 200
= header x-request-id my-id.1
= json choices.0.finish_reason = "length"
= json usage.completion_tokens = 1

# A stream: role first, finish_reason and usage at the end.
POST /v1/chat/completions
{"messages": [{"role": "user", "content": "用中文打个招呼"}], "stream": true, "stream_options": {"include_usage": true},
 "max_tokens": 16, "temperature": 0}
= status 200
= header content-type text/event-stream
= header cache-control no-cache
= events ordered
= event 0 choices.0.delta.role = "assistant"
= event 0 usage = null
= event -2 choices = []
= event -2 usage.completion_tokens >= 1
= event -3 choices.0.finish_reason exists

POST /v1/chat/completions
{"messages": [{"role": "user", "content": "Hi"}], "stream": true, "max_tokens": 4}
= events ordered
= event 1 usage has-not

POST /v1/chat/completions
{"messages": [{"role": "user", "content": "Count to ten."}], "n": 3, "max_tokens": 4, "seed": 3}
= json choices.2.index = 2
= json usage.completion_tokens = 12

POST /v1/chat/completions
{"messages": [{"role": "user", "content": "Hi"}], "logprobs": true, "top_logprobs": 3, "max_tokens": 2, "temperature": 0}
= json choices.0.logprobs.content.1.top_logprobs.2.token exists
= json choices.0.logprobs.content.0.bytes.0 > 0

# Fields that clients send and that change nothing here.
POST /v1/chat/completions
{"messages": [{"role": "developer", "content": "Be short."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
 "max_completion_tokens": 2, "metadata": {"a": 1}, "store": true, "user": "u", "service_tier": "auto", "reasoning_effort": "low",
 "parallel_tool_calls": true, "response_format": {"type": "text"}, "stop": null, "temperature": null}
= status 200
= json usage.completion_tokens >= 1

POST /v1/chat/completions
{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 6, "ignore_eos": true, "min_tokens": 6, "top_k": 5, "min_p": 0.1,
 "repetition_penalty": 1.1, "presence_penalty": 0.5, "frequency_penalty": 0.5, "logit_bias": {"100": -100}, "stop_token_ids": [0]}
= status 200
= json usage.completion_tokens = 6

POST /v1/chat/completions
{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "The capital of France is"}],
 "continue_final_message": true, "max_tokens": 3, "temperature": 0}
= status 200
= json choices.0.message.content contains "Paris"

# Mistakes, each with its parameter.
POST /v1/chat/completions
{"messages": [{"role": "user", "content": "Hi"}], "temperature": 1e400}
= status 400

POST /v1/chat/completions
{"messages": [{"role": "user", "content": "Hi"}], "n": 17}
= status 400
= json error.param = "n"
= json error.type = "invalid_request_error"

POST /v1/chat/completions
{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": "many"}
= status 400
= json error.param = "max_tokens"

POST /v1/chat/completions
{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]}
= status 400
= json error.param = "messages[0].content"

POST /v1/chat/completions
{"messages": [{"role": "user", "content": "Hi"}], "response_format": {"type": "json_schema"}}
= status 400
= json error.param = "response_format.json_schema"

POST /v1/chat/completions
{"model": "gpt-9", "messages": [{"role": "user", "content": "Hi"}]}
= status 404
= json error.code = "model_not_found"
= json error.type = "not_found_error"

POST /v1/chat/completions
{"messages": [{"role": "user", "content": "{{REPEAT word 2000}}{{REPEAT  and so on 2000}}"}]}
= status 400
= json error.code = "context_length_exceeded"

POST /v1/chat/completions
{"messages": [
= status 400
= json error.code = "invalid_json"

POST /v1/chat/completions
{{REPEAT [ 100000}}
= status 400
= json error.code = "invalid_json"

POST /v1/chat/completions
Authorization: Bearer wrong-key
{"messages": [{"role": "user", "content": "Hi"}]}
= status 401
= json error.type = "authentication_error"

GET /v1/chat/completions
= status 405
= header allow POST

OPTIONS /v1/chat/completions
Origin: http://localhost:5173
= status 204
= header access-control-allow-origin http://localhost:5173
