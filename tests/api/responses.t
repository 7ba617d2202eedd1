# OpenAI's Responses: answers, their events, and what can be done with stored ones.
# First, because what is cancelled leaves the engine with its next step.
POST /v1/responses
{"input": "Count to a thousand.", "background": true, "max_output_tokens": 200, "ignore_eos": true}
= status 200
= json status = "queued"
= save BACK id

POST /v1/responses/{{BACK}}/cancel
{}
= status 200
= json background = true

DELETE /v1/responses/{{BACK}}
= status 200

POST /responses/{{BACK}}/cancel
= status 404

POST /v1/responses
{"model": "{{MODEL}}", "input": "Say hello.", "max_output_tokens": 8, "temperature": 0, "client_metadata": {"a": "b"},
 "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "parallel_tool_calls": true, "tool_choice": "auto", "tools": []}
= status 200
= json object = "response"
= json model = "test-model"
= json output.0.type = "message"
= json output.0.content.0.type = "output_text"
= json usage.input_tokens > 2
= json usage.output_tokens >= 1
= json usage.input_tokens_details.cached_tokens >= 0
= json usage.output_tokens_details.reasoning_tokens = 0
= json store = true
= save FIRST id

GET /v1/responses/{{FIRST}}
= status 200
= json object = "response"

GET /v1/responses/{{FIRST}}/input_items?order=asc
= status 200
= json object = "list"
= json data.0.content.0.text = "Say hello."
= json has_more = false

POST /responses
{"input": [{"role": "user", "content": "And again."}], "previous_response_id": "{{FIRST}}", "max_output_tokens": 2, "temperature": 0}
= status 200
= json previous_response_id exists
= json status exists
= save SECOND id

GET /responses/{{SECOND}}
= status 200

GET /responses/{{SECOND}}/input_items
= json data.0.role = "user"

DELETE /v1/responses/{{FIRST}}
= status 200
= json deleted = true

DELETE /responses/{{SECOND}}
= status 200

GET /v1/responses/{{FIRST}}
= status 404
= json error.type = "not_found_error"

POST /v1/responses
{"input": "x", "previous_response_id": "{{FIRST}}"}
= status 400
= json error.code = "previous_response_not_found"

POST /v1/responses
{"input": "用中文打个招呼", "stream": true, "max_output_tokens": 2, "store": false}
= status 200
= header content-type text/event-stream
= names response.created response.in_progress response.output_item.added response.content_part.added response.output_text.delta response.output_text.done response.content_part.done response.output_item.done response.incomplete
= event 0 sequence_number = 0
= event 0 response.status = "in_progress"
= event -1 response.incomplete_details.reason = "max_output_tokens"
= event -1 response.usage.output_tokens = 2

POST /v1/responses/input_tokens
{"input": "Hi", "instructions": "Be short."}
= status 200
= json object = "response.input_tokens"
= json input_tokens > 2

POST /responses/input_tokens
{"input": 7}
= status 400
= json error.param = "input"

POST /v1/responses
{"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]}
= status 400
= json error.code = "unsupported_content"

# In the background and streamed: read now, and again from any event on.
POST /v1/responses
{"input": "Say hello.", "background": true, "stream": true, "max_output_tokens": 3, "temperature": 0}
= status 200
= header content-type text/event-stream
= names response.created response.queued response.in_progress response.output_item.added response.content_part.added response.output_text.delta response.output_text.done response.content_part.done response.output_item.done response.incomplete
= event 0 sequence_number = 0
= event 0 response.status = "queued"
= event -1 response.usage.output_tokens = 3
= save STREAMED response.id

GET /v1/responses/{{STREAMED}}?stream=true&starting_after=1
= status 200
= header content-type text/event-stream
= event 0 type = "response.in_progress"
= event 0 sequence_number = 2
= event -1 type = "response.incomplete"

GET /responses/{{STREAMED}}?stream=true&starting_after=first
= status 400
= json error.param = "starting_after"

GET /responses/{{STREAMED}}
= json background = true
= json status = "incomplete"

POST /v1/responses/{{STREAMED}}/cancel
{}
= json status = "incomplete"

# Odds of the tokens.
POST /v1/responses
{"input": "Say hello.", "max_output_tokens": 2, "temperature": 0, "include": ["message.output_text.logprobs"], "top_logprobs": 2}
= status 200
= json top_logprobs = 2
= json output.0.content.0.logprobs.0.token exists
= json output.0.content.0.logprobs.0.bytes.0 >= 0
= json output.0.content.0.logprobs.0.top_logprobs.1.logprob exists
= save PLAIN id

GET /v1/responses/{{PLAIN}}?stream=true
= status 400
= json error.param = "stream"

POST /v1/responses
{"input": "Hi", "top_logprobs": 21}
= status 400
= json error.param = "top_logprobs"

POST /v1/responses
{"model": "gpt-9", "input": "Hi"}
= status 404
= json error.code = "model_not_found"

GET /v1/responses
= status 405

PUT /v1/responses/x
= status 405
= header allow DELETE
