# Everything that is not generation: models, health, the page, and the rules of the door.
GET /v1/models
= status 200
= json object = "list"
= json data.0.id = "test-model"
= json data.0.object = "model"
= json data.0.max_model_len = 1024

GET /models
= json data.0.id = "test-model"

GET /v1/models/test-model
= json id = "test-model"

GET /models/test-model
= json id = "test-model"

GET /v1/models/no%2Fsuch
= status 404
= json error.code = "model_not_found"

HEAD /v1/models
= status 200

GET /health
Authorization: none
= status 200
= json status = "ok"
= json running >= 0

GET /metrics
= status 200
= header content-type text/plain; version=0.0.4
= body contains hadal_requests_waiting{model_name="test-model",class="batch"} 0
= body contains # TYPE hadal_requests_total counter
= body contains hadal_step_cost_seconds{model_name="test-model",of="prompt_token"}
= body contains vllm:num_requests_running{model_name="test-model"} 0
= body contains hadal_log_lines_dropped_total 0

GET /metrics
Authorization: none
= status 401

GET /ready
= json status = "ready"

GET /version
= json name = "hadal"

GET /openapi.json
= json openapi = "3.1.0"
= json paths./v1/chat/completions.post.requestBody.content.application/json.schema.required = ["messages"]
= json components.schemas.Error.required = ["error"]

GET /docs
Authorization: none
= status 200
= header content-type text/html
= header content-security-policy default-src 'none'; style-src 'sha256-
= body contains 接口文档

GET /
Authorization: none
= status 200
= header content-security-policy default-src 'none'
= header content-type text/

GET /v1/nothing
= status 404
= json error.type = "not_found_error"

# Spellings that must not reach a handler.
GET //v1/models
= status 404

GET /v1/%6dodels
= status 404

GET /v1/models;x
= status 404

GET /V1/MODELS
= status 404

# Without a key only the public paths answer.
GET /v1/models
Authorization: none
= status 401
= header www-authenticate Bearer

POST /tokenize
Authorization: none
{}
= status 401

GET /stream
Authorization: none
= status 401

# DNS rebinding and cross-site pages.
GET /health
Host: evil.example
= status 421

POST /generate
Origin: http://evil.example
{"prompt": "a"}
= status 403

# A local web app on another port passes the preflight, with its SDK's own headers.
OPTIONS /v1/chat/completions
Origin: http://localhost:5173
Access-Control-Request-Method: POST
Access-Control-Request-Headers: authorization,content-type,x-stainless-os
= status 204
= header access-control-allow-origin http://localhost:5173
= header access-control-allow-headers x-stainless-os

POST /tokenize
Content-Encoding: gzip
{"content": "a"}
= status 415
