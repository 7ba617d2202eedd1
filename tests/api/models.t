# Several models in one server: nano is loaded when it is asked for.
GET /v1/models
= json data.0.id = "test-model"
= json data.0.state = "loaded"
= json data.2.id = "nano"
= json data.2.meta.architecture = "deepseek2"

GET /v1/models/nano
= json id = "nano"

POST /v1/models/load
{"model": "nano"}
= status 200
= json state = "loaded"
= json memory_bytes > 0
= json expires_at = null

# The same model by an alias of the table.
POST /v1/chat/completions
{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
= status 200
= json model = "nano"
= json usage.completion_tokens > 0

GET /metrics
= body contains hadal_model_loaded{model_name="nano"} 1
= body contains hadal_requests_total{model_name="nano"} 1
= body contains hadal_model_loads_total{model_name="test-model"} 1

GET /health
= json models.1.model = "nano"

POST /v1/models/unload
{"model": "nano"}
= status 200
= json id = "nano"

# It comes back by itself.
POST /v1/chat/completions
{"model": "nano", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
= json model = "nano"

POST /v1/models/load
{"model": "nano", "keep_alive": "5m"}
= json expires_at > 0

POST /v1/models/load
{"model": "nano", "keep_alive": "soon"}
= status 400
= json error.param = "keep_alive"

POST /v1/models/load
{"model": "nobody"}
= status 404
= json error.code = "model_not_found"

POST /v1/models/load
{}
= status 400
= json error.param = "model"

POST /v1/models/unload
{"model": "nobody"}
= status 404

POST /v1/models/unload
Authorization: none
{"model": "nano"}
= status 401
