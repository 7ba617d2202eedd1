# model: tests/golden/encoders/reranker
# A tiny cross-encoder with random weights: shapes, limits, and what such a model cannot do.
POST /v1/rerank
{"model": "test-model", "query": "capital of France", "documents": ["Paris is the capital", {"text": "rain"}, "北京"], "return_documents": true}
= status 200
= json results.0.relevance_score > 0
= json results.2.relevance_score exists
= json results.0.document.text exists
= json results.3 has-not 0
= json model = "test-model"
= json usage.total_tokens > 20
= json meta.tokens.input_tokens > 20

POST /rerank
{"query": "a", "documents": ["b", "c", "d"], "top_n": 1}
= status 200
= json results.0.index exists
= json results.0.document has-not 0
= json results.1 has-not 0

POST /v2/rerank
{"model": "test-model", "query": "a", "documents": ["{{REPEAT word  500}}"]}
= status 200
= json results.0.index = 0

POST /v2/rerank
{"query": "a", "documents": ["{{REPEAT word  500}}"], "truncate": false}
= status 400
= json error.code = "context_length_exceeded"
= json error.param = "documents"

POST /v1/rerank
{"query": "{{REPEAT word  500}}", "documents": ["a"]}
= status 400
= json error.param = "query"

POST /v1/rerank
{"query": "a", "documents": []}
= status 400
= json error.param = "documents"

POST /v1/embeddings
{"input": "a"}
= status 400
= json error.code = "model_not_embedding"

POST /v1/chat/completions
{"messages": [{"role": "user", "content": "hi"}]}
= status 400
= json error.code = "model_not_generative"

POST /tokenize
{"content": "Hello"}
= status 200
= json count > 0

GET /v1/models
= json data.0.meta.task = "rerank"

GET /health
= status 200

GET /metrics
= status 200

# vLLM's form, and KServe's.
POST /v1/score
{"model": "test-model", "text_1": "capital of France", "text_2": ["Paris is the capital", "rain"]}
= status 200
= json object = "list"
= json data.0.object = "score"
= json data.1.score > 0
= json data.2 has-not 0
= json usage.prompt_tokens > 10

POST /score
{"text_1": ["a", "b"], "text_2": ["c", "d"]}
= json data.1.index = 1

POST /score
{"text_1": ["a", "b"], "text_2": "c"}
= status 400
= json error.param = "text_1"

POST /v1/score
{"text_1": "a", "text_2": "{{REPEAT word  500}}"}
= status 400
= json error.code = "context_length_exceeded"

POST /v1/score
{"text_1": "a", "text_2": "{{REPEAT word  500}}", "truncate_prompt_tokens": -1}
= status 200

POST /v2/models/test-model/infer
{"inputs": [{"name": "query", "shape": [1, 1], "datatype": "BYTES", "data": ["capital of France"]}, {"name": "text_input", "shape": [2, 1], "datatype": "BYTES", "data": ["Paris", "rain"]}]}
= json outputs.0.name = "score"
= json outputs.0.datatype = "FP32"
= json outputs.0.shape = [2, 1]
