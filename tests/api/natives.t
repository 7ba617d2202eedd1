# What clients of llama.cpp and vLLM ask for beside the OpenAI endpoints.
POST /completion
{"prompt": "1, 2, 3, 4,", "n_predict": 2, "temperature": 0, "return_tokens": true, "cache_prompt": true}
= status 200
= json content = " 5"
= json stop = true
= json stop_type = "limit"
= json tokens_predicted = 2
= json tokens.1 exists
= json timings.predicted_n = 2
= json timings.prompt_ms > 0
= json generation_settings.n_predict = 2
= json prompt = "1, 2, 3, 4,"
= json truncated = false

# Ids and texts mixed are one prompt, a list of texts several.
POST /completion
{"prompt": [33, " b", 216], "n_predict": 1, "temperature": 0, "n_probs": 2}
= status 200
= json tokens_evaluated = 3
= json completion_probabilities.0.top_logprobs.1.logprob exists

POST /completion
{"prompt": ["1, 2, 3, 4,", "The sky is"], "n_predict": 2, "temperature": 0}
= json 0.content = " 5"
= json 1.index = 1

POST /completion
{"prompt": "1, 2, 3, 4,", "n_predict": 8, "temperature": 0, "stop": ["6"]}
= json stop_type = "word"
= json stopping_word = "6"
= json content = " 5, "
= json timings.predicted_ms > 0

# The prompt goes into the cache, nothing is made.
POST /completion
{"prompt": "1, 2, 3, 4,", "n_predict": 0}
= json content = ""
= json tokens_predicted = 0

POST /completion
{"prompt": "1, 2, 3, 4,", "n_predict": 2, "temperature": 0, "stream": true}
= header content-type text/event-stream
= event 0 stop = false
= event 0 tokens.0 exists
= event -1 stop = true
= event -1 content = ""
= event -1 tokens_predicted = 2

POST /completion
{"prompt": [true]}
= status 400
= json error.param = "prompt"

POST /completion
{"prompt": [-5, "a"]}
= status 400
= json error.param = "prompt"

POST /completion
{"prompt": "a", "grammar": "root ::= \"a\"", "n_predict": 8}
= status 200
= json content = "a"

POST /completion
{"prompt": "a", "grammar": "root ::= nothing"}
= status 400
= json error.param = "grammar"

# This vocabulary has the tokens for gaps and for the names of files.
POST /infill
{"input_prefix": "def add(a, b):\n    return", "input_suffix": "\n\nprint(add(1, 2))\n", "n_predict": 4, "input_extra": [{"filename": "a.py", "text": "x = 1\n"}], "prompt": " a"}
= status 400
= json error.param = "input_prefix"

POST /infill
{"input_prefix": "a", "input_extra": [{"filename": 5}]}
= status 400
= json error.param = "input_extra"

POST /apply-template
{"messages": [{"role": "user", "content": "Hello there"}]}
= status 200
= json prompt contains "Hello there"
= json prompt contains "<|im_start|>assistant"

POST /apply-template
{}
= status 400
= json error.param = "messages"

GET /props
= status 200
= json total_slots = 8
= json default_generation_settings.n_ctx = 1024
= json model_alias = "test-model"
= json chat_template contains "messages"
= json eos_token = "<|im_end|>"

GET /slots
= json 7.is_processing = false
= json 0.n_ctx = 1024

GET /slots
Authorization: none
= status 401

GET /tokenizer_info
= json eos_token = "<|im_end|>"
= json model_max_length = 1024
= json chat_template contains "messages"

GET /ping
= status 200

GET /healthz
Authorization: none
= json status = "ok"

GET /livez
Authorization: none
= json status = "ok"

GET /readyz
Authorization: none
= json status = "ready"
