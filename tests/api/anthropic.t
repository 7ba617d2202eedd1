# Anthropic's Messages.
POST /v1/messages
anthropic-version: 2023-06-01
anthropic-beta: tools-2024-04-04
{"model": "{{MODEL}}", "max_tokens": 8, "temperature": 0, "messages": [{"role": "user", "content": "Say hello."}]}
= status 200
= header content-type application/json
= header request-id req_
= json type = "message"
= json role = "assistant"
= json model = "test-model"
= json content.0.type = "text"
= json stop_reason exists
= json usage.input_tokens >= 0
= json usage.cache_read_input_tokens >= 0
= json usage.output_tokens >= 1

# Either header carries the key.
POST /anthropic/v1/messages
Authorization: none
x-api-key: scenario-key
{"max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}
= status 200
= json stop_reason = "max_tokens"
= json usage.output_tokens = 1

POST /v1/messages
{"max_tokens": 6, "temperature": 0, "stream": true, "system": [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}],
 "messages": [{"role": "user", "content": "用中文打个招呼"}], "metadata": {"user_id": "u-1"}, "service_tier": "auto",
 "thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}
= status 200
= header content-type text/event-stream
= names message_start ping content_block_start content_block_delta content_block_stop message_delta message_stop
= event 0 message.role = "assistant"
= event -2 delta.stop_reason exists
= event -2 usage.output_tokens >= 1
= event -1 type = "message_stop"

# A tool loop as history.
POST /v1/messages
{"max_tokens": 4, "tools": [{"name": "look", "description": "d", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
 {"type": "web_search_20250305", "name": "web_search"}], "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
 "messages": [{"role": "user", "content": "Look."}, {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"a": "b"}}]},
 {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "Sun."}]}]}]}
= status 200

POST /v1/messages/count_tokens
{"messages": [{"role": "user", "content": "Hi"}]}
= status 200
= json input_tokens > 2

POST /anthropic/v1/messages/count_tokens
{"messages": [{"role": "user", "content": "{{REPEAT word 3000}}{{REPEAT  and so on 2000}}"}]}
= status 200
= json input_tokens > 1024

# Mistakes, in Anthropic's shape.
POST /v1/messages
{"messages": [{"role": "user", "content": "Hi"}]}
= status 400
= json type = "error"
= json error.type = "invalid_request_error"
= json error.message contains "max_tokens"
= json request_id exists

POST /v1/messages
{"max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "data:,"}}]}]}
= status 400
= json error.message contains "image"

POST /v1/messages
{"model": "no-such-model", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
= status 404
= json error.type = "not_found_error"

POST /v1/messages
{"max_tokens": 5, "messages": [{"role": "user", "content": "{{REPEAT word 2000}}{{REPEAT  and so on 2000}}"}]}
= status 400
= json error.message contains "context length"

POST /v1/messages
x-api-key: wrong
Authorization: none
{}
= status 401
= json type = "error"
= json error.type = "authentication_error"

GET /v1/messages
= status 405
= json error.type = "invalid_request_error"

POST /anthropic/v1/complete
{}
= status 404
= json error.type = "not_found_error"

POST /v1/messages
{"max_tokens": 5, "messages": [
= status 400
= json error.message contains "JSON"
