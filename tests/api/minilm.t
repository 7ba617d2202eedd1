# model: build/testdata/models/minilm
# all-MiniLM-L6-v2, with its published vectors' length and limits.
POST /v1/embeddings
{"model": "test-model", "input": "hello world"}
= status 200
= json object = "list"
= json data.0.object = "embedding"
= json data.0.embedding.383 exists
= json data.0.embedding.384 has-not 0
= json usage.prompt_tokens = 4

POST /embeddings
{"input": ["hello world", "你好"], "encoding_format": "base64", "dimensions": 3}
= status 200
= json data.1.index = 1
= json data.0.embedding contains "+"

POST /v1/embeddings
{"input": [[7592, 2088], [101, 7592, 102]]}
= status 200
= json usage.total_tokens = 7

POST /v1/embeddings
{"input": "{{REPEAT word  600}}"}
= status 400
= json error.code = "context_length_exceeded"

POST /v1/embeddings
{"input": "{{REPEAT word  600}}", "truncate": true}
= status 200
= json usage.prompt_tokens = 512

POST /v1/embeddings
{"input": "a", "dimensions": 385}
= status 400
= json error.param = "dimensions"

POST /v1/rerank
{"query": "a", "documents": ["b"]}
= status 400
= json error.code = "model_not_reranking"

POST /v1/completions
{"prompt": "a"}
= status 400
= json error.code = "model_not_generative"

POST /generate
{"prompt": "a"}
= status 400
= json error.code = "model_not_generative"

GET /v1/models/test-model
= json meta.task = "embedding"
= json meta.d_model = 384

GET /ready
= status 200

# KServe's and Ollama's forms of the same.
GET /v2/models/test-model
= json outputs.0.datatype = "FP32"
= json outputs.0.shape = [-1, 384]

GET /v2/models/test-model/config
= json output.0.dims = [384]
= json max_batch_size = 2048

POST /v2/models/test-model/infer
{"inputs": [{"name": "text_input", "shape": [1, 1], "datatype": "BYTES", "data": ["hello world"]}]}
= status 200
= json outputs.0.name = "embedding"
= json outputs.0.shape = [1, 384]

POST /v2/models/test-model/generate
{"text_input": "a"}
= status 400
= json error contains "encoder"

POST /api/embed
{"model": "test-model", "input": "hello world"}
= json embeddings.0.383 exists
= json prompt_eval_count = 4

POST /api/generate
{"model": "test-model", "prompt": "a"}
= status 400
= json error contains "encoder"
