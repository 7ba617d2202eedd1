# Completions, generate, tokens and the WebSocket.
POST /v1/completions
{"prompt": "1, 2, 3, 4,", "max_tokens": 2, "temperature": 0}
= status 200
= json object = "text_completion"
= json choices.0.text = " 5"

POST /completions
{"prompt": ["1, 2, 3, 4,", "The sky is"], "max_tokens": 2, "temperature": 0, "echo": true}
= json choices.0.text = "1, 2, 3, 4, 5"
= json choices.1.text contains "The sky is"
= json choices.1.index = 1

POST /v1/completions
{"prompt": [33, 28, 216], "max_tokens": 1, "logprobs": 2, "temperature": 0}
= status 200
= json usage.prompt_tokens = 3
= json choices.0.logprobs.token_logprobs.0 exists

POST /v1/completions
{"prompt": "1, 2, 3,", "max_tokens": 4, "stream": true, "stream_options": {"include_usage": true}}
= events ordered
= event -2 usage.total_tokens > 4

POST /v1/completions
{"prompt": "a", "suffix": "b"}
= status 400
= json error.param = "suffix"

POST /v1/completions
{"prompt": [-1]}
= status 400
= json error.param = "prompt"

POST /generate
{"prompt": "1, 2, 3, 4,", "max_tokens": 2, "temperature": 0}
= json text = " 5"
= json finish_reason = "length"
= json usage.completion_tokens = 2
= json timings.prefill_ms > 0

POST /generate
{"prompt": "1, 2, 3, 4,", "max_tokens": 2, "temperature": 0, "stream": true}
= header content-type text/event-stream
= event 0 text exists
= event -1 done = true

POST /generate
{"prompt": ""}
= status 400
= json error.param = "prompt"

POST /tokenize
{"content": "Hello 世界", "with_pieces": true}
= json count >= 2
= json max_model_len = 1024
= json tokens.0.piece = "Hello"
= json tokens.0.id = 19556

POST /tokenize
{"prompt": "Hello"}
= json tokens = [19556]

POST /tokenize
{"messages": [{"role": "user", "content": "Hello"}]}
= json count > 5

POST /detokenize
{"tokens": [19556]}
= json content = "Hello"
= json prompt = "Hello"

POST /detokenize
{"tokens": [999999999]}
= status 400
= json error.param = "tokens"

# Two prompts one after another, a mistake, a STOP.
WS /stream
> {"prompt": "1, 2, 3, 4,", "max_tokens": 3, "temperature": 0}
< text = " "
< done = true
> {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
< done = true
> {"prompt": "a", "temperature": -5}
< error.param = "temperature"
> {"prompt": "Tell me everything.", "ignore_eos": true}
< token exists
> STOP
< finish_reason = "cancelled"
> {"prompt": "Tell me everything.", "ignore_eos": true}
< token exists
> {"stop": true}
< finish_reason = "cancelled"

GET /stream
= status 426

# What scoring tools send: the prompt back, with the log-probability of each of its tokens.
POST /v1/completions
{"prompt": "The capital of France is Paris", "max_tokens": 0, "echo": true, "logprobs": 1, "temperature": 0}
= status 200
= json choices.0.text = "The capital of France is Paris"
= json choices.0.logprobs.token_logprobs.0 = null
= json choices.0.logprobs.token_logprobs.5 > -1.5
= json choices.0.logprobs.text_offset.1 = 3
= json choices.0.finish_reason = "length"
= json usage.completion_tokens = 0

POST /v1/completions
{"prompt": "a", "max_tokens": 0}
= status 400
= json error.param = "max_tokens"
