# Ollama's dialect.
GET /
Authorization: none
User-Agent: ollama-python/0.6
= status 200
= body contains Ollama is running

GET /api/version
Authorization: none
= json version contains "0.12"

GET /api/tags
= json models.0.name = "test-model"
= json models.0.details.format = "gguf"
= json models.0.digest exists

GET /api/ps
= json models.0.model = "test-model"
= json models.0.expires_at contains "21"

POST /api/show
{"model": "test-model:latest"}
= status 200
= json capabilities contains "completion"
= body contains "general.architecture"
= json template exists

POST /api/show
{"model": "nobody"}
= status 404
= json error = "model 'nobody' not found"

# Streams are the default: one object per line.
POST /api/chat
{"model": "test-model", "messages": [{"role": "user", "content": "Hi"}], "options": {"num_predict": 5, "temperature": 0, "seed": 1}}
= status 200
= header content-type application/x-ndjson
= line 0 done = false
= line 0 message.role = "assistant"
= line -1 done = true
= line -1 done_reason = "length"
= line -1 eval_count = 5
= line -1 prompt_eval_count > 0
= line -1 total_duration > 0

POST /api/chat
{"model": "test-model", "stream": false, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather?"}, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Paris"}}}]}, {"role": "tool", "tool_name": "weather", "content": "Sunny"}], "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}], "think": false, "keep_alive": -1, "options": {"num_predict": 4, "num_ctx": 100000, "num_gpu": 99, "top_k": 5, "top_p": 0.9, "min_p": 0.01, "repeat_penalty": 1.1, "stop": ["\n"]}}
= status 200
= json done = true
= json message.role = "assistant"
= json model = "test-model"

POST /api/generate
{"model": "test-model", "prompt": "1, 2, 3, 4,", "raw": true, "stream": false, "options": {"num_predict": 8, "temperature": 0}}
= status 200
= json response contains "5"
= json done_reason = "length"

POST /api/generate
{"model": "test-model", "prompt": "Say hello.", "system": "You are polite.", "context": [1, 2], "options": {"num_predict": 4}}
= line 0 done = false
= line -1 eval_count = 4

# Load, unload.
POST /api/generate
{"model": "nano", "keep_alive": "10m"}
= json done_reason = "load"
= json response = ""

POST /api/chat
{"model": "nano", "messages": [], "keep_alive": 0}
= json done_reason = "unload"
= json message.content = ""

# What it says no to, in its own shape.
POST /api/chat
{"model": "nobody", "messages": [{"role": "user", "content": "Hi"}]}
= status 404
= json error contains "nobody"

POST /api/chat
{"messages": [{"role": "user", "content": "Hi"}]}
= status 400
= json error contains "model"

POST /api/chat
{"model": "test-model", "messages": [{"role": "user", "content": "Look", "images": ["aGk="]}]}
= status 400
= json error contains "images"

POST /api/chat
{"model": "test-model", "think": "deeply", "messages": [{"role": "user", "content": "Hi"}]}
= status 400
= json error contains "think"

POST /api/generate
{"model": "test-model", "prompt": "a", "options": {"temperature": -1}}
= status 400
= json error contains "temperature"

POST /api/generate
{"model": "test-model", "prompt": "a", "template": "{{ .Prompt }}"}
= status 400
= json error contains "template"

POST /api/chat
{not json
= status 400
= json error contains "JSON"

GET /api/nothing
= status 404
= json error contains "path"
