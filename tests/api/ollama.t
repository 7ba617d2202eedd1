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

# Log-probabilities, with and without a template.
POST /api/chat
{"model": "test-model", "stream": false, "messages": [{"role": "user", "content": "Hi"}], "logprobs": true, "top_logprobs": 2, "options": {"num_predict": 3, "temperature": 0}}
= json logprobs.2.token exists
= json logprobs.0.top_logprobs.1.bytes exists
= json logprobs.3 has-not 0

POST /api/generate
{"model": "test-model", "prompt": "1, 2, 3,", "raw": true, "logprobs": true, "options": {"num_predict": 3, "temperature": 0}}
= line 0 logprobs.0.logprob exists
= line 0 logprobs.0.top_logprobs = []

POST /api/generate
{"model": "test-model", "prompt": "a", "top_logprobs": 21}
= status 400
= json error contains "top_logprobs"

# Vectors.
POST /api/embed
{"model": "test-model", "input": ["The sky is blue.", "天空是蓝色的。"], "dimensions": 16, "keep_alive": -1}
= status 200
= json model = "test-model"
= json embeddings.1.15 exists
= json embeddings.0.16 has-not 0
= json prompt_eval_count > 8
= json total_duration > 0

POST /api/embed
{"model": "test-model", "input": "{{REPEAT word  2000}}", "truncate": false}
= status 400
= json error contains "tokens"

POST /api/embed
{"model": "test-model"}
= json embeddings = []

POST /api/embeddings
{"model": "test-model:latest", "prompt": "The sky is blue."}
= status 200
= json embedding.575 exists
= json embedding.576 has-not 0

# Nothing may be brought here, but what is served is here.
POST /api/pull
{"model": "test-model"}
= status 200
= header content-type application/x-ndjson
= line 0 status = "pulling manifest"
= line -1 status = "success"

POST /api/pull
{"model": "smollm2-360m", "stream": false}
= status 403
= json error contains "allow-pull"

POST /api/copy
{"source": "test-model", "destination": "other"}
= status 403

DELETE /api/delete
{"model": "test-model"}
= status 403
= json error contains "allow-pull"

POST /api/create
{"model": "mine", "from": "test-model"}
= status 501
= json error contains "/api/create"

POST /api/push
{"model": "mine"}
= status 501

POST /api/blobs/sha256:00
bytes
= status 501

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
