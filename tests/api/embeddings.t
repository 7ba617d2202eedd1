# A generative model gives its pooled hidden states as vectors, while it answers others.
POST /v1/embeddings
{"input": ["The sky is blue.", "天空是蓝色的。"]}
= status 200
= json data.1.embedding.575 exists
= json data.1.embedding.576 has-not 0
= json usage.prompt_tokens > 8

POST /v1/embeddings
{"input": [1, 2, 3], "dimensions": 16, "encoding_format": "float"}
= status 200
= json data.0.embedding.15 exists
= json data.0.embedding.16 has-not 0
= json usage.prompt_tokens = 3

POST /embeddings
{"input": ""}
= status 400
= json error.param = "input"

POST /v1/embeddings
{"input": "{{REPEAT word  2000}}"}
= status 400
= json error.code = "context_length_exceeded"

POST /v1/embeddings
{"input": "{{REPEAT word  2000}}", "truncate": true}
= status 200
= json usage.prompt_tokens = 1024

POST /v1/embeddings
{"input": "a", "model": "nobody"}
= status 404

POST /v1/rerank
{"query": "a", "documents": ["b"]}
= status 400
= json error.code = "model_not_reranking"

POST /v1/score
{"text_1": "a", "text_2": "b"}
= status 400
= json error.code = "model_not_reranking"
