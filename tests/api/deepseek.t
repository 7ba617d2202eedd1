# DeepSeek's own paths and fields.
POST /beta/chat/completions
{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "The capital of France is", "prefix": true}],
 "max_tokens": 3, "temperature": 0, "thinking": {"type": "disabled"}, "user_id": "user_1-A"}
= status 200
= json choices.0.message.content contains "Paris"
= json usage.prompt_cache_miss_tokens >= 1

POST /beta/completions
{"prompt": "1, 2, 3,", "max_tokens": 4, "temperature": 0}
= status 200
= json object = "text_completion"

GET /user/balance
= status 200
= json is_available = true
= json balance_infos.0.currency exists

# The reasoning of a turn with calls may come back, empty or not at all.
POST /chat/completions
{"messages": [{"role": "user", "content": "Look."}, {"role": "assistant", "content": "", "reasoning_content": "", "tool_calls":
 [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]}, {"role": "tool", "tool_call_id": "c1", "content": "Sun."}],
 "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}], "max_tokens": 2}
= status 200

POST /chat/completions
{"messages": [{"role": "user", "content": "Hi"}], "user_id": "a b"}
= status 400
= json error.param = "user_id"

POST /chat/completions
{"messages": [{"role": "user", "content": "Hi"}], "thinking": {"type": "sometimes"}}
= status 400
= json error.param = "thinking"

GET /user/balance
Authorization: none
= status 401
