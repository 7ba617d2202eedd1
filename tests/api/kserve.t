# KServe's v2 protocol, and Triton's extensions.
GET /v2
Authorization: none
= json name = "hadal"
= json extensions contains "generate"

GET /v2/health/live
Authorization: none
= json live = true

GET /v2/health/ready
Authorization: none
= json ready = true

GET /v2/models/test-model
= json name = "test-model"
= json versions.0 = "1"
= json inputs.0.name = "text_input"
= json outputs.0.datatype = "BYTES"

GET /v2/models/test-model/versions/1
= json name = "test-model"

GET /v2/models/test-model/versions/7
= status 404
= json error contains "version"

GET /v2/models/nobody
= status 404
= json error contains "nobody"

GET /v2/models/test-model/ready
= json ready = true

GET /v2/models/test-model/versions/1/ready
= json ready = true

GET /v2/models/test-model/config
= json max_batch_size = 8
= json input.0.data_type = "TYPE_STRING"

GET /v2/models/test-model/versions/1/config
= json name = "test-model"

GET /v2/models/test-model/stats
= json model_stats.0.name = "test-model"

GET /v2/models/test-model/versions/1/stats
= json model_stats.0.inference_count >= 0

POST /v2/models/test-model/infer
{"id": "42", "inputs": [{"name": "text_input", "shape": [1, 1], "datatype": "BYTES", "data": ["1, 2, 3, 4,"]}, {"name": "max_tokens", "shape": [1, 1], "datatype": "INT32", "data": [[8]]}], "parameters": {"temperature": 0}}
= status 200
= json id = "42"
= json model_name = "test-model"
= json outputs.0.name = "text_output"
= json outputs.0.shape = [1, 1]
= json outputs.0.data.0 contains "5"

POST /v2/models/test-model/versions/1/infer
{"inputs": [{"name": "text_input", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}], "parameters": {"temperature": 0, "max_tokens": 2}}
= json outputs.0.shape = [2, 1]
= json outputs.0.data.1 exists

GET /v2/models/stats
= json model_stats.0.name = "test-model"
= json model_stats.1.name = "nano"

# A generative model's vectors, as an output that is asked for.
POST /v2/models/test-model/infer
{"inputs": [{"name": "text_input", "shape": [2, 1], "datatype": "BYTES", "data": ["a", "b"]}], "outputs": [{"name": "embedding"}], "parameters": {"dimensions": 8}}
= json outputs.0.datatype = "FP32"
= json outputs.0.shape = [2, 8]
= json outputs.0.data.15 exists

# The text before the answer, as vLLM's backend has it.
POST /v2/models/test-model/generate
{"text_input": "1, 2, 3, 4,", "parameters": {"temperature": 0, "max_tokens": 8, "exclude_input_in_output": false}}
= json model_name = "test-model"
= json model_version = "1"
= json text_output contains "1, 2, 3, 4, 5"

POST /v2/models/test-model/versions/1/generate
{"text_input": "1, 2, 3, 4,", "max_tokens": 8, "temperature": 0, "stop_words": ["6"], "sampling_parameters": "{\"top_k\": 1}"}
= json text_output contains "5"

POST /v2/models/test-model/generate_stream
{"text_input": "1, 2, 3, 4,", "max_tokens": 8, "temperature": 0, "stream": true}
= status 200
= header content-type text/event-stream
= event 0 model_name = "test-model"
= event -1 text_output exists

POST /v2/models/test-model/versions/1/generate_stream
{"text_input": "a", "max_tokens": 2, "temperature": 0}
= event 0 text_output exists

POST /v2/models/test-model/infer
{"inputs": [{"name": "text_input", "shape": [3], "datatype": "BYTES", "data": ["a"]}]}
= status 400
= json error contains "shape"

POST /v2/models/test-model/infer
{"inputs": [{"name": "text_input", "shape": [9], "datatype": "BYTES", "data": ["a", "a", "a", "a", "a", "a", "a", "a", "a"]}]}
= status 400
= json error contains "8 texts"

POST /v2/models/test-model/infer
{"inputs": []}
= status 400
= json error contains "text_input"

POST /v2/models/test-model/infer
Inference-Header-Content-Length: 99999
{"inputs": []}
= status 400

POST /v2/models/test-model/generate
{"text_input": 7}
= status 400
= json error contains "text_input"

POST /v2/repository/index
{}
= json 0.name = "test-model"
= json 0.state = "READY"

POST /v2/repository/models/nano/load
{}
= status 200

POST /v2/repository/index
{"ready": true}
= json 1.name = "nano"

POST /v2/repository/models/nano/unload
{}
= status 200

POST /v2/repository/models/nobody/load
{}
= status 404
